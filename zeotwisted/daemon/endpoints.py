"""Makes endpoints of the texts that ``--listen`` takes."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from zeotwisted.transport import NoSuchSocket, passed_endpoint, unix_endpoint

from .certificates import endpoint_files
from .described import DescribedEndpoint, EncryptedKey
from .exposure import Place, endpoint_host
from .listening import UNACCEPTED

__all__ = ["endpoint_place"]


def endpoint_place(reactor: Any, text: str) -> Place:
    """Return the place that the description of a Twisted endpoint means.

    :raises SystemExit: it has a mistake.
    """
    return Place(text, _endpoint(reactor, text), host=endpoint_host(text))


def _endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    try:
        if endpoint_files(text):
            return DescribedEndpoint(reactor, text)
        return (
            unix_endpoint(reactor, text, UNACCEPTED)
            or passed_endpoint(reactor, text)
            or serverFromString(reactor, text)
        )
    except NoSuchSocket as error:
        raise SystemExit(f"zeo: --listen {text}: {error}")
    except EncryptedKey as error:
        raise SystemExit(
            f"zeo: --listen {text}: {error}; decrypt it, or use --conf with an <ssl> section that "
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
        f"zeo: --listen {text}: {reason}; write a Twisted endpoint, for example "
        "tcp:8100:interface=127.0.0.1 or unix:/run/zeo.sock"
    )
