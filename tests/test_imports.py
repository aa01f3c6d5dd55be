"""Imports point one way, and go through the doors of the rooms.

The rules are checked in the source, so that imports inside of functions count as well.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "zeotwisted"

_COMMON = ("arguments", "exceptions", "files", "interfaces", "protocol", "reactor", "transport")

#: What each room, or module outside of one, may know of ours. What is missing may know everything.
MAY_KNOW: dict[str, tuple[str, ...]] = {
    "exceptions": (),
    "interfaces": (),
    "version": (),
    "metrics": (),
    "arguments": (),
    "files": (),
    "logs": (),
    "protocol": ("exceptions",),
    "reactor": ("exceptions",),
    "transport": ("arguments", "exceptions"),
    "access": ("files", "protocol"),
    "postgresql": ("exceptions",),
    "http": ("access", "protocol", "storageserver", "transport"),
    "backup": ("clientstorage", "exceptions"),
    "commands": ("access", "backup", "clientstorage", "config", "exceptions", "files")
    + ("postgresql", "protocol", "reactor", "version"),
    "__main__": ("commands",),
    "standby": ("clientstorage", "config", "exceptions", "files", "protocol", "storageserver"),
    "storageserver": (*_COMMON, "access", "postgresql"),
    "clientstorage": (*_COMMON, "access"),
    "config": ("access", "arguments", "clientstorage", "exceptions", "files", "protocol"),
    "daemon": (
        "access",
        "arguments",
        "config",
        "files",
        "http",
        "interfaces",
        "logs",
        "postgresql",
        "protocol",
        "reactor",
        "standby",
        "storageserver",
        "transport",
    )
    + ("version",),
    "ClientStorage": ("clientstorage",),
    "Exceptions": ("exceptions",),
    # The rooms of the client and of the server, and what lies beside them.
    "clientstorage.arguments": ("arguments",),
    "clientstorage.cache": _COMMON,
    "clientstorage.calls": _COMMON,
    "clientstorage.records": (*_COMMON, "clientstorage.calls", "clientstorage.speculation"),
    "clientstorage.speculation": (*_COMMON, "clientstorage.calls"),
    "clientstorage.warmstart": (*_COMMON, "clientstorage.calls", "clientstorage.records"),
    "clientstorage.connection": (
        *_COMMON,
        "access",
        "clientstorage.calls",
        "clientstorage.records",
    ),
    "clientstorage.blobs": (*_COMMON, "clientstorage.calls"),
    "clientstorage.commit": (*_COMMON, "clientstorage.blobs", "clientstorage.calls")
    + ("clientstorage.connection", "clientstorage.records"),
    "clientstorage.feed": (
        *_COMMON,
        "clientstorage.calls",
        "clientstorage.commit",
        "clientstorage.history",
    ),
    "clientstorage.history": (*_COMMON, "clientstorage.calls", "clientstorage.commit")
    + ("clientstorage.connection",),
    "storageserver.arguments": ("access", "arguments", "protocol"),
    "storageserver.clientlabel": (),
    "storageserver.floods": (),
    "storageserver.threadpool": (),
    "storageserver.turns": (),
    "storageserver.options": ("arguments", "protocol", "storageserver.arguments"),
    "storageserver.limits": ("storageserver.options",),
    "storageserver.figures": ("protocol",),
    "storageserver.speculation": ("protocol",),
    "storageserver.popularity": ("protocol", "storageserver.turns"),
    "storageserver.engine": (*_COMMON, "postgresql", "storageserver.floods"),
    "storageserver.storage": (*_COMMON, "storageserver.floods", "storageserver.limits")
    + ("storageserver.figures", "storageserver.popularity", "storageserver.speculation")
    + ("storageserver.engine", "storageserver.options", "storageserver.turns"),
    "storageserver.commit": (*_COMMON, "storageserver.floods", "storageserver.limits")
    + ("storageserver.figures",)
    + ("storageserver.engine", "storageserver.storage", "storageserver.turns"),
    "storageserver.connections": (*_COMMON, "access", "storageserver.commit")
    + (
        "storageserver.clientlabel",
        "storageserver.engine",
        "storageserver.figures",
        "storageserver.floods",
        "storageserver.limits",
        "storageserver.options",
        "storageserver.storage",
    )
    + ("storageserver.turns",),
}

#: What is not ours, and may not be imported.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "zeotwisted.protocol": ("twisted", "asyncio", "socket", "threading", "time"),
    "twisted.plugins.zeotwisted_plugin": (PACKAGE,),
}

REACTOR = "twisted.internet.reactor"
MAY_IMPORT_REACTOR = "zeotwisted.tap"


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the dotted name and the file of each of our modules below `root`."""
    for folder in (root / PACKAGE, root / "twisted" / "plugins"):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(package: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that `tree` imports, wherever it does.

    :param package: the one that relative imports begin in.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            # One dot stands for the package, each further one for the next above.
            parts = package.split(".") if node.level else []
            parts = parts[: len(parts) - node.level + 1] if node.level else []
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


class House:
    """The modules below a folder, and what they import."""

    def __init__(self, root: Path) -> None:
        self.modules = dict(sources(root))
        self.packages = {name for name, path in self.modules.items() if path.stem == "__init__"}

    def imports(self, module: str) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name of what a module imports."""
        path = self.modules[module]
        package = module if module in self.packages else module.rpartition(".")[0]
        return imports(package, ast.parse(path.read_text(), str(path)))

    def owner(self, name: str) -> str:
        """Return the module that has a name, or is it."""
        while name and name not in self.modules:
            name = name.rpartition(".")[0]
        return name

    def breaches(self) -> list[str]:
        """Return what breaks the rules, one line for each."""
        found = []
        for module in self.modules:
            for line, imported in self.imports(module):
                why = self._why_not(module, imported)
                if why:
                    found.append(f"{module}:{line} imports {imported}: {why}")
        return found

    def _why_not(self, module: str, imported: str) -> str | None:
        for owner, names in FORBIDDEN.items():
            if inside(module, owner) and any(inside(imported, name) for name in names):
                return "it is pure, or apart"
        if inside(imported, REACTOR) and module != MAY_IMPORT_REACTOR:
            return "a reactor is given to us"
        if not inside(imported, PACKAGE):
            return None
        if not self._may_know(module, imported):
            return "it may not know it"
        if not self._through_the_door(module, imported):
            return "this is past the door of a room"
        return None

    def _may_know(self, module: str, imported: str) -> bool:
        rooms = [room for room in MAY_KNOW if inside(module, f"{PACKAGE}.{room}")]
        for room in rooms:
            known = (room, *MAY_KNOW[room])
            if not any(inside(imported, f"{PACKAGE}.{name}") for name in known):
                return False
        return True

    def _through_the_door(self, module: str, imported: str) -> bool:
        """Return whether each room that is entered is entered by its own name."""
        source = self.owner(imported)
        if source == imported and self._is_exported(source):
            # A room may show a whole module: its functions are called by the module's name.
            source = source.rpartition(".")[0]
        parts = source.split(".")
        rooms = [".".join(parts[:count]) for count in range(2, len(parts))]
        return all(inside(module, room) for room in rooms)

    def _is_exported(self, module: str) -> bool:
        package, _, name = module.rpartition(".")
        if package not in self.packages:
            return False
        for node in ast.parse(self.modules[package].read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return name in ast.literal_eval(node.value)
        return False

    def circle(self) -> list[str]:
        """Return modules that import each other in a circle; none if there is no circle."""
        graph = {
            module: {self.owner(imported) for _, imported in self.imports(module)} - {"", module}
            for module in self.modules
        }
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            return list(error.args[1])
        return []


def test_imports_point_one_way() -> None:
    assert House(ROOT).breaches() == []


def test_no_modules_import_each_other() -> None:
    assert House(ROOT).circle() == []


def test_rooms_that_have_rules_exist() -> None:
    modules = {module.partition(".")[2] for module in House(ROOT).modules}
    assert set(MAY_KNOW) <= modules
    known = {name for names in MAY_KNOW.values() for name in names}
    assert known <= modules


@pytest.mark.parametrize("module", [name for name, _ in sources(ROOT) if inside(name, PACKAGE)])
def test_no_name_hides_a_module(module: str) -> None:
    """``import a.b as b``, ``mock.patch`` and ``pickle`` take attributes for what they name."""
    if module == "zeotwisted.ClientStorage":
        # As in ZEO, the module has the name of its class. Users import the class.
        return
    found = importlib.import_module(module)
    package, _, name = module.rpartition(".")
    assert found is sys.modules[module]
    assert not package or getattr(sys.modules[package], name) is found


@pytest.mark.parametrize("room", sorted(House(ROOT).packages - {"zeotwisted.config.application"}))
def test_rooms_say_what_they_are_for_and_what_they_have(room: str) -> None:
    if inside(room, PACKAGE):
        found = importlib.import_module(room)
        assert found.__doc__
        assert found.__all__
        assert all(hasattr(found, name) for name in found.__all__)


def tree(root: Path, files: dict[str, str]) -> Path:
    rooms = ["arguments", "clientstorage/cache", "clientstorage/calls", "commands", "protocol/sub"]
    rooms += ["storageserver/storage", "storageserver/commit"]
    for room in rooms:
        path = root / PACKAGE / room
        path.mkdir(parents=True, exist_ok=True)
        for folder in (path, path.parent):
            (folder / "__init__.py").touch()
    for module in ("arguments/rules", "clientstorage/calls/protocol", "clientstorage/storage"):
        (root / PACKAGE / f"{module}.py").touch()
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
        ("zeotwisted/protocol/x.py", "from ..storageserver import service"),
        ("zeotwisted/protocol/x.py", "from .. import clientstorage"),
        ("zeotwisted/protocol/x.py", "from zeotwisted import server"),
        ("zeotwisted/protocol/x.py", "import zeotwisted.clientstorage.storage as s"),
        ("zeotwisted/protocol/x.py", "def f():\n    import time"),
        ("zeotwisted/protocol/sub/__init__.py", "from twisted import python"),
        ("zeotwisted/storageserver/x.py", "from zeotwisted.clientstorage import ClientStorage"),
        ("zeotwisted/storageserver/x.py", "from ..clientstorage import storage"),
        ("zeotwisted/storageserver/x.py", "def f():\n    from zeotwisted import clientstorage"),
        ("zeotwisted/storageserver/x.py", "from zeotwisted import config"),
        ("zeotwisted/storageserver/storage/x.py", "from ..commit import ServerTransaction"),
        ("zeotwisted/storageserver/storage/x.py", "from ..service import StorageServer"),
        ("zeotwisted/storageserver/storage/x.py", "from .. import StorageServer"),
        ("zeotwisted/clientstorage/x.py", "import zeotwisted.storageserver"),
        ("zeotwisted/clientstorage/x.py", "if T:\n    from ..storageserver import S"),
        ("zeotwisted/clientstorage/x.py", "importlib.import_module('zeotwisted.storageserver')"),
        ("zeotwisted/clientstorage/x.py", "from .calls.protocol import ClientProtocol"),
        ("zeotwisted/clientstorage/x.py", "from zeotwisted.arguments.rules import Rule"),
        ("zeotwisted/clientstorage/cache/x.py", "from ..calls import Waiter"),
        ("zeotwisted/clientstorage/cache/x.py", "from ..storage import ClientStorage"),
        ("zeotwisted/config/x.py", "from zeotwisted.clientstorage.storage import ClientStorage"),
        ("zeotwisted/config/x.py", "import zeotwisted.clientstorage.calls"),
        ("zeotwisted/config/x.py", "from zeotwisted.clientstorage import calls"),
        ("zeotwisted/commands/x.py", "from zeotwisted.clientstorage.calls import Waiter"),
        ("zeotwisted/exceptions.py", "from .protocol import WireError"),
        ("zeotwisted/exceptions.py", "from . import interfaces"),
        ("zeotwisted/interfaces.py", "import zeotwisted.exceptions"),
        ("zeotwisted/interfaces.py", "from zeotwisted.protocol import encode_frame"),
        ("zeotwisted/clientstorage/x.py", "from twisted.internet import reactor"),
        ("zeotwisted/storageserver/x.py", "def f():\n    from twisted.internet import reactor"),
        ("zeotwisted/storageserver/x.py", "class C:\n    import twisted.internet.reactor"),
        ("zeotwisted/storageserver/x.py", "__import__('twisted.internet.reactor')"),
        ("zeotwisted/commands/x.py", "from twisted.internet import reactor as r"),
        ("zeotwisted/__init__.py", "from twisted.internet import reactor"),
        ("twisted/plugins/zeotwisted_plugin.py", "from zeotwisted import tap"),
        ("twisted/plugins/zeotwisted_plugin.py", "from twisted.internet import reactor"),
    ],
)
def test_breaches_are_found(tmp_path: Path, file: str, source: str) -> None:
    assert len(House(tree(tmp_path, {file: source + "\n"})).breaches()) == 1


def test_circles_are_found(tmp_path: Path) -> None:
    files = {
        "zeotwisted/clientstorage/x.py": "def f():\n    from .y import g\n",
        "zeotwisted/clientstorage/y.py": "from . import z\n",
        "zeotwisted/clientstorage/z.py": "from zeotwisted.clientstorage.x import f\n",
    }
    assert len(House(tree(tmp_path, files)).circle()) == 4


def test_allowed_imports_are_allowed(tmp_path: Path) -> None:
    files = {
        "zeotwisted/__init__.py": "def server():\n    from zeotwisted.localserver import server\n",
        "zeotwisted/tap.py": (
            "from zeotwisted.storageserver import StorageServer\n"
            "def f():\n    from twisted.internet import reactor\n"
        ),
        "zeotwisted/protocol/x.py": (
            "from . import framing\nfrom .clientele import x\n"
            "from zeotwisted.exceptions import ServerException\n"
        ),
        "zeotwisted/storageserver/x.py": (
            "from ..protocol import session\nfrom .client import x\n"
            "from twisted.internet import interfaces, reactors\nimport time\n"
        ),
        "zeotwisted/storageserver/__init__.py": "from .storage import y\n",
        "zeotwisted/storageserver/commit/x.py": "from ..storage import ServedStorage\n",
        "zeotwisted/clientstorage/x.py": (
            "from zeotwisted.protocol import Session\nfrom .calls import Waiter\n"
            "from zeotwisted.arguments import Rule\n"
        ),
        "zeotwisted/clientstorage/calls/x.py": "from .protocol import ClientProtocol\n",
        "zeotwisted/reactor/__init__.py": "__all__ = ['greenlets']\n",
        "zeotwisted/reactor/greenlets.py": "",
        "zeotwisted/clientstorage/y.py": "from zeotwisted.reactor import greenlets\n",
        "zeotwisted/exceptions.py": "from ZODB.POSException import StorageError\n",
        "twisted/plugins/zeotwisted_plugin.py": (
            "from twisted.application.service import ServiceMaker\n"
            "zeo = ServiceMaker('zeo', 'zeotwisted.tap', 'd', 'zeo')\n"
        ),
    }
    house = House(tree(tmp_path, files))
    assert house.breaches() == []
    assert house.circle() == []
