"""Runs the code blocks of one page, in their order, in a folder of their own.

Configurations are written to files and parsed, daemons are started and clients run against them.
A daemon runs until the next one is started, or until the end of the page. Pages say port 8100; here
the system chooses the port, of this machine only.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import ZConfig
import ZODB.config
import zodburi

from tests.config.zopeschema import ZOPE_SCHEMA
from zeotwisted.config import parse_server_config
from zeotwisted.config.client import ClientStorageConfig

from .pages import PICTURE, ROOT, Block

SCRIPTS = Path(sys.executable).parent

#: How long (seconds) a program may take.
TIMEOUT = 60

#: Where a daemon listens, of zeotwisted and of ZEO.
_LISTENING = re.compile(
    r"listening at IPv4Address\(type='TCP', host='[\d.]+', port=(?P<ours>\d+)"
    r"|listening on \('127\.0\.0\.1', (?P<theirs>\d+)\)"
    r"|listening at UNIXAddress\("
)

#: Commands that are run as they are.
_TOOLS = {"chmod", "mkdir", "openssl", "printf", "sed"}

#: Commands of ``zeotwisted`` that connect to a daemon.
_CONNECT = {"backup", "check", "clients", "health", "locks", "pack", "ping", "status", "verify"}

#: Runs a module until its command line is parsed.
_PARSE = """\
import argparse, runpy, sys
parse = argparse.ArgumentParser.parse_args
def parse_and_stop(self, *args, **kwargs):
    parse(self, *args, **kwargs)
    print("accepted")
    sys.exit(0)
