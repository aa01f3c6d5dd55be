"""Makes endpoints of the texts that ``--listen`` takes."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from zeotwisted.config import is_encrypted
from zeotwisted.transport import NoSuchSocket, passed_endpoint, unix_endpoint

from .certificates import endpoint_files
from .daemon import UNACCEPTED
from .exposure import Place, endpoint_host

__all__ = ["endpoint_place"]


def endpoint_place(reactor: Any, text: str) -> Place:
    """Return the place that the description of a Twisted endpoint means.

    :raises SystemExit: it has a mistake.
    """
    return Place(text, _endpoint(reactor, text), host=endpoint_host(text))


def _endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    key = endpoint_files(text).get("privateKey")
    if key is not None and os.path.isfile(key) and is_encrypted(key):
        # Twisted would ask for the key's password at the terminal.
        raise SystemExit(
            f"zeo: --listen {text}: {key} is encrypted; decrypt it, or use --conf with an <ssl> "
            "section that has a password-function"
        )
    try:
        return (
            unix_endpoint(reactor, text, UNACCEPTED)
            or passed_endpoint(reactor, text)
            or serverFromString(reactor, text)
        )
    except NoSuchSocket as error:
        raise SystemExit(f"zeo: --listen {text}: {error}")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except TypeError:
        # The text of the exception is about functions of Twisted, which a user does not know.
        reason = "an argument is missing, or is one too many"
    except Exception as error:
        reason = str(error)
    raise SystemExit(
        f"zeo: --listen {text}: {reason}; write a Twisted endpoint, for example "
        "tcp:8100:interface=127.0.0.1 or unix:/run/zeo.sock"
    )
