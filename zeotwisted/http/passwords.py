"""Checks the passwords of visitors against the accounts of clients."""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256
from typing import Any

from scramp import ScramException
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from zeotwisted.access import Accounts, Throttle, Verifier, made_up, verifier

__all__ = ["Busy", "Passwords"]

#: How long (seconds) a password that was right need not be hashed again: it takes 30 milliseconds
#: of a processor.
_MEMORY = 300.0

#: How many of them are remembered, and how many are hashed at the same time.
_MOST = 100
_AT_A_TIME = 1

#: How many may wait for that. Who comes later has to come back.
_MOST_WAITING = 20


class Busy(Exception):
    """Too many passwords wait to be checked."""


class Passwords:
    """Checks passwords, in a thread, and slows down hosts that guess.

    :param reactor: has the threads.
    """

    _log = Logger()

    def __init__(self, accounts: Accounts, reactor: Any) -> None:
        self._accounts = accounts
        self._reactor = reactor
        self._throttle = Throttle(lambda: float(reactor.seconds()))
        self._turns = DeferredSemaphore(_AT_A_TIME)
        self._waiting = 0
        self._secret = secrets.token_bytes(32)
        # Digests of what was right, and until when that is remembered; the oldest first.
        self._right: dict[bytes, float] = {}

    async def are_right(self, user: str, password: str, host: str) -> bool:
        """Return whether there is such a user with this password.

        :raises Busy: too many passwords wait to be checked.
        """
        try:
            known = self._accounts.lookup(user)
        except Exception:
            self._log.failure("the accounts cannot be checked")
            return False
        expected = known or made_up(user)
        # It has the verifier, so that a changed password counts at once.
        key = self._digest(user, password, str(expected))
        if self._right.get(key, 0.0) > self._reactor.seconds():
            return True
        if self._waiting >= _MOST_WAITING:
            raise Busy
        delay = self._throttle.delay(host)
        if delay is None:
            return False
        self._waiting += 1
        try:
            if delay:
                await deferLater(self._reactor, delay)
            found = await self._turns.run(self._hash, password, expected)
        finally:
            self._waiting -= 1
        if known is None or not hmac.compare_digest(found, known.stored_key):
            failures = self._throttle.failed(host)
            if failures <= 5:
                self._log.warn(
                    "({host}) http: wrong user name or password for {user!r}; failures from this "
                    "host: {failures}",
                    host=host or "this machine",
                    user=user,
                    failures=failures,
                )
            return False
        self._remember(key)
        return True

    def _hash(self, password: str, expected: Verifier) -> Deferred[bytes]:
        pool = self._reactor.getThreadPool()
        return deferToThreadPool(
            self._reactor, pool, _hashed, password, expected.iterations, expected.salt
        )

    def _digest(self, *parts: str) -> bytes:
        return hmac.digest(self._secret, "\0".join(parts).encode("utf-8", "replace"), sha256)

    def _remember(self, key: bytes) -> None:
        self._right.pop(key, None)
        self._right[key] = self._reactor.seconds() + _MEMORY
        if len(self._right) > _MOST:
            del self._right[next(iter(self._right))]


def _hashed(password: str, iterations: int, salt: bytes) -> bytes:
    try:
        return verifier(password, iterations, salt).stored_key
    except ScramException:
        # No account can have such a password.
        return b""
