"""Imports point one way: entry points, then server or client, then protocol.

The rules are checked in the source, so that imports inside of functions count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "zeotwisted"

#: What a part of the package may not import. The longest name that fits a module decides.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "zeotwisted.protocol": (
        "zeotwisted.server",
        "zeotwisted.client",
        "zeotwisted.config",
        "zeotwisted.tap",
        "zeotwisted.commands",
        "zeotwisted.reactor.thread",
        "twisted",
        "asyncio",
        "socket",
        "threading",
        "time",
    ),
    "zeotwisted.server": (
        "zeotwisted.client",
        "zeotwisted.config",
        "zeotwisted.tap",
        "zeotwisted.commands",
    ),
    "zeotwisted.client": (
        "zeotwisted.server",
        "zeotwisted.config",
        "zeotwisted.tap",
        "zeotwisted.commands",
    ),
    "zeotwisted.exceptions": ("zeotwisted",),
    "zeotwisted.interfaces": ("zeotwisted",),
    "twisted.plugins.zeotwisted_plugin": ("zeotwisted",),
}

REACTOR = "twisted.internet.reactor"
MAY_IMPORT_REACTOR = "zeotwisted.tap"


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of each of our modules below `root`."""
    for folder in (root / PACKAGE, root / "twisted" / "plugins"):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts), path


def imports(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that `tree` imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            # One dot stands for the module's own package, each further one for the next above.
            parts = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            # importlib.import_module("..."), __import__("..."), namedAny("...")
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            first = node.args[0]
            if (
                name in ("import_module", "__import__", "namedAny", "namedModule")
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                yield node.lineno, first.value


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def breaches(root: Path) -> list[str]:
    """Return what breaks the rules below `root`, one line for each."""
    found = []
    for module, path in sources(root):
        tree = ast.parse(path.read_text(), str(path))
        owner = max((name for name in FORBIDDEN if inside(module, name)), key=len, default="")
        for line, imported in imports(module, tree):
            bad = [name for name in FORBIDDEN.get(owner, ()) if inside(imported, name)]
            if inside(imported, REACTOR) and module != MAY_IMPORT_REACTOR:
                bad.append(REACTOR)
            found.extend(f"{module}:{line} imports {imported}" for _ in bad[:1])
    return found


def test_imports_point_one_way() -> None:
    assert breaches(ROOT) == []


def test_there_is_something_to_check() -> None:
    modules = {module for module, _ in sources(ROOT)}
    assert "zeotwisted.protocol.session" in modules
    assert "zeotwisted.exceptions" in modules


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return root


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("zeotwisted/protocol/x.py", "import twisted"),
        ("zeotwisted/protocol/x.py", "from twisted.internet import defer"),
        ("zeotwisted/protocol/x.py", "from ..server import service"),
        ("zeotwisted/protocol/x.py", "from .. import client"),
        ("zeotwisted/protocol/x.py", "from zeotwisted import server"),
        ("zeotwisted/protocol/x.py", "import zeotwisted.clientstorage.storage as s"),
        ("zeotwisted/protocol/x.py", "def f():\n    import time"),
        ("zeotwisted/protocol/sub/__init__.py", "from twisted import python"),
        ("zeotwisted/server/x.py", "from zeotwisted.clientstorage.storage import ClientStorage"),
        ("zeotwisted/server/x.py", "from ..client import storage"),
        ("zeotwisted/server/x.py", "def f():\n    from zeotwisted import client"),
        ("zeotwisted/client/x.py", "import zeotwisted.server"),
        ("zeotwisted/client/x.py", "if TYPE_CHECKING:\n    from ..server.service import S"),
        ("zeotwisted/client/x.py", "importlib.import_module('zeotwisted.server')"),
        ("zeotwisted/exceptions.py", "from .protocol import framing"),
        ("zeotwisted/exceptions.py", "from . import interfaces"),
        ("zeotwisted/interfaces.py", "import zeotwisted.exceptions"),
        ("zeotwisted/interfaces.py", "from zeotwisted.protocol.framing import encode_frame"),
        ("zeotwisted/client/x.py", "from twisted.internet import reactor"),
        ("zeotwisted/server/x.py", "def f():\n    from twisted.internet import reactor"),
        ("zeotwisted/server/x.py", "class C:\n    def f(self): import twisted.internet.reactor"),
        ("zeotwisted/server/x.py", "__import__('twisted.internet.reactor')"),
        ("zeotwisted/commands/x.py", "from twisted.internet import reactor as r"),
        ("zeotwisted/__init__.py", "from twisted.internet import reactor"),
        ("twisted/plugins/zeotwisted_plugin.py", "from zeotwisted import tap"),
        ("twisted/plugins/zeotwisted_plugin.py", "from twisted.internet import reactor"),
    ],
)  # fmt: skip
def test_breaches_are_found(tmp_path: Path, file: str, source: str) -> None:
    assert len(breaches(tree(tmp_path, {file: source + "\n"}))) == 1


def test_allowed_imports_are_allowed(tmp_path: Path) -> None:
    files = {
        "zeotwisted/__init__.py": "def server():\n    from zeotwisted.server import service\n",
        "zeotwisted/tap.py": (
            "from zeotwisted.server import service\n"
            "def f():\n    from twisted.internet import reactor\n"
        ),
        "zeotwisted/protocol/x.py": (
            "from . import framing\nfrom .clientele import x\n"
            "from zeotwisted.exceptions import ServerException\n"
        ),
        "zeotwisted/server/x.py": (
            "from ..protocol import session\nfrom .client import x\n"
            "from twisted.internet import interfaces, reactors\nimport time\n"
        ),
        "zeotwisted/server/__init__.py": "from . import x\n",
        "zeotwisted/client/x.py": "from zeotwisted.protocol.session import Session\n",
        "zeotwisted/exceptions.py": "from ZODB.POSException import StorageError\n",
        "twisted/plugins/zeotwisted_plugin.py": (
            "from twisted.application.service import ServiceMaker\n"
            "zeo = ServiceMaker('zeo', 'zeotwisted.tap', 'd', 'zeo')\n"
        ),
    }
    assert breaches(tree(tmp_path, files)) == []
