"""Build wheel and sdist, install each into a clean environment, and use them from another folder.

    python tests/packaging/check_wheel.py FOLDER

This is a script rather than a test, since it needs the network; `.ci/run` calls it. The folder must
not exist yet.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT = 300

WHEEL = [
    "twisted/plugins/zeotwisted_plugin.py",
    "zeotwisted/py.typed",
    "zeotwisted/component.xml",
    "zeotwisted/tap.py",
    "zeotwisted/protocol/session.py",
    "zeotwisted/storageserver/service.py",
    "zeotwisted/clientstorage/storage.py",
    "zeotwisted/ClientStorage.py",
    "zeotwisted/Exceptions/__init__.py",
    "zeotwisted/config/clientkeys.xml",
    "zeotwisted/config/component.xml",
    "zeotwisted/config/schema.xml",
    "zeotwisted/config/server.xml",
    "zeotwisted/config/ssl.xml",
    "zeotwisted/config/storages.xml",
    "zeotwisted/config/tls.xml",
    "zeotwisted/config/tlskeys.xml",
    "zeotwisted/http/files/disconnect.html",
    "zeotwisted/http/files/icon.svg",
    "zeotwisted/http/files/page.css",
    "zeotwisted/http/files/page.html",
    "zeotwisted/http/files/page.js",
]
SDIST = [*WHEEL, "LICENSE", "README.rst", "CHANGES.rst", "pyproject.toml", "setup.cfg"]

COMMIT = """
import sys, transaction, zeotwisted
connection = zeotwisted.connection(("127.0.0.1", int(sys.argv[1])), wait_timeout=10)
connection.root()["greeting"] = "hello"
transaction.commit()
connection.close()
"""
READ = """
import sys, zeotwisted
connection = zeotwisted.connection(("127.0.0.1", int(sys.argv[1])), wait_timeout=10)
print(connection.root()["greeting"])
connection.close()
"""
# What users may not be made to pay for, or to clash with.
IMPORTS = """
import sys
import zeotwisted
heavy = {"twisted.internet", "ZODB", "ZConfig", "msgpack", "zeotwisted.tap"} & set(sys.modules)
assert not heavy, f"importing zeotwisted imports {heavy}"
import twisted.plugins.zeotwisted_plugin
ours = {name for name in sys.modules if name.startswith("zeotwisted.")}
assert "zeotwisted.tap" not in ours and "zeotwisted.daemon" not in ours, ours
from zeotwisted import ClientStorage
assert "twisted.internet.reactor" not in sys.modules
import zeotwisted.storageserver.service, zeotwisted.clientstorage.storage
assert callable(zeotwisted.server) and callable(zeotwisted.client)
assert "twisted.internet.reactor" not in sys.modules
print(zeotwisted.__file__)
"""
# The plugin in a process where our package cannot be imported at all.
PLUGIN = """
import sys
sys.modules["zeotwisted"] = None
import twisted.plugins.zeotwisted_plugin as plugin
print(plugin.zeo.tapname)
"""


def run(*command: object, cwd: Path) -> str:
    """Run a command that must succeed; return what it says."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        timeout=TIMEOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{command} failed with {result.returncode}:\n{result.stdout}")
    return result.stdout


def check_contents(folder: Path) -> tuple[Path, Path]:
    """Check that the archives have in them what they should have, and no more."""
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    missing = set(WHEEL) - set(names)
    assert not missing, f"the wheel lacks {missing}"
    assert any(name.endswith("/LICENSE") for name in names), "the wheel lacks LICENSE"
    strangers = [
        name
        for name in names
        if not name.startswith(("zeotwisted/", "zeotwisted-", "twisted/plugins/zeotwisted_plugin"))
    ]
    assert not strangers, f"the wheel contains {strangers}"
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    missing = set(SDIST) - set(names)
    assert not missing, f"the sdist lacks {missing}"
    return wheel, sdist


def check_daemon(scripts: Path, folder: Path) -> None:
    """Start a daemon, use it from two other processes, stop it."""
    python = scripts / "python"
    with subprocess.Popen(
        [scripts / "twistd", "-n", "zeo", "--listen", "tcp:0:interface=127.0.0.1"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as daemon:
        try:
            assert daemon.stdout is not None
            output = ""
            match = None
            while match is None:
                line = daemon.stdout.readline()
                assert line, f"the daemon does not start:\n{output}"
                output += line
                match = re.search(r"listening at .*port=(\d+)", line)
            run(python, "-c", COMMIT, match[1], cwd=folder)
            assert run(python, "-c", READ, match[1], cwd=folder) == "hello\n"
        finally:
            daemon.terminate()
            rest, _ = daemon.communicate(timeout=TIMEOUT)
    output += rest
    # twistd stops in order and then ends by the signal that it was sent.
    assert daemon.returncode in (0, -signal.SIGTERM), (daemon.returncode, output)
    assert "Main loop terminated" in output, output
    assert "Traceback" not in output, output
    assert not (folder / "twistd.pid").exists()
    assert (folder / "Data.fs").exists()


def check_installed(package: Path, folder: Path) -> None:
    """Install into a clean environment and try everything out."""
    environment = folder / "venv"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    run(sys.executable, "-m", "venv", environment, cwd=folder)
    scripts = environment / "bin"
    python = scripts / "python"
    run(python, "-m", "pip", "install", "--quiet", package, cwd=folder)
    where = run(python, "-c", IMPORTS, cwd=elsewhere)
    assert str(environment) in where, where
    assert run(python, "-c", PLUGIN, cwd=elsewhere) == "zeo\n"
    for script in ("twistd", "twist"):
        assert re.search(r"^\s+zeo\s", run(scripts / script, "--help", cwd=elsewhere), re.M), script
        assert "--listen" in run(scripts / script, "zeo", "--help", cwd=elsewhere)
    check_daemon(scripts, elsewhere)
    print(f"{package.name}: installed, started, used and stopped", flush=True)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    # Built from a copy, which is what the sdist's wheel is: nothing is left in the checkout.
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    wheel, sdist = check_contents(folder / "dist")
    check_installed(wheel, folder / "wheel")
    check_installed(sdist, folder / "sdist")


if __name__ == "__main__":
    main()
