"""Makes endpoints of the texts that ``--listen`` and ``--http`` take."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from zeotwisted.transport import NoSuchSocket, passed_endpoint, unix_endpoint

from .certificates import endpoint_files
from .described import DescribedEndpoint, EncryptedKey
from .exposure import Place, endpoint_host
from .listening import UNACCEPTED

__all__ = ["endpoint_place", "local_endpoint"]

#: Endpoints that are at all interfaces if they name none, and what to add.
_LOCAL = {"tcp": "127.0.0.1", "ssl": "127.0.0.1", "tcp6": r"\:\:1"}


def local_endpoint(text: str) -> str:
    """Return the description of an endpoint that is at this machine's own interface if the text
    names none. It may be just a port.
    """
    if text.isdigit():
        text = f"tcp:{text}"
    kind = text.partition(":")[0]
    if kind not in _LOCAL or endpoint_host(text):
        return text
    return f"{text}:interface={_LOCAL[kind]}"


def endpoint_place(reactor: Any, text: str, option: str = "--listen") -> Place:
    """Return the place that the description of a Twisted endpoint means.

    :param option: the option that has the text, for messages.
    :raises SystemExit: it has a mistake.
    """
    return Place(text, _endpoint(reactor, text, option), host=endpoint_host(text))


def _endpoint(reactor: Any, text: str, option: str) -> IStreamServerEndpoint:
    try:
        if endpoint_files(text):
            return DescribedEndpoint(reactor, text)
        return (
            unix_endpoint(reactor, text, UNACCEPTED)
            or passed_endpoint(reactor, text)
            or serverFromString(reactor, text)
        )
    except NoSuchSocket as error:
        raise SystemExit(f"zeo: {option} {text}: {error}")
    except EncryptedKey as error:
        raise SystemExit(
            f"zeo: {option} {text}: {error}; decrypt it, or use --conf with an <ssl> section that "
            "has a password-function"
        )
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except TypeError:
        # The text of the exception is about functions of Twisted, which a user does not know.
        reason = "an argument is missing, or is one too many"
    except ValueError as error:
        # Python's text is about its function `int`.
        number = str(error).partition("invalid literal for int() with base 10: ")[2]
        reason = f"{number} is no number" if number else str(error)
    except Exception as error:
        reason = str(error)
    raise SystemExit(
        f"zeo: {option} {text}: {reason}; write a Twisted endpoint, for example "
        "tcp:8100:interface=127.0.0.1 or unix:/run/zeo.sock"
    )
