"""How clients and daemons of each make are brought to life, in their own processes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import postgres

__all__ = [
    "CONNECT_TIMEOUT",
    "TLS",
    "client_context",
    "missing",
    "open_client",
    "open_database",
    "start_daemon",
]

Address = tuple[str, int] | str | list[tuple[str, int]]

#: The environment variable that has all of them speak TLS.
TLS = "BENCHMARKS_TLS"

#: Our clients that do not read ahead as they do by default.
_READ_AHEAD = {"zeotwisted-off": False, "zeotwisted-read-ahead": True}

#: Plenty: a failure to connect should be reported, not waited for.
CONNECT_TIMEOUT = 15


def missing(make: str) -> str | None:
    """Say in a few words what a client of the make needs and is not installed, if anything."""
    if make == "relstorage" or make.startswith("postgres"):
        return postgres.missing()
    modules = {"zeo": ("ZEO",), "zeo-uvloop": ("ZEO", "uvloop")}.get(make, ())
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    return f"{absent[0]} is not installed" if absent else None


def open_client(
    make: str,
    address: Any,
    cache_size: int,
    blob_dir: str | None = None,
    cache: str | None = None,
    warm_start: bool | None = None,
) -> Any:
    """Return a connected storage of the `make`.

    :param address: the daemon's, or the file's path where there is no daemon.
    :param cache_size: in bytes.
    :param cache: the path of its cache's file.
    :param warm_start: an option of our clients; None for their default.
    """
    if make == "file":
        from ZODB.FileStorage import FileStorage

        return FileStorage(address)
    if make == "relstorage":
        from .postgres import RelationalStorage

        return RelationalStorage(address, cache_size)
    if not isinstance(address, str):
        several = isinstance(address[0], list)
        address = [tuple(each) for each in address] if several else tuple(address)
    if make == "bare":
        from .bare import BareStorage

        return BareStorage(address, CONNECT_TIMEOUT, client_context())
    options = {
        "cache_size": cache_size,
        "wait_timeout": CONNECT_TIMEOUT,
        "blob_dir": blob_dir,
        "cache": cache,
        "ssl": client_context(),
    }
    if make in _READ_AHEAD:
        options["read_ahead"] = _READ_AHEAD[make]
    if warm_start is not None and make.startswith("zeotwisted"):
        options["warm_start"] = warm_start
    return _client_class(make)(address, **options)


def open_database(make: str, address: Any, cache_size: int) -> Any:
    """Return a ZODB database on a storage of the `make`."""
    from ZODB.DB import DB

    if make == "relstorage":
        return DB(postgres.open_storage(address, cache_size))
    return DB(open_client(make, address, cache_size))


def _client_class(make: str) -> Any:
    """Import a client, which takes its time, and return the class."""
    if make == "zeotwisted" or make in _READ_AHEAD:
        import zeotwisted

        return zeotwisted.ClientStorage
    if make in ("zeo", "zeo-uvloop"):
        _import_zeo(uvloop=make == "zeo-uvloop")
        from ZEO.ClientStorage import ClientStorage  # type: ignore[import-untyped]

        return ClientStorage
    raise ValueError(f"no such client: {make}")


def start_daemon(
    make: str, path: str, blob_dir: str | None = None
) -> tuple[Address, Callable[[], None]]:
    """Serve the FileStorage at `path`; return the address and a function that stops it."""
    if make == "postgres":
        return postgres.start(path)
    if make.startswith("postgres-"):
        return postgres.start_daemons(path, int(make.removeprefix("postgres-")))
    options: dict[str, Any] = {"zeo_conf": _zeo_section(), "threaded": True}
    if make == "zeotwisted":
        import zeotwisted

        address, stop = zeotwisted.server(path=path, blob_dir=blob_dir, **options)
    elif make in ("zeo", "zeo-uvloop"):
        _import_zeo(uvloop=make == "zeo-uvloop")
        import ZEO  # type: ignore[import-untyped]

        address, stop = ZEO.server(path=path, blob_dir=blob_dir, **options)
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


def client_context() -> ssl.SSLContext | None:
    # The daemon has put the files into the folder of the run.
    if TLS not in os.environ:
        return None
    context = ssl.create_default_context(cafile="authority.pem")
    context.load_cert_chain("client.pem", "client.key")
    return context


def _import_zeo(uvloop: bool) -> None:
    """Import ZEO so that it takes asyncio's own event loop, or uvloop's.

    ZEO takes uvloop whenever it can be imported. What we compare with must not depend on what
    happens to be installed. Moreover, with uvloop ZEO's daemon can write an invalidation before
    the reply that it must follow, so its figures are not those of a correct one.
    """
    if "ZEO.asyncio.compat" not in sys.modules:
        if not uvloop:
            sys.modules["uvloop"] = None  # type: ignore[assignment]
        try:
            importlib.import_module("ZEO.asyncio.compat")
        finally:
            # ZEO.asyncio.client looks whether the name is there.
            if not uvloop:
                del sys.modules["uvloop"]
    is_asyncio = sys.modules["ZEO.asyncio.compat"].new_event_loop is asyncio.new_event_loop
    if is_asyncio and uvloop:
        raise RuntimeError("uvloop is not installed")
    if not is_asyncio and not uvloop:
        raise RuntimeError("ZEO uses an event loop other than asyncio's own")