argparse.ArgumentParser.parse_args = parse_and_stop
name = sys.argv.pop(1)
sys.argv[0] = name
runpy.run_module(name, run_name="__main__", alter_sys=False)
"""

_PARSE_PIP = """\
import sys
from pip._internal.commands import create_command
create_command(sys.argv[1]).parse_args(sys.argv[2:])
print("accepted")
"""


class Failed(Exception):
    """A code block does not do what the page says."""


class Session:
    """Runs the blocks of a page.

    :param folder: the current folder of all that is run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemon: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._beside: list[subprocess.Popen[str]] = []
        #: Configurations of clients, by the name of their file.
        self._clients: dict[str, str] = {}
        self._programs = 0
        for name in ("run", "plone/var"):
            (folder / name).mkdir(parents=True)

    def run(self, block: Block) -> None:
        """Run one block.

        :raises Failed: it cannot be run, or fails.
        """
        kinds = {
            "apacheconf": self._configuration,
            "diff": self._diff,
            "ini": self._ini,
            "python": self._python,
            "shell": self._shell,
            PICTURE: lambda block: None,
        }
        try:
            if block.language not in kinds:
                raise Failed(f"no way to run {block.language!r} is known")
            kinds[block.language](block)
        except Failed as error:
            raise Failed(f"{block.where}: {error}") from None

    def end(self) -> None:
        """Stop what still runs.

        :raises Failed: a daemon does not end in order, or has logged an error.
        """
        for process in self._beside:
            process.kill()
            process.communicate()
        self._stop_daemon()

    # Places.

    def _here(self, text: str) -> str:
        """Replace hosts and folders by those of this test."""
        text = text.replace("zeo.example.org", "127.0.0.1")
        return re.sub(r"(?<![\w.])/(?=run/|plone/)", f"{self.folder}/", text)

    def _for_server(self, text: str) -> str:
        return re.sub(r"\b8100\b", "0", self._here(text))

    def _for_client(self, text: str) -> str:
        if "8100" not in text:
            return self._here(text)
        if self._port is None:
            self._start(["twistd", "-n", "zeo"])
        return re.sub(r"\b8100\b", str(self._port), self._here(text))

    # Configurations.

    def _configuration(self, block: Block) -> None:
        if re.search(r"(?m)^\s*<zeo>", block.text):
            text = self._for_server(block.text)
            (self.folder / (block.caption or "zeo.conf")).write_text(text)
            with self._inside():
                try:
                    parse_server_config(text)
                except ValueError as error:
                    raise Failed(str(error)) from None
            return
        text = self._for_client(block.text)
        self._parse_client(text)
        if block.caption is not None:
            (self.folder / block.caption).write_text(text)
            self._clients[block.caption] = text

    def _parse_client(self, text: str) -> list[Any]:
        """Return the storages that a configuration of an application has."""
        if "<zodb_db" in text:
            schema = ZConfig.loadSchemaFile(StringIO(ZOPE_SCHEMA))
        elif "<zodb>" in text:
            schema = ZODB.config.getDbSchema()
        else:
            schema = ZODB.config.getStorageSchema()
        with self._inside():
            try:
                config, _ = ZConfig.loadConfigFile(schema, StringIO(text))
                databases = getattr(config, "databases", None) or getattr(config, "database", None)
                sections = [config] if databases is None else [each.config for each in databases]
                storages = [section.storage for section in sections]
                for storage in storages:
                    if isinstance(storage, ClientStorageConfig):
                        storage.arguments()
            except (ZConfig.ConfigurationError, ValueError) as error:
                raise Failed(str(error)) from None
        return storages

    def _diff(self, block: Block) -> None:
        lines = self._here(block.text).splitlines()
        if {line[:1] for line in lines} - {"+", "-", " "}:
            raise Failed("a line begins neither with + or - nor with a blank")
        before, after = (
            self._parse_client("\n".join(line[1:] for line in lines if line[0] != left_out))
            for left_out in "+-"
        )
        if any(isinstance(storage, ClientStorageConfig) for storage in before):
            raise Failed("it has our section before the change already")
        if not all(isinstance(storage, ClientStorageConfig) for storage in after):
            raise Failed("it has not our section after the change")

    def _ini(self, block: Block) -> None:
        parser = configparser.ConfigParser()
        parser.read_string(self._for_client(block.text))
        uris = [
            value
            for section in parser.sections()
            for key, value in parser[section].items()
            if key == "zodbconn.uri"
        ]
        if not uris:
            raise Failed("it has no zodbconn.uri")
        for uri in uris:
            try:
                make_storage, options = zodburi.resolve_uri(uri)
                ZODB.DB(make_storage(), **options).close()
            except Exception as error:
                raise Failed(f"{uri} cannot be opened: {error}") from None

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        before = os.getcwd()
        os.chdir(self.folder)
        try:
            yield
        finally:
            os.chdir(before)

    # Programs.

    def _python(self, block: Block) -> None:
        self._programs += 1
        program = self.folder / (block.caption or f"program{self._programs}.py")
        program.write_text(self._for_client(block.text))
        if program.name.startswith("test_"):
            # A command that follows runs it.
            return
        process = self._popen([sys.executable, program.name])
        if block.beside:
            # It may begin when it has said its first words.
            assert process.stdout is not None
            process.stdout.readline()
            self._beside.append(process)
            return
        self._finish(process, program.name)
        for other in self._beside:
            self._finish(other, "the program before, which runs beside it")
        self._beside.clear()

    def _popen(self, command: list[str], folder: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=folder or self.folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _finish(self, process: subprocess.Popen[str], what: str) -> str:
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise Failed(f"{what} does not end:\n{output}") from None
        if process.returncode or "Traceback" in output:
            raise Failed(f"{what} ends with {process.returncode}:\n{output}")
        return output

    # Commands.

    def _shell(self, block: Block) -> None:
        for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
            for command in line.split(" && "):
                self._command(command.strip())

    def _command(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        if not words:
            return
        tool = Path(words[0]).name
        rest = words[1:]
        if tool in _TOOLS:
            text = self._for_client(command)
            self._finish(self._popen(["bash", "-e", "-o", "pipefail", "-c", text]), text)
            self._check_changed()
        elif tool in ("twistd", "twist", "runzeo"):
            if {"--version", "--help", "--check-config", "--show-config"} & set(rest):
                self._finish(self._popen([str(SCRIPTS / tool), *rest]), command)
            else:
                self._start([tool, *rest])
        elif tool == "zeotwisted":
            if rest[:1] == ["serve"]:
                self._start([tool, *rest])
                return
            if rest[:1] and rest[0] in _CONNECT:
                rest = [self._for_client(word) for word in rest]
            self._finish(self._popen([sys.executable, "-m", "zeotwisted", *rest]), command)
        elif tool == "repozo":
            self._finish(self._popen([str(SCRIPTS / tool), *rest]), command)
        elif tool == "pip":
            self._accepted(["-c", _PARSE_PIP, *rest], command)
            self._check_packages(rest)
        elif tool == "sphinx-build":
            if find_spec("sphinx") is not None:
                parse = "from sphinx.cmd.build import get_parser; import sys\n"
                parse += "get_parser().parse_args(); print('accepted')"
                self._accepted(["-c", parse, *rest], command)
        elif tool in ("python", "python3"):
            self._interpreter(rest, command)
        else:
            raise Failed(f"no way to run {tool!r} is known")

    def _interpreter(self, rest: list[str], command: str) -> None:
        if rest[:1] != ["-m"]:
            self._finish(self._popen([sys.executable, *rest]), command)
        elif rest[1] == "venv":
            self._finish(self._popen([sys.executable, "-m", *rest[1:], "--without-pip"]), command)
        elif rest[1] == "pytest":
            self._pytest(["0" if word == "auto" else word for word in rest[2:]], command)
        elif rest[1].split(".")[0] == "benchmarks":
            self._accepted(["-c", _PARSE, *rest[1:]], command)
        else:
            raise Failed(f"no way to run the module {rest[1]!r} is known")

    def _pytest(self, rest: list[str], command: str) -> None:
        run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *rest]
        if any(word.endswith(".py") for word in rest):
            self._finish(self._popen(run), command)
        else:
            # All of our tests: see that the options are accepted.
            run += ["--collect-only", "tests/test_imports.py"]
            self._finish(self._popen(run, ROOT), command)

    def _accepted(self, arguments: list[str], command: str) -> None:
        output = self._finish(self._popen([sys.executable, *arguments], ROOT), command)
        if "accepted" not in output:
            raise Failed(f"{command}: it has not parsed its options:\n{output}")

    def _check_packages(self, words: list[str]) -> None:
        """Refuse extras and versions that there are not."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = set(setup["options.extras_require"])
        for word in words:
            if match := re.fullmatch(r"\.\[(.*)\]", word):
                unknown = set(match[1].split(",")) - extras
                if unknown:
                    raise Failed(f"there is no extra {', '.join(unknown)}")

    def _check_changed(self) -> None:
        """A command has changed the configuration of a client: it must be for ours now."""
        for name, before in self._clients.items():
            text = (self.folder / name).read_text()
            if text == before:
                continue
            self._clients[name] = text
            if not all(isinstance(one, ClientStorageConfig) for one in self._parse_client(text)):
                raise Failed(f"{name} has another client than ours:\n{text}")

    # Daemons.

    def _start(self, words: list[str]) -> None:
        self._stop_daemon()
        tool, *rest = (self._for_server(word) for word in words)
        rest = [
            re.sub(r"^((?:tcp|ssl):0)(?!.*interface)", r"\1:interface=127.0.0.1", x) for x in rest
        ]
        for word in rest:
            if word.endswith(".tac"):
                (self.folder / word).parent.mkdir(exist_ok=True)
                text = self._for_server((ROOT / word).read_text())
                (self.folder / word).write_text(text)
        places = {"--listen", "-l", "--conf", "-C", "-y"}
        if tool != "runzeo" and not places & set(rest):
            rest += ["--listen", "tcp:0:interface=127.0.0.1"]
        if tool == "runzeo":
            # It does not tell which port the system has chosen.
            conf = self.folder / rest[rest.index("-C") + 1]
            conf.write_text(conf.read_text().replace("127.0.0.1:0", f"127.0.0.1:{_free_port()}"))
        command = [str(SCRIPTS / tool), *rest]
        for log in self._logs():
            log.unlink()
        with open(self.folder / "daemon.out", "wb") as output:
            self._daemon = subprocess.Popen(
                command, cwd=self.folder, env=_environment(), stdout=output, stderr=output
            )
        match = self._wait_for_daemon(" ".join(words))
        port = match["ours"] or match["theirs"]
        self._port = int(port) if port else None

    def _logs(self) -> list[Path]:
        return [*self.folder.glob("*.log"), *self.folder.glob("daemon.out")]

    def _wait_for_daemon(self, what: str) -> re.Match[str]:
        assert self._daemon is not None
        end = time.monotonic() + TIMEOUT
        while True:
            ended = self._daemon.poll() is not None
            output = "".join(log.read_text() for log in self._logs())
            if match := _LISTENING.search(output):
                return match
            if ended or time.monotonic() > end:
                self._daemon.kill()
                self._daemon.wait()
                self._daemon = None
                raise Failed(f"{what} does not listen:\n{output}")
            time.sleep(0.02)

    def _stop_daemon(self) -> None:
        daemon, self._daemon, self._port = self._daemon, None, None
        if daemon is None:
            return
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            daemon.kill()
            code = daemon.wait()
        output = "".join(log.read_text() for log in self._logs())
        if code not in (0, -signal.SIGTERM) or "Traceback" in output:
            raise Failed(f"the daemon ends with {code}:\n{output}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    variables = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    for name in ("ZEO_MSGPACK", "ZEO_CACHE_TRACE", "PYTEST_ADDOPTS"):
        variables.pop(name, None)
    return variables
