"""``zeotwisted certs``: makes a private authority, and certificates of servers and clients.

They are for this package and for ZEO. The authority stays in its folder, and signs others later.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import socket
from datetime import datetime, timedelta, timezone

from zeotwisted.files import replace_files

from .authority import Authority, Issued
from .errors import CommandError

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Make certificates for servers and clients"

#: The name of the authority's files.
_AUTHORITY = "authority"

#: A name of a host; the first part may be a star.
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*")

#: A name that can be the name of a file on any system, and a common name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}")

#: The longest time that a certificate can be good, in days.
_LONGEST = 36500


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "hosts",
        nargs="*",
        metavar="HOST",
        help="a name or an address by which clients know the server "
        "[default, if there is no --client: this machine, as it knows itself]",
    )
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="NAME",
        help="a client; repeatable [default, if there is no HOST: client]",
    )
    parser.add_argument(
        "--server",
        default="server",
        metavar="NAME",
        help="the name of the server's files [default: server]",
    )
    parser.add_argument(
        "--folder", default=".", metavar="PATH", help="where the files are [default: .]"
    )
    parser.add_argument(
        "--days",
        type=_days,
        default=365,
        help="how long certificates of servers and clients are good [default: 365]",
    )
    parser.add_argument(
        "--authority-days",
        type=_days,
        default=3650,
        metavar="DAYS",
        help="how long a new authority is good [default: 3650]",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace certificates of servers and clients; the authority stays",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make what is asked for; return the exit code.

    :raises CommandError: it cannot be done. No file was written then.
    """
    hosts, clients = list(arguments.hosts), list(arguments.client)
    if not hosts and not clients:
        hosts, clients = _this_machine(), ["client"]
    for host in hosts:
        _check_host(host)
    names = [*([arguments.server] if hosts else []), *clients]
    for name in names:
        _check_name(name, names)
    folder = os.path.abspath(arguments.folder)
    try:
        made = _made(arguments, folder, hosts, clients)
        if not arguments.force:
            _refuse_to_replace(folder, made)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        contents = {}
        for name, files in made.items():
            # The key comes first. A certificate without its key is of no use.
            contents[os.path.join(folder, f"{name}.key")] = files.key, 0o600
            contents[os.path.join(folder, f"{name}.pem")] = files.certificate, 0o644
        replace_files(contents)
    except OSError as error:
        raise CommandError(
            f"{error.filename or folder}: {error.strerror}; check the path, and who may write there"
        ) from None
    for name in made:
        print(f"made {os.path.join(folder, name)}.pem and .key")
    for section in _sections(folder, arguments.server if hosts else None, clients):
        print(f"\n{section}")
    return 0


def _made(
    arguments: argparse.Namespace, folder: str, hosts: list[str], clients: list[str]
) -> dict[str, Issued]:
    """Return all that is to be written, by the names of the files."""
    made = {}
    authority = _existing(folder)
    if authority is None:
        authority = Authority.new(arguments.authority_days)
        made[_AUTHORITY] = authority.files()
    days: int = arguments.days
    if authority.end < datetime.now(timezone.utc) + timedelta(days=days):
        raise CommandError(
            f"the authority in {folder} expires on {authority.end:%Y-%m-%d}, before a certificate "
            f"of {days} days; give fewer --days, or make a new authority in another --folder"
        )
    if hosts:
        made[arguments.server] = authority.server(hosts, days)
    for name in clients:
        made[name] = authority.client(name, days)
    return made


def _existing(folder: str) -> Authority | None:
    """Return the authority in a folder; None if there is none.

    :raises CommandError: it cannot be used.
    """
    path = os.path.join(folder, _AUTHORITY)
    there = [os.path.lexists(f"{path}.{kind}") for kind in ("pem", "key")]
    if not any(there):
        return None
    if not all(there):
        present, missing = ("pem", "key") if there[0] else ("key", "pem")
        raise CommandError(
            f"{path}.{present} is there, and {path}.{missing} is not; put that file back, remove "
            "the other one if this command was killed, or choose another --folder"
        )
    with open(f"{path}.pem", "rb") as certificate, open(f"{path}.key", "rb") as key:
        files = Issued(certificate.read(), key.read())
    try:
        return Authority.load(files)
    except (TypeError, ValueError) as error:
        raise CommandError(
            f"{path}.pem and .key are not an authority of this command ({_first(error)}); "
            "choose another --folder"
        ) from None


def _first(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


def _refuse_to_replace(folder: str, made: dict[str, Issued]) -> None:
    for name in made:
        for kind in ("pem", "key"):
            path = os.path.join(folder, f"{name}.{kind}")
            if os.path.lexists(path):
                raise CommandError(
                    f"{path} is there already; choose another name or --folder, or replace it "
                    "with --force"
                )


def _sections(folder: str, server: str | None, clients: list[str]) -> list[str]:
    sections = []
    if server is not None:
        sections.append(f"# zeo.conf, in <zeo>:\n{_section('ssl', folder, server)}")
    sections += [
        f"# {name}, in <clientstorage>; in <zeotwisted> it is <tls>:\n"
        f"{_section('ssl', folder, name)}"
        for name in clients
    ]
    return sections


def _section(kind: str, folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    return (
        f"<{kind}>\n"
        f"  certificate {path}.pem\n"
        f"  key {path}.key\n"
        f"  authenticate {os.path.join(folder, _AUTHORITY)}.pem\n"
        f"</{kind}>"
    )


def _this_machine() -> list[str]:
    name = socket.gethostname()
    own = [name] if _HOST.fullmatch(name) and name != "localhost" else []
    return [*own, "localhost", "127.0.0.1", "::1"]


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or len(host) > 253 or re.fullmatch("[0-9.]+", host):
            raise CommandError(
                f"{host!r} is not a host; write a name or an address without a port, such as "
                "zeo.example.org or 10.0.0.5"
            ) from None


def _check_name(name: str, names: list[str]) -> None:
    if not _NAME.fullmatch(name):
        raise CommandError(
            f"{name!r} cannot be the name of a file and a client; use up to 64 letters, digits, "
            "dots, dashes and underscores"
        )
    if name == _AUTHORITY or names.count(name) > 1:
        raise CommandError(f"there would be two files {name}.pem; choose another name")


def _days(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number of days, from 1 to {_LONGEST}")
    return number
