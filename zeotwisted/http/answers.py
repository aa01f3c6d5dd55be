"""The answers to requests, with the headers that all of them have."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

__all__ = ["Answer", "give", "plain"]

#: A page may load only what comes from here, and no other page may show or read it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "zeotwisted",
    # See `guard`: a connection is for one request.
    "Connection": "close",
}

PLAIN = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """An answer.

    :ivar more: headers that only this one has.
    """

    status: int
    body: bytes
    content_type: str = PLAIN
    more: tuple[tuple[str, str], ...] = ()


def plain(status: int, text: str, *more: tuple[str, str]) -> Answer:
    """Return an answer of one line."""
    return Answer(status, f"{text}\n".encode(), PLAIN, more)


def begin(request: Any, status: int, content_type: str) -> None:
    """Set the status and all common headers of an answer."""
    # Twisted does not know all of them.
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    for name, value in _HEADERS.items():
        request.responseHeaders.setRawHeaders(name, [value])
    request.responseHeaders.setRawHeaders("Content-Type", [content_type])
    request.channel.persistent = False


def give(request: Any, answer: Answer) -> None:
    """Write an answer, and end the request."""
    begin(request, answer.status, answer.content_type)
    for name, value in answer.more:
        request.responseHeaders.addRawHeader(name, value)
    request.responseHeaders.setRawHeaders("Content-Length", [str(len(answer.body))])
    if request.method != b"HEAD":
        request.write(answer.body)
    request.finish()
