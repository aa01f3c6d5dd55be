"""Who takes part: pairs of a client and a daemon, and how each is brought to life."""

from __future__ import annotations

import asyncio
import importlib
import os
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["BASELINE", "CONTENDERS", "TLS", "Contender", "open_client", "start_daemon"]

Address = tuple[str, int]

#: The contender that all ratios refer to.
BASELINE = "zeo"

#: The environment variable that has all of them speak TLS.
TLS = "BENCHMARKS_TLS"

#: Plenty: a failure to connect should be reported, not waited for.
_CONNECT_TIMEOUT = 15


@dataclass(frozen=True)
class Contender:
    """A client of one make against a daemon of one make.

    :ivar skips: names of the measures that make no sense for it.
    """

    name: str
    client: str
    daemon: str
    skips: frozenset[str] = frozenset()


#: What needs more than a socket.
_BARE_SKIPS = frozenset({"hit", "prefetch", "blobup", "blobdown", "blobsup", "blobsdown"})

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("zeo", client="zeo", daemon="zeo"),
        Contender("zeotwisted", client="zeotwisted", daemon="zeotwisted"),
        Contender("zeotwisted-zeo", client="zeotwisted", daemon="zeo"),
        Contender("zeo-zeotwisted", client="zeo", daemon="zeotwisted"),
        Contender("bare", client="bare", daemon="zeo", skips=_BARE_SKIPS),
    )
}


def open_client(make: str, address: Address, cache_size: int, blob_dir: str | None) -> Any:
    """Return a connected storage of the `make`, with an empty cache of `cache_size` bytes."""
    options = {"cache_size": cache_size, "wait_timeout": _CONNECT_TIMEOUT, "blob_dir": blob_dir}
    if make == "zeo":
        _import_zeo_without_uvloop()
        from ZEO.ClientStorage import ClientStorage  # type: ignore[import-untyped]

        return ClientStorage(address, ssl=_client_context(), **options)
    if make == "zeotwisted":
        import zeotwisted

        return zeotwisted.ClientStorage(address, ssl=_client_context(), **options)
    if make == "bare":
        from .bare import BareStorage

        return BareStorage(address, timeout=_CONNECT_TIMEOUT)
    raise ValueError(f"no such client: {make}")


def start_daemon(
    make: str, path: str, blob_dir: str | None = None
) -> tuple[Address, Callable[[], None]]:
    """Serve the FileStorage at `path`; return the address and a function that stops it."""
    options: dict[str, Any] = {"zeo_conf": _zeo_section(), "threaded": True}
    if make == "zeo":
        _import_zeo_without_uvloop()
        import ZEO  # type: ignore[import-untyped]

        address, stop = ZEO.server(path=path, blob_dir=blob_dir, **options)
    elif make == "zeotwisted":
        import zeotwisted

        address, stop = zeotwisted.server(path=path, blob_dir=blob_dir, **options)
    else:
        raise ValueError(f"no such daemon: {make}")
    return address, stop


def _zeo_section() -> str | None:
    """Return the daemon's section, if it has to have one; make what that names."""
    if TLS not in os.environ:
        return None
    from tests.tls.certificates import Certificates

    certificates = Certificates(Path.cwd())
    return "\n".join(("<zeo>", "address 127.0.0.1:0", *certificates.server_section, "</zeo>"))


def _client_context() -> ssl.SSLContext | None:
    # The daemon has put the files into the folder of the run.
    if TLS not in os.environ:
        return None
    context = ssl.create_default_context(cafile="authority.pem")
    context.load_cert_chain("client.pem", "client.key")
    return context


def _import_zeo_without_uvloop() -> None:
    """Import ZEO so that it takes asyncio's own event loop.

    ZEO takes uvloop whenever it can be imported. What we compare with must not depend on what
    happens to be installed. Moreover, with uvloop ZEO's daemon can write an invalidation before
    the reply that it must follow, so its figures would not be those of a correct one.
    """
    if "ZEO.asyncio.compat" not in sys.modules:
        sys.modules["uvloop"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("ZEO.asyncio.compat")
        finally:
            # ZEO.asyncio.client looks whether the name is there.
            del sys.modules["uvloop"]
    if sys.modules["ZEO.asyncio.compat"].new_event_loop is not asyncio.new_event_loop:
        raise RuntimeError("ZEO uses an event loop other than asyncio's own")
