"""The processes of a world, daemons and clients: each can be killed at any step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from ZODB.FileStorage import FileStorage

from zeotwisted import ClientStorage
from zeotwisted.storageserver import ServerOptions, StorageServer

from . import threads
from .disk import Disk
from .network import Network
from .reactor import Reactor
from .scheduler import Scheduler
from .storages import SharedStorage, SlowStorage

__all__ = ["PORT", "ClientProcess", "DaemonProcess", "Process"]

PORT = 8100

#: Many transactions in most clients, so that they meet; few in others, so that nothing happens for
#: a while.
_PACES = (20.0, 20.0, 20.0, 1.0, 0.03)


class Process:
    """Tasks and files that end together.

    :param host: the address of its machine.
    :ivar reactor: its reactor; it does nothing before something asks for it.
    """

    def __init__(self, scheduler: Scheduler, network: Network, host: str, folder: Path) -> None:
        self.scheduler = scheduler
        self.network = network
        self.host = host
        self.folder = folder
        self.alive = True
        self.reactor = Reactor(scheduler, network, host, self)

    def spawn(self, run: Callable[[], None], name: str) -> None:
        """Run a function in a thread of this process."""
        threads.Thread(target=run, name=f"{name} of {self.host}").start_in(self)

    def kill(self, notices: bool = True) -> None:
        """End the process, wherever it is.

        :param notices: whether the others notice.
        """
        self.alive = False
        self.scheduler.kill(self)
        self.network.process_ended(self, notices)
        _let_go_of_files(self.folder)


def _let_go_of_files(folder: Path) -> None:
    """Put copies in the place of all files below a folder.

    The killed process still has the originals open, with their locks.
    """
    for path in list(folder.rglob("*")):
        if path.is_file():
            copy = path.with_name(f"{path.name}.copy")
            shutil.copy2(path, copy)
            copy.replace(path)


class DaemonProcess(Process):
    """A daemon that serves one FileStorage.

    :param when_unusable: called when the storage cannot be used any more.
    :ivar serving: whether clients can connect.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        host: str,
        disk: Disk,
        when_unusable: Callable[[], None],
    ) -> None:
        super().__init__(scheduler, network, host, disk.folder)
        self.disk = disk
        self.serving = False
        self.stopped = False
        self.server: StorageServer | None = None
        self._when_unusable = when_unusable
        random = scheduler.random
        self._options = ServerOptions(
            invalidation_queue_size=random.choice([3, 20, 100]),
            invalidation_age=random.choice([None, 0.0]),
            client_conflict_resolution=random.random() < 0.2,
            msgpack=random.random() < 0.5,
            protocol_limit=random.choice([5, 6, 6, 6]),
            call_limit=random.choice([1000, 1000, 3]),
        )
        self.spawn(self._open, "start")

    def _open(self) -> None:
        try:
            storage: Any = FileStorage(str(self.folder / "Data.fs"))
        except OSError:
            # The disk has failed. A daemon that cannot open its storage does not start.
            self._when_unusable()
            return
        chance = self.scheduler.random.random()
        if chance < 0.3:
            storage = SlowStorage(storage)
        elif chance < 0.45:
            storage = SharedStorage(storage)
        self.reactor.callFromThread(self._serve, storage)

    def _serve(self, storage: Any) -> None:
        self.server = StorageServer(self.reactor, {"1": storage}, self._options)
        self.server.listen(TCP4ServerEndpoint(self.reactor, PORT), f"{self.host}:{PORT}")
        self.server.when_unusable = self._when_unusable
        self.server.startService()
        self.serving = True
        if isinstance(storage, SharedStorage):
            self.spawn(lambda: self._write(storage), "outside")

    def _write(self, storage: SharedStorage) -> None:
        storage.write(self.scheduler)
        if self.serving:
            # The daemon does not know that, and what is left in the file.
            self._when_unusable()

    def kill(self, notices: bool = True, power: bool = False) -> None:
        """See `Process`.

        :param power: the machine has lost power, and what was not synced.
        """
        super().kill(notices and not power)
        self.disk.process_ended(power)

    def stop(self) -> None:
        """Stop in an orderly way; `stopped` tells the end."""
        self.serving = False
        self.reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        assert self.server is not None
        self.server.stopService().addCallback(self._stopped)

    def _stopped(self, result: object) -> None:
        self.stopped = True


class ClientProcess(Process):
    """A process with a `ClientStorage`.

    :param servers: the hosts of the daemons.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        host: str,
        folder: Path,
        servers: list[str],
    ) -> None:
        super().__init__(scheduler, network, host, folder)
        self._addresses = [(server, PORT) for server in servers]
        #: How many transactions each of its threads makes in a second, on average.
        self.pace = scheduler.random.choice(_PACES)
        #: Whether it is going to close its storage.
        self.leaving = False
        #: Whether it uses version 5 with any daemon.
        self.is_old = scheduler.random.random() < 0.15
        #: Whether the cache is in a file, and survives the process.
        self.persistent = scheduler.random.random() < 0.4
        self.cache_size = scheduler.random.choice([600, 600, 3_000, 1_000_000])

    def open(self, **options: Any) -> ClientStorage:
        """Open the storage, in one of the process's tasks."""
        cache = {"var": str(self.folder), "client": "cache"} if self.persistent else {}
        return ClientStorage(
            self._addresses,
            reactor=self.reactor,
            cache_size=self.cache_size,
            name=self.host,
            read_ahead=self.scheduler.random.choice(["auto", "auto", True, False]),
            server_sync=self.scheduler.random.random() < 0.2,
            **cache,
            **options,
        )
