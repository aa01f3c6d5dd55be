"""Checks the arguments of public functions before anything is opened.

`rules` has the checks, and applies tables of them. `addresses` parses the forms of an address, and
`passedsockets` the names of systemd's sockets. The tables are in `clientstorage.arguments` and
`storageserver.arguments`.
Rule: an argument that can never work raises `ArgumentError`, which says what to write instead.
"""

from __future__ import annotations

from .addresses import LONGEST_PATH, Address, check_host, check_socket_path, describe, parse_address
from .passedsockets import PassedSocket, parse_passed_socket
from .rules import (
    ArgumentError,
    Rule,
    Table,
    Wrong,
    checked,
    existing_folder,
    file_in_folder,
    flag,
    folder,
    label,
    longest_silence,
    methods,
    name,
    number,
    optional,
    path,
    refuse_unknown,
    seconds,
    shown,
    size,
    text,
)

__all__ = [
    "LONGEST_PATH",
    "Address",
    "ArgumentError",
    "PassedSocket",
    "Rule",
    "Table",
    "Wrong",
    "check_host",
    "check_socket_path",
    "checked",
    "describe",
    "existing_folder",
    "file_in_folder",
    "flag",
    "folder",
    "label",
    "longest_silence",
    "methods",
    "name",
    "number",
    "optional",
    "parse_address",
    "parse_passed_socket",
    "path",
    "refuse_unknown",
    "seconds",
    "shown",
    "size",
    "text",
]
