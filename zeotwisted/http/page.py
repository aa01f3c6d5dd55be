"""Makes HTML of a snapshot. Whatever it gets is a text, and is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template

from zeotwisted.storageserver import ConnectionReport

from .plots import HEIGHT, WIDTH, Plot
from .snapshot import Link, Row, Snapshot
from .words import NOTHING, duration

__all__ = ["FILES", "confirmation", "file", "page"]

#: The files that browsers load, and their types.
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

#: The tables: columns, and what stands there if there are no rows.
_TABLES = {
    "storages": (
        (
            *("Storage", "State", "Size", "Objects", "Last transaction", "Clients", "Loads"),
            *("Commits", "Conflicts resolved / failed", "Pack"),
        ),
        "No storage is open.",
    ),
    "locks": (
        ("Storage", "What", "Client", "For"),
        "Nobody holds a commit lock, and nobody waits.",
    ),
    "readers": (
        ("Storage", "Client", "Read", "For"),
        "Nobody reads the log, as a backup does.",
    ),
    "clients": (
        (
            *("Label", "User", "Address", "Storage", "Version", "Idle for", "Queued"),
            *("Transaction", "Action"),
        ),
        "No client is connected, or you may not see whom.",
    ),
    "warnings": (
        ("Time", "Level", "Text"),
        "There is no warning, or you may not see it.",
    ),
}


@cache
def file(name: str) -> bytes:
    """Return a file of the package that browsers load."""
    return (files(__package__) / "files" / name).read_bytes()


@cache
def _template(name: str) -> Template:
    return Template(file(name).decode())


def page(snapshot: Snapshot) -> bytes:
    """Return the page."""
    texts = {name.replace("-", "_"): escape(text) for name, text in snapshot.texts.items()}
    tables = {name: _table(name, rows) for name, rows in snapshot.tables.items()}
    state = "good" if snapshot.texts["status"] == "Ready" else "bad"
    drawn = "\n".join(map(_figure, snapshot.plots))
    return (
        _template("page.html")
        .substitute(
            texts,
            state=state,
            plots=drawn,
            **{f"table_{name}": text for name, text in tables.items()},
        )
        .encode()
    )


def confirmation(report: ConnectionReport, token: str) -> bytes:
    """Return the page that asks before a client is disconnected."""
    transaction = report.transaction
    return (
        _template("disconnect.html")
        .substitute(
            {
                "label": escape(report.label or NOTHING),
                "user": escape(report.user or NOTHING),
                "address": escape(report.address),
                "storage": escape(report.storage_id or "not registered"),
                "age": escape(duration(report.age)),
                "transaction": escape(
                    "It has none."
                    if transaction is None
                    else f"It is {transaction.phase}, and will be aborted, unless it is finishing."
                ),
                "number": report.number,
                "token": escape(token),
            }
        )
        .encode()
    )


def _table(name: str, rows: Sequence[Row]) -> str:
    columns, nothing = _TABLES[name]
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(_row(key, cells, columns) for key, cells in rows)
    hidden = " hidden" if rows else ""
    return (
        f'<table data-table="{name}" aria-labelledby="title-{name}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>\n"
        f'<p class="nothing" data-nothing="{name}"{hidden}>{escape(nothing)}</p>'
    )


def _row(key: str, cells: Sequence[str | Link], columns: Sequence[str]) -> str:
    drawn = (
        f'<td data-label="{escape(column)}">{_cell(cell)}</td>'
        for column, cell in zip(columns, cells, strict=True)
    )
    return f'<tr data-key="{escape(key)}">{"".join(drawn)}</tr>'


def _cell(cell: str | Link) -> str:
    if isinstance(cell, Link):
        label, href = escape(cell.label), escape(cell.href)
        return f'<a href="{href}" aria-label="{label}">{escape(cell.text)}</a>'
    return escape(cell)


def _figure(plot: Plot) -> str:
    lines = "".join(f'<polyline points="{escape(line)}"/>' for line in plot.lines)
    title = escape(plot.title)
    return (
        f'<figure data-plot="{plot.key}"><figcaption>{title} '
        f"<strong data-now>{escape(plot.now)}</strong></figcaption>"
        f'<div class="plot"><span class="top" data-top>{escape(plot.top)}</span>'
        f'<span class="bottom">{escape(plot.bottom)}</span>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{title}, over the last five minutes">'
        f'<path class="grid" d="M0 .5H{WIDTH}M0 {HEIGHT / 2}H{WIDTH}M0 {HEIGHT - 0.5}H{WIDTH}"/>'
        f"<g data-lines>{lines}</g></svg>"
        '<span class="axis"><span>5 min ago</span><span>now</span></span></div></figure>'
    )
