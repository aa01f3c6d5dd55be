"""Directives that describe settings from where they are defined, so that no page repeats them.

``.. zeo-options::``
    The options of ``twistd zeo``, from `zeotwisted.tap.Options`. An option that is a key of
    ``zeo.conf`` as well has the description of that key.
``.. zconfig-section:: NAME``
    The keys of a section, from the schemas in ``zeotwisted/config``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import ZConfig
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from zeotwisted.tap import Options

#: The schemas of the sections, and what is imported into them.
_SCHEMA = """
<schema>
  <import package="zeotwisted.config" file="server.xml"/>
  <import package="zeotwisted"/>
</schema>
"""

#: What an option's value is called, for those whose name does not say it.
_VALUES = {
    "blob-dir": "PATH",
    "client-timeout": "SECONDS",
    "conf": "PATH",
    "file": "PATH",
    "http": "ENDPOINT",
    "http-names": "NAMES",
    "invalidation-age": "SECONDS",
    "invalidation-queue-bytes": "SIZE",
    "record-cache-bytes": "SIZE",
    "invalidation-queue-size": "NUMBER",
    "listen": "ENDPOINT",
    "message-limit": "SIZE",
    "protocol-limit": "VERSION",
    "spool-dir": "PATH",
    "storage": "NAME=PATH",
    "transaction-timeout": "SECONDS",
}

#: ZConfig's data types, in words. The data types of this package are explained by descriptions.
_TYPES = {
    "asBoolean": "on or off",
    "existing_directory": "the path of an existing folder",
    "existing_dirpath": "a path in an existing folder",
    "integer": "a whole number",
}


def schema() -> Any:
    """Return a schema with all sections of ours."""
    return ZConfig.loadSchemaFile(StringIO(_SCHEMA))


def keys(section: str) -> dict[str, Any]:
    """Return ZConfig's description of each key of a section, by its name."""
    return {name: info for name, info in schema().gettype(section) if name}


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").split())


def _literals(text: str) -> str:
    """Mark names of keys in a plain text."""
    known = {name for section in ("zeo", "zeotwisted", "ssl") for name in keys(section)}
    hyphenated = "|".join(re.escape(name) for name in known if "-" in name)
    return re.sub(rf"(?<![\w`-])({hyphenated}|host:port)(?![\w`-])", r"``\1``", text)


def _default(info: Any) -> str:
    if info.minOccurs > 0:
        return "Required."
    value = info.getdefault()
    if isinstance(value, list) or value is None or value.value == "":
        return ""
    return f"Default: ``{value.value}``."


def section_lines(section: str) -> Iterator[str]:
    """Return the description of a section's keys as reStructuredText.

    :param section: the name of its type, such as ``zeo``.
    """
    yield f".. program:: <{section}>"
    yield ""
    for name, info in keys(section).items():
        if not info.description:
            continue
        yield f".. option:: {name}"
        yield ""
        kind = _TYPES.get(getattr(info.datatype, "__name__", ""), "")
        facts = [f"Value: {kind}." if kind else "", _default(info)]
        if info.ismulti():
            facts.append("May be given several times.")
        yield "   " + _literals(_paragraph(info.description))
        yield "   " + " ".join(filter(None, facts))
        yield ""
    ignored = [name for name, info in keys(section).items() if not info.description]
    if ignored:
        names = ", ".join(f"``{name}``" for name in ignored)
        yield f"These keys of ZEO's sections are accepted and have no effect: {names}."
        yield ""


def option_names() -> dict[str, str]:
    """Return the short form of each option of ``twistd zeo``, or "", by the long form."""
    aliases = {
        getattr(Options, name): name.removeprefix("opt_")
        for name in dir(Options)
        if re.fullmatch("opt_.", name)
    }
    shorts = {
        name.removeprefix("opt_"): aliases.get(method, "")
        for name, method in vars(Options).items()
        if re.fullmatch("opt_..+", name)
    }
    version = shorts.pop("version")
    shorts |= {name: short or "" for name, short, *_ in Options.optParameters + Options.optFlags}
    return shorts | {"version": version}


def _option_text(name: str) -> str:
    for long, _, *rest in Options.optParameters:
        if long == name:
            text = rest[1]
            if rest[0] is not None:
                default = keys("zeo")[name].getdefault().value
                text += f" [default: {default}]"
            return text
    for long, _, text in Options.optFlags:
        if long == name:
            return text
    return inspect.getdoc(getattr(Options, f"opt_{name}")) or ""


def option_lines() -> Iterator[str]:
    """Return the description of the options of ``twistd zeo`` as reStructuredText."""
    yield ".. program:: twistd zeo"
    yield ""
    flags = {name for name, *_ in Options.optFlags}
    described = keys("zeo")
    for name, short in option_names().items():
        value = _VALUES.get(name, "")
        forms = [f"-{short} {value}".strip()] if short else []
        forms.append(f"--{name} {value}".strip())
        yield f".. option:: {', '.join(forms)}"
        yield ""
        text = _paragraph(_option_text(name)).replace("\\:", "\\\\:").rstrip(".")
        default = re.search(r"\s*\[default: (.*)\]$", text)
        if default:
            text = text[: default.start()]
        if name in described:
            # The description of the key says more.
            text = _literals(_paragraph(described[name].description)).rstrip(".")
            if name in flags:
                # It says what happens without the key, and a flag is off then.
                text = re.sub(r" Without this key.*", "", text).rstrip(".")
            text = text.replace("this key", "this option")
        yield f"   {text}."
        if default:
            yield f"   Default: {default[1]}."
        yield ""


class Generated(SphinxDirective):
    """Shows lines that are generated."""

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        source = f"generated by {self.name}"
        node = nodes.section()
        node.document = self.state.document
        lines = StringList(list(self.lines()), source)
        nested_parse_with_titles(self.state, lines, node, self.content_offset)
        return node.children


class ZeoOptions(Generated):
    """See the module."""

    def lines(self) -> Iterator[str]:
        return option_lines()


class ZConfigSection(Generated):
    """See the module."""

    required_arguments = 1

    def lines(self) -> Iterator[str]:
        return section_lines(self.arguments[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("zeo-options", ZeoOptions)
    app.add_directive("zconfig-section", ZConfigSection)
    return {"parallel_read_safe": True}
