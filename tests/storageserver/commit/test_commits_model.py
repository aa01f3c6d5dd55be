"""The commits of several clients of a served storage against a dict of revisions."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

from zeotwisted.protocol.oids import split
from zeotwisted.storageserver.commit import transaction

from ...models import effort
from ...ordering.puppets import LATEST, PuppetClient, Server

OIDS = [number.to_bytes(8, "big") for number in (1, 2, 3)]

#: How long (seconds) a client that has voted may keep the commit lock.
TIMEOUT = 10

#: The stages of a transaction in which the commit thread works for it.
BUSY = ("voting", "finishing", "aborting")


class Client:
    """One client, and what the model knows of it.

    :param stock: it speaks version 5, as ZEO's clients do, and does not understand that its
        transaction has timed out.
    :ivar heard: what it was told and answered, in order.
    :ivar expected: the same in the model.
    :ivar stage: how far its transaction is.
    :ivar changes: the serials that its transaction is based on, by oid.
    """

    def __init__(self, server: Server, name: int, stock: bool) -> None:
        self.stock = stock
        self.puppet: PuppetClient = server.client(protocol=b"M5" if stock else b"")
        self.heard: list[Any] = []
        self.expected: list[Any] = []
        self.name = name
        self.idle()

    def __repr__(self) -> str:
        return f"<client {self.name}: {self.stage}>"

    def idle(self) -> None:
        self.stage = "idle"
        self.transaction = 0
        self.changes: dict[bytes, bytes] = {}
        # The number of the call that is not answered yet, and of an abort that waits behind it.
        self.call = self.abort = 0
        self.wants_abort = self.timed_out = False
        self.expires: float | None = None

    def listen(self) -> None:
        for event in self.puppet.received():
            if event[0] == "reply":
                self.heard.append((event[1], "done"))
            elif event[0] == "error":
                self.heard.append((event[1], type(event[2]).__name__))
            else:
                assert event[0] == "invalidateTransaction"
                self.heard.append((event[1], sorted(event[2])))

    def hears(self, what: object, value: object) -> None:
        if what:
            self.expected.append((what, value))


def any_is(*stages: str) -> Any:
    """Return a precondition: the transaction of one of the clients is at one of these stages."""
    return precondition(lambda self: any(each.stage in stages for each in self.clients))


class Commits(RuleBasedStateMachine):
    """The model has the revisions of the objects, and the line of those that want to commit.

    The first one in the line has the commit lock. The commit thread does its vote, its finish or
    its abort when a rule says so, and the reactor learns of it when another rule says so.
    """

    #: How many operations a vote in the reactor's thread may have.
    QUICK = 64

    def __init__(self) -> None:
        super().__init__()
        self._patch = patch.object(transaction, "_QUICK_COUNT", self.QUICK)
        self._patch.start()
        self.server = Server(transaction_timeout=TIMEOUT, client_timeout=0)
        self.server.commits.immediate = self.server.reactor.immediate = False
        self.names = 0
        self.transactions = 0
        # The model.
        self.revisions: dict[bytes, list[tuple[bytes, bytes]]] = {oid: [] for oid in OIDS}
        #: The tids and oids of the commits that were published.
        self.published: list[tuple[bytes, list[bytes]]] = []
        self.line: list[Client] = []
        #: Whether the commit thread has done its work, and the reactor does not know it.
        self.is_done = False
        self.last = z64
        self.clients = [self.new_client() for _ in range(3)]

    @rule(oids=st.sets(st.sampled_from(OIDS), min_size=1))
    def commit(self, oids: set[bytes]) -> None:
        """A whole commit, if there is nothing else; sequences rarely get that far by chance."""
        client = self.clients[0]
        if self.line or client.stage != "idle":
            return
        self.begins(client, oids, stale=False)
        self.votes(client)
        if client.stage == "voting":
            self.the_commit_thread_works(at_once=True)
        self.finishes(client)
        self.the_commit_thread_works(at_once=True)

    # The model: who has the lock, and what follows.

    def new_client(self) -> Client:
        self.names += 1
        return Client(self.server, self.names, stock=self.names % 2 == 0)

    def serial(self, oid: bytes) -> bytes:
        return self.revisions[oid][-1][0] if self.revisions[oid] else z64

    def first_votes(self) -> None:
        """The first one in the line has the lock now."""
        if self.line:
            self.line[0].stage = "voting"
            if self.QUICK > 0:
                self.vote_is_done(self.line[0])

    def leaves(self, client: Client) -> None:
        """The transaction is over."""
        client.hears(client.abort, "done")
        if client.timed_out and not client.abort:
            client.stage = "expired"
        else:
            client.idle()
        is_first = self.line[0] is client
        self.line.remove(client)
        if is_first:
            self.first_votes()

    def vote_is_done(self, client: Client) -> None:
        if any(self.serial(oid) != serial for oid, serial in client.changes.items()):
            # An abort that has waited for the vote is answered first.
            call = client.call
            self.leaves(client)
            client.hears(call, "ConflictError")
        else:
            client.hears(client.call, "done")
            client.stage, client.call = "voted", 0
            client.expires = self.server.clock.seconds() + TIMEOUT
            if client.wants_abort:
                self.begins_abort(client)

    def begins_abort(self, client: Client) -> None:
        client.stage, client.expires = "aborting", None

    def finish_is_done(self, client: Client) -> None:
        changed = sorted(client.changes)
        self.published.append((self.last, changed))
        client.hears(client.call, "done")
        for other in self.clients:
            if other is not client:
                other.hears(self.last, changed)
        self.leaves(client)

    # What the clients do.

    def draw(self, data: Any, *stages: str) -> Client:
        at_stage = [each for each in self.clients if each.stage in stages]
        client: Client = data.draw(st.sampled_from(at_stage))
        return client

    @any_is("idle")
    @rule(
        data=st.data(),
        oids=st.sets(st.sampled_from(OIDS), min_size=1),
        stale=st.sampled_from([False, False, False, True]),
        votes=st.booleans(),
    )
    def begin(self, data: Any, oids: set[bytes], stale: bool, votes: bool) -> None:
        client = self.draw(data, "idle")
        self.begins(client, oids, stale)
        if votes:
            self.votes(client)

    def begins(self, client: Client, oids: set[bytes], stale: bool) -> None:
        self.transactions += 1
        client.stage, client.transaction = "collecting", self.transactions
        client.puppet.tell("tpc_begin", client.transaction, "", "", {})
        for oid in sorted(oids):
            serial = client.changes[oid] = z64 if stale else self.serial(oid)
            record = b"data of %d" % client.transaction
            client.puppet.tell("storea", oid, serial, record, client.transaction)

    @any_is("collecting")
    @rule(data=st.data())
    def vote(self, data: Any) -> None:
        self.votes(self.draw(data, "collecting"))

    def votes(self, client: Client) -> None:
        client.stage = "waiting"
        self.line.append(client)
        client.call = client.puppet.send("vote", client.transaction)
        if self.line[0] is client:
            self.first_votes()

    @any_is("voted")
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        self.finishes(self.draw(data, "voted"))

    def finishes(self, client: Client) -> None:
        client.call = client.puppet.send("tpc_finish", client.transaction)
        client.stage, client.expires = "finishing", None

    @any_is("collecting", "waiting", "voting", "expired")
    @rule(data=st.data())
    def finish_at_the_wrong_time(self, data: Any) -> None:
        client = self.draw(data, "collecting", "waiting", "voting", "expired")
        call = client.puppet.send("tpc_finish", client.transaction)
        if client.stage == "expired":
            client.hears(call, "TransactionTimeout")
            client.idle()
        else:
            client.hears(call, "StorageTransactionError")

    @rule(data=st.data(), is_lost=st.sampled_from([False, False, True]))
    def give_up(self, data: Any, is_lost: bool) -> None:
        """A client aborts, or its connection is lost and another client comes."""
        client = data.draw(st.sampled_from(self.clients))
        if is_lost:
            client.puppet.lose()
            self.ends(client)
            self.clients[self.clients.index(client)] = self.new_client()
        elif client.transaction and not client.abort:
            client.abort = client.puppet.send("tpc_abort", client.transaction)
            if client.stage in ("collecting", "expired"):
                client.hears(client.abort, "done")
                client.idle()
            self.ends(client)

    def ends(self, client: Client) -> None:
        if client.stage == "waiting":
            client.hears(client.call, "StorageTransactionError")
            self.leaves(client)
        elif client.stage == "voted":
            self.begins_abort(client)
        elif client.stage == "voting":
            client.wants_abort = True

    @rule(seconds=st.integers(1, TIMEOUT))
    def time_passes(self, seconds: int) -> None:
        self.server.clock.advance(seconds)
        now = self.server.clock.seconds()
        for client in self.clients:
            if client.expires is not None and client.expires <= now:
                self.begins_abort(client)
                if client.stock:
                    assert client.puppet.dropped
                    client.puppet.lose()
                    self.clients[self.clients.index(client)] = self.new_client()
                else:
                    client.timed_out = True

    # What the threads do.

    @precondition(lambda self: len(self.server.commits))
    @rule(at_once=st.booleans())
    def the_commit_thread_works(self, at_once: bool) -> None:
        """It works, and perhaps the reactor learns of it at once."""
        self.server.commits.work()
        self.is_done = True
        first = self.line[0]
        if first.stage == "finishing":
            tid = self.server.storage.lastTransaction()
            assert tid > self.last
            self.last = tid
            for oid in first.changes:
                self.revisions[oid].append((tid, b"data of %d" % first.transaction))
        if at_once:
            self.the_reactor_learns_of_it()

    @precondition(lambda self: self.is_done)
    @rule()
    def the_reactor_learns_of_it(self) -> None:
        self.is_done = False
        self.server.reactor.turn()
        first = self.line[0]
        {"voting": self.vote_is_done, "finishing": self.finish_is_done, "aborting": self.leaves}[
            first.stage
        ](first)

    # What has to hold.

    @invariant()
    def each_is_told_what_the_model_says(self) -> None:
        for client in self.clients:
            client.listen()
            assert client.heard == client.expected, client
            assert not client.puppet.dropped

    @invariant()
    def the_lock_is_held_by_the_first(self) -> None:
        lock = self.server.served.lock
        assert bool(lock.holders) == bool(self.line)
        assert lock.waiting == max(0, len(self.line) - 1)
        works = bool(self.line) and self.line[0].stage in BUSY and not self.is_done
        assert len(self.server.commits) == works
        timers = [
            call.getTime()
            for call in self.server.clock.getDelayedCalls()
            if getattr(call.func, "__self__", None) is lock
        ]
        expire = [each.expires for each in self.line if each.expires is not None]
        assert timers == expire, "the lock counts a time that is not the client's"

    @rule(data=st.data())
    def read(self, data: Any) -> None:
        """A client reads everything, and asks what it would have missed."""
        client = data.draw(st.sampled_from(self.clients))
        ask = client.puppet.ask
        for oid, known in self.revisions.items():
            ends = [*(tid for tid, _ in known[1:]), None][: len(known)]
            for (tid, record), end in zip(known, ends, strict=True):
                assert ask("loadBefore", oid, end or LATEST) == (record, tid, end)
            if not known:
                with pytest.raises(POSKeyError):
                    ask("loadBefore", oid, LATEST)
        for index, (seen, _) in enumerate(self.published):
            tid, oids = ask("getInvalidations", seen)
            missed = {oid for _, changed in self.published[index + 1 :] for oid in changed}
            assert tid == self.published[-1][0]
            assert set(oids if client.stock else split(oids)) == missed

    def teardown(self) -> None:
        """Everything ends when all clients are gone."""
        try:
            for client in self.clients:
                client.puppet.lose()
            while len(self.server.commits) or self.is_done:
                self.is_done = False
                self.server.reactor.turn()
                if len(self.server.commits):
                    self.server.commits.work()
                    self.is_done = True
            served = self.server.served
            assert not served.lock.holders and served.lock.waiting == 0
            assert not served.undecided and not served.status()["connections"]
            assert served.stats.active_txns == 0
            assert self.server.storage._transaction is None
        finally:
            self._patch.stop()


class CommitsInThread(Commits):
    """The same, if each vote is done in the commit thread."""

    QUICK = -1


Commits.TestCase.settings = effort(50, 50)
TestCommits = Commits.TestCase
CommitsInThread.TestCase.settings = effort(50, 50)
TestCommitsInThread = CommitsInThread.TestCase
