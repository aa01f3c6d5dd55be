"""Remedies for ZConfig's errors, whose own texts only say what is wrong."""

from __future__ import annotations

import re
from difflib import get_close_matches

__all__ = ["EXPECTED", "for_message", "unknown_key", "unknown_section"]

#: Patterns of messages, and the remedy for each. The first pattern that is found applies.
_REMEDIES = [
    (
        "malformed section|unbalanced section|unexpected section|unclosed sections",
        "write every <section> on a line of its own and close it with </section>",
    ),
    (
        r"value did not match regular expression: '([\w.-]+) ?[=:]",
        r"write \1, a blank and the value, without = or :",
    ),
    ("value did not match regular", "write a key, a blank and a value, or a <section>"),
    ("malformed configuration", "write a key, a blank and a value"),
    ("directive", "only %define, %import and %include are known, each with an argument"),
    (
        "unknown type name",
        "correct the section's type, or add an %import of the package that defines it",
    ),
    ("abstract section type", "name the kind of storage, as in <filestorage>"),
    (
        "no matching section defined for type='zodb'",
        "write the storage's section without <zodb>, which is for clients",
    ),
    ("no matching section", "move the section to where it belongs, or remove it"),
    ("too many instances", "keep one of these sections"),
    ("must not be re-used", "give each of these sections a name of its own"),
    ("does not support multiple values", "keep one of these lines"),
    ("no values for section type '(.*?)'", r"add a section <\1>"),
    ("no values for '(.*?)'", r"add a line that begins with \1"),
    ("not enough values for section type 'zodb.storage'", "add a section such as <filestorage>"),
    ("not enough values for '(.*?)'", r"add a line that begins with \1"),
    ("no replacement for|'\\$|lone '\\$'", "%define the name above, or write $$ for a dollar sign"),
    ("redefine '", "keep one %define of a name"),
    ("not a substitution legal name", "use letters, digits and underscores only"),
    (
        r"could not load package ([\w.]+?)(?:\.[\w.]+)?: No module named '\1'",
        "install that package, or correct its name",
    ),
    # The package is installed, but a package that it needs is not.
    (
        r"could not load package ([\w.]+): No module named '(?!\1(?:\.|'))(?!zeotwisted)(\w+)",
        r"install \2, which \1 needs",
    ),
    (
        "could not load package|illegal schema component",
        "install that package, or correct its name",
    ),
    ("does not refer to a package", "name a package that has a component.xml"),
    (
        "type name cannot be redefined",
        "remove the %import, or write %import zeotwisted for %import ZEO",
    ),
    ("error opening schema component", "correct the package's name, as it has no component.xml"),
    ("error opening|unknown url type", "correct the path"),
    ("RecursionError", "a file may not %include itself; remove that line"),
]

#: For data types of ZConfig, by their names in a schema: a name for the expected kind of value, and
#: the remedy.
EXPECTED = {
    "boolean": ("a boolean value", "write on or off"),
    "byte-size": ("a number", "write a whole number of bytes, or one with KB, MB or GB behind it"),
    "existing-directory": ("a directory", "create the directory, or correct the path"),
    "existing-dirpath": ("a path", "create the directory, or correct the path"),
    "float": ("a number", "write a number"),
    "integer": ("a number", "write a whole number"),
    "time-interval": ("a number", "write a whole number with s, m, h or d behind it"),
    "ZConfig.components.logger.datatypes.logging_level": (
        "a level of the log",
        "write critical, error, warn, info, debug or all",
    ),
}

#: How similar a key has to be for a guess, from 0 to 1.
_NEAR = 0.8

#: Keys of <zeo> that earlier versions of ZEO had.
_RETIRED = {
    "monitor-address": "remove it; the daemon answers ruok at its own address",
    "authentication-protocol": "remove it; the key accounts and <access> sections admit clients",
    "authentication-database": "write accounts, with a file that zeotwisted user has made",
    "authentication-realm": "write realm",
}

#: The packages that define these sections.
_PACKAGES = {
    "beforestorage": "zc.beforestorage",
    "clientstorage": "zeotwisted",
    "relstorage": "relstorage",
    "serverzlibstorage": "zc.zlibstorage",
    "zlibstorage": "zc.zlibstorage",
    "zrs": "zc.zrs",
}


def for_message(what: str) -> str:
    """Return the remedy for an error with this text."""
    for pattern, remedy in _REMEDIES:
        match = re.search(pattern, what)
        if match:
            return match.expand(remedy)
    return "correct this line"


def unknown_key(key: str, section: str, keys: list[str]) -> tuple[str, str]:
    """Return the mistake and the remedy for a key that a section does not have.

    :param keys: the keys that the section has.
    """
    what = f"{key!r} is not a known key name"
    if section == "zeo" and key in _RETIRED:
        return f"{key!r} is a key of earlier versions of ZEO, without a meaning now", _RETIRED[key]
    dashed = key.replace("_", "-")
    if dashed != key and dashed in keys:
        return what, f"write {dashed}"
    near = get_close_matches(key, keys, 1, _NEAR)
    if near:
        return what, f"write {near[0]}"
    return what, f"<{section}> has the keys {', '.join(keys)}"


def unknown_section(type_: str, known: list[str]) -> str | None:
    """Return the remedy for a section of an unknown type; None if there is no good guess.

    :param known: the known types.
    """
    if type_ in _PACKAGES:
        return f"add a line %import {_PACKAGES[type_]} above it"
    word = type_.rstrip("0123456789")
    if word != type_ and word in known:
        return f"write <{word} {type_[len(word) :]}>, with a blank before the name"
    near = get_close_matches(type_, known, 1, _NEAR)
    return f"write <{near[0]}>" if near else None
