"""Checks of what users pass, made before anything is opened.

`rules` has the checks and how tables of them are applied; `addresses` has the forms of an address.
The tables are with the functions that they belong to: `clientstorage.arguments`,
`storageserver.arguments`.
Rule: an argument that can never work raises `ArgumentError` at once, with the right spelling.
"""

from __future__ import annotations

from .addresses import LONGEST_PATH, Address, check_host, check_socket_path, describe, parse_address
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
    "path",
    "refuse_unknown",
    "seconds",
    "shown",
    "size",
    "text",
]
