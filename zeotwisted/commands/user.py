"""``zeotwisted user``: keeps the file with the accounts of clients.

A server that has the file as ``accounts`` uses a change at the next log-in, without a restart.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import zc.lockfile
from scramp import ScramException

from zeotwisted.access import (
    AccountFileError,
    Verifier,
    check_user,
    is_readable_by_others,
    read_accounts,
    verifier,
    write_accounts,
)

from .errors import CommandError

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Add, remove and list the accounts of clients"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add = actions.add_parser("add", help="add an account, or change its password")
    add.add_argument("name", help="the user name")
    add.add_argument(
        "--password-file",
        metavar="PATH",
        help="read the password from the first line of this file, - for standard input; "
        "otherwise it is asked for",
    )
    add.set_defaults(action=_add)
    remove = actions.add_parser("remove", help="remove an account")
    remove.add_argument("name", help="the user name")
    remove.set_defaults(action=_remove)
    list_ = actions.add_parser("list", help="print the user names, one on a line")
    list_.set_defaults(action=_list)
    for action in (add, remove, list_):
        action.add_argument(
            "--file",
            metavar="PATH",
            default="accounts",
            help="the file with the accounts [default: accounts]",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return the exit code.

    :raises CommandError: it cannot be done.
    """
    try:
        code: int = arguments.action(arguments)
    except AccountFileError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(
            f"{error.filename or arguments.file}: {error.strerror}; check the path, and who may "
            "write there"
        ) from None
    return code


def _add(arguments: argparse.Namespace) -> int:
    name = _checked(arguments.name)
    password = _password(arguments.password_file, name)
    try:
        new = verifier(password)
    except ScramException as error:
        raise CommandError(f"the password cannot be used: {error}; choose another one") from None
    with _locked(arguments.file):
        accounts = _accounts(arguments.file)
        is_new = name not in accounts
        write_accounts(arguments.file, accounts | {name: new})
    print(f"{arguments.file}: {'added' if is_new else 'changed the password of'} {name}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    name = _checked(arguments.name)
    with _locked(arguments.file):
        accounts = read_accounts(arguments.file)
        if name not in accounts:
            raise CommandError(
                f"{arguments.file} has no account {name}; zeotwisted user list shows those it has"
            )
        del accounts[name]
        write_accounts(arguments.file, accounts)
    print(f"{arguments.file}: removed {name}; its connections last until they are closed")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    for name in sorted(read_accounts(arguments.file)):
        print(name)
    if is_readable_by_others(arguments.file):
        print(
            f"zeotwisted: {arguments.file} can be read by other users of this machine, who can "
            f"guess passwords from it; chmod 600 {arguments.file}",
            file=sys.stderr,
        )
    return 0


def _checked(name: str) -> str:
    try:
        return check_user(name)
    except ValueError as error:
        raise CommandError(f"{error}; choose another name") from None


def _accounts(path: str) -> dict[str, Verifier]:
    return read_accounts(path) if os.path.exists(path) else {}


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Keep other commands from changing the file at the same time."""
    try:
        lock = zc.lockfile.LockFile(f"{path}.lock")
    except zc.lockfile.LockError:
        raise CommandError(f"{path} is being changed by another command; try again") from None
    try:
        yield
    finally:
        lock.close()


def _password(path: str | None, name: str) -> str:
    if path == "-":
        password = sys.stdin.readline().rstrip("\r\n")
    elif path is not None:
        try:
            with open(path, encoding="utf-8") as file:
                password = file.readline().rstrip("\r\n")
        except UnicodeDecodeError:
            raise CommandError(f"{path} is not a text in UTF-8; write the password into it")
    else:
        if not sys.stdin.isatty():
            raise CommandError(
                "there is no terminal to ask for the password; use --password-file PATH, "
                "or --password-file - for standard input"
            )
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != password:
            raise CommandError("the two passwords differ; try again")
    if not password:
        raise CommandError("the password is empty; choose another one")
    return password
