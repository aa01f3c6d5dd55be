"""Breaks each rule of order or liveness in a copy of the source, and checks that a test notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """One way to break a rule."""

    rule: str
    file: str
    original: str
    broken: str
    #: The test that has to fail.
    test: str


CLIENT = "test_client_rules.py::"
SERVER = "test_server_rules.py::"
PREFETCH = "test_prefetch_rules.py::"
CACHED = "test_record_cache_rules.py::"
LIVENESS = "test_liveness_rules.py::"
LEADING = "test_leading.py::"
AHEAD = "test_ahead_rules.py::"
READAHEAD = "test_readahead_rules.py::"
WARM = "test_warm_rules.py::"

MUTANTS = [
    Mutant(
        "1: a reply's callback runs in the same turn",
        "clientstorage/calls/protocol.py",
        "self._calls.take(event.id).callback(event.value)",
        "self._clock.callLater(0, self._calls.take(event.id).callback, event.value)",
        CLIENT + "test_order_does_not_depend_on_how_the_bytes_arrive",
    ),
    Mutant(
        "2: a load reply is in the cache before the next message",
        "clientstorage/records/loads.py",
        "        coherence.loaded(oid, result)\n        return result\n",
        "        return result\n",
        CLIENT + "test_invalidation_behind_a_load_reply_hits_the_loaded_record",
    ),
    Mutant(
        "2: news ends the revisions that the cache has",
        "clientstorage/cache/memory.py",
        "                if starts[slot] < end:\n",
        "                if starts[slot] > end:\n",
        CLIENT + "test_invalidation_behind_a_load_reply_hits_the_loaded_record",
    ),
    Mutant(
        "4: the database is told of objects that the cache does not have",
        "clientstorage/records/coherence.py",
        '            getattr(self._cache, "changed", self._change_each)(tid, oids)\n',
        "            told, oids = oids, [oid for oid in oids if self._cache.load(oid)]\n"
        '            getattr(self._cache, "changed", self._change_each)(tid, told)\n',
        CLIENT + "test_database_is_told_of_objects_that_the_cache_does_not_have",
    ),
    Mutant(
        "2: records that were read ahead are in the cache before the next message",
        "clientstorage/records/readahead.py",
        "        waiter = Waiter(partial(all_into_cache, self._coherence, oids))\n"
        '        first, *others = protocol.ask(waiter, "loadManyBefore", oids, tid)\n',
        '        results = protocol.ask(Waiter(), "loadManyBefore", oids, tid)\n'
        "        first, *others = all_into_cache(self._coherence, oids, results)\n",
        READAHEAD + "test_news_behind_the_answer_hit_all_its_records",
    ),
    Mutant(
        "2: records that nobody asked for are in the cache before the next message",
        "clientstorage/speculation/ahead.py",
        "            waiter = Waiter(partial(self._came, keep))\n"
        "            question = self._question(oid, tid, plan)\n"
        '            revision, records = protocol.ask(waiter, "loadAhead", *question)\n',
        "            question = self._question(oid, tid, plan)\n"
        '            answer = protocol.ask(Waiter(), "loadAhead", *question)\n'
        "            revision, records = self._came(keep, answer)\n",
        AHEAD + "test_news_behind_the_answer_hit_what_came_with_it",
    ),
    Mutant(
        "2: what nobody asked for is the current revision",
        "storageserver/storage/records.py",
        "        if revision is None or revision[2] is not None:\n",
        "        if revision is None:\n",
        AHEAD + "test_an_earlier_revision_is_not_sent_as_the_current_one",
    ),
    Mutant(
        "5: what nobody asked for is not older than the news before it",
        "storageserver/storage/records.py",
        "        self.cache.changed(tid, oids)\n",
        "",
        AHEAD + "test_what_comes_is_not_older_than_the_news_before_it",
    ),
    Mutant(
        "a revision that a client was sent is not taken for a later one",
        "storageserver/speculation/sent.py",
        "not changes.is_changed(oid, time - 1)",
        "True",
        AHEAD + "test_what_was_sent_is_not_sent_again_unless_it_changes",
    ),
    Mutant(
        "what nobody asked for is on probation",
        "clientstorage/records/coherence.py",
        'getattr(self._cache, "store_ahead", self._cache.store)',
        "self._cache.store",
        AHEAD + "test_what_came_pushes_out_nothing_popular",
    ),
    Mutant(
        "2: what is brought in is in the cache before the next message",
        "clientstorage/warmstart/bringing.py",
        "        self._coherence.loaded_ahead(kept)\n",
        "        self._reactor.callLater(0, self._coherence.loaded_ahead, kept)\n",
        WARM + "test_news_behind_the_answer_hit_its_records",
    ),
    Mutant(
        "2: what is brought in is the current revision",
        "clientstorage/warmstart/bringing.py",
        "            if end is None and len(data)",
        "            if len(data)",
        WARM + "test_an_earlier_revision_is_not_kept",
    ),
    Mutant(
        "what is brought in pushes out nothing",
        "clientstorage/warmstart/bringing.py",
        "len(data) + _OVERHEAD <= left:",
        "left:",
        WARM + "test_longer_records_than_there_is_room_push_out_nothing",
    ),
    Mutant(
        "the application's loads go before what is brought in",
        "clientstorage/warmstart/bringing.py",
        "        if pause:\n",
        "        if False:\n",
        WARM + "test_it_pauses_while_the_application_waits",
    ),
    Mutant(
        "what is brought in does not count as used",
        "storageserver/connections/popular.py",
        "    served.stats.loads += len(answer)\n",
        '    served.popularity.used(client, b"".join(oids))\n',
        WARM + "test_records_that_are_brought_in",
    ),
    Mutant(
        "1: a thread that leads leaves what follows news to the reactor",
        "clientstorage/calls/leading.py",
        "                else:\n                    return itertools.chain((event,), events)\n",
        "                else:\n                    self._hand_over(self._reading, [event])\n",
        LEADING + "test_news_before_an_answer_is_told_before_it",
    ),
    Mutant(
        "1: nobody reads on before the reactor has dealt with what a thread has read",
        "clientstorage/calls/protocol.py",
        "        self._call_from_thread(self._take_over, reading, events)\n",
        "        reading.end()\n"
        "        self._clock.callFromThread(self._clock.callLater, 0.01, self._process, events)\n",
        LEADING + "test_news_stays_in_order",
    ),
    Mutant(
        "2: an answer is stored before its connection is lost, or not at all",
        "clientstorage/calls/protocol.py",
        "        with self._leading.turn:\n",
        "        if True:\n",
        LEADING + "test_an_answer_of_a_lost_connection_is_not_stored_after_it",
    ),
    Mutant(
        "1: what belongs to a thread is done in it or in the reactor's",
        "clientstorage/calls/leading.py",
        " and answer is not own and not answer.anywhere:",
        " and answer is None:",
        LEADING + "test_a_commit_is_not_noted_by_another_thread",
    ),
    Mutant(
        "8: what takes note of a commit and fails ends the connection",
        "clientstorage/calls/waiter.py",
        "            if not self.anywhere:\n                raise\n",
        "",
        LEADING + "test_a_commit_that_cannot_be_noted_ends_the_connection",
    ),
    Mutant(
        "7: the end of a connection wakes the thread that reads",
        "clientstorage/calls/reading.py",
        "self._socket.shutdown(socket.SHUT_RDWR)",
        "pass",
        LEADING + "test_the_end_of_the_connection_ends_the_wait",
    ),
    Mutant(
        "2: records that are asked for together are in the cache before the next message",
        "clientstorage/records/loads.py",
        '    coherence.loaded_many(revisions_of("loadManyBefore", oids, results))\n',
        '    revisions_of("loadManyBefore", oids, results)\n',
        PREFETCH + "test_invalidation_behind_the_answer_hits_all_its_records",
    ),
    Mutant(
        "3: invalidations wait for the end of verification",
        "clientstorage/connection/connection.py",
        "            await verify(",
        "            candidate.deliver_to(self._pushed, b'', b'')\n            await verify(",
        CLIENT + "test_invalidations_during_verification_are_applied_after_it",
    ),
    Mutant(
        "3: those that are later than the verified tid are replayed",
        "clientstorage/connection/candidate.py",
        'name != "invalidateTransaction" or args[0] > verified',
        'name != "invalidateTransaction"',
        CLIENT + "test_invalidations_during_verification_are_applied_after_it",
    ),
    Mutant(
        "3: those that the replay contains are not applied again",
        "clientstorage/connection/candidate.py",
        'name != "invalidateTransaction" or args[0] > verified',
        "True",
        CLIENT + "test_invalidations_during_verification_are_applied_after_it",
    ),
    Mutant(
        "3: the outcome of verification reaches the cache",
        "clientstorage/records/coherence.py",
        "            self._invalidate_database(tid, oids)\n"
        "            self._cache.setLastTid(tid)\n\n    def _forget_each",
        "            self._invalidate_database(tid, oids)\n\n    def _forget_each",
        CLIENT + "test_cache_remembers_that_it_was_verified",
    ),
    Mutant(
        "4: lastTransaction moves after the database was told",
        "clientstorage/records/coherence.py",
        "            self._invalidate_database(tid, oids)\n"
        "            self._advance(tid)\n\n    def _change_each",
        "            self._advance(tid)\n"
        "            self._invalidate_database(tid, oids)\n\n    def _change_each",
        CLIENT + "test_last_transaction_moves_only_after_the_database_was_told",
    ),
    Mutant(
        "4: a commit is seen as a whole",
        "clientstorage/records/coherence.py",
        "            callback(tid)\n            self._advance(tid)\n\n    def replay",
        "            pass\n        callback(tid)\n        self._advance(tid)\n\n    def replay",
        CLIENT + "test_commit_is_seen_as_a_whole",
    ),
    Mutant(
        "5: load replies leave in the turn in which they were computed",
        "storageserver/connections/answering.py",
        "                self._answer(id, call.name, result)\n            if call is not _LOAD:\n",
        "                later = self._connection.served.clock.callLater\n"
        "                if call.name == 'loadBefore':\n"
        "                    later(0, self._answer, id, call.name, result)\n"
        "                else:\n"
        "                    self._answer(id, call.name, result)\n"
        "            if call is not _LOAD:\n",
        SERVER + "test_load_computed_before_a_commit_is_sent_before_its_invalidation",
    ),
    Mutant(
        "5: loads in a thread do not bring back what has changed",
        "storageserver/storage/loads.py",
        "            if not load.stale:\n",
        "            if True:\n",
        SERVER + "test_load_in_a_thread_is_done_again_when_the_object_has_changed",
    ),
    Mutant(
        "5: nor do loads of many records",
        "storageserver/storage/loads.py",
        "answer[: next(stale, None)]",
        "answer",
        PREFETCH + "test_loads_in_a_thread_end_before_what_has_changed",
    ),
    Mutant(
        "5: answers with many records leave in the turn in which they were computed",
        "storageserver/connections/records.py",
        "        return _count_loads(client, oids, answer)\n",
        "        return client.served.commit_in_thread(_count_loads, client, answer)\n",
        PREFETCH + "test_answer_of_many_is_sent_before_the_invalidation_of_any",
    ),
    Mutant(
        "5: what is loaded when track is lost is not kept",
        "storageserver/storage/records.py",
        "            self.loads.all_changed()\n",
        "            pass\n",
        CACHED + "test_what_was_loaded_before_track_was_lost_is_not_kept",
    ),
    Mutant(
        "5: the daemon's cache forgets what has changed",
        "storageserver/storage/recordcache.py",
        "            if revision is not None and revision[1] < tid:\n",
        "            if False:\n",
        CACHED + "test_a_changed_record_is_not_sent_again",
    ),
    Mutant(
        "5: the daemon's cache has current records only",
        "storageserver/storage/recordcache.py",
        "        if end is not None or len(data) > self._longest:\n",
        "        if len(data) > self._longest:\n",
        CACHED + "test_an_older_revision_is_not_taken_for_the_current_one",
    ),
    Mutant(
        "5: what was cached when others were asked for may have changed",
        "storageserver/storage/records.py",
        "            loaded: dict[bytes, Revision | bool] = {}\n",
        "            loaded: dict[bytes, Revision | bool] = {\n"
        "                o: self.cache.load_before(o, tid) for o in oids if o not in missing\n"
        "            }\n",
        CACHED + "test_cached_records_are_not_older_than_the_news_before_their_answer",
    ),
    Mutant(
        "5: answers come from what was published",
        "storageserver/connections/wholestorage.py",
        "    return client.served.last_transaction\n",
        "    return client.storage.lastTransaction()\n",
        SERVER + "test_nothing_is_told_that_has_not_been_published",
    ),
    Mutant(
        "5: registration answers from what was published",
        "storageserver/storage/served.py",
        "        self._audience.add(listener)\n        return self.last_transaction",
        "        self._audience.add(listener)\n        return self.storage.lastTransaction()",
        SERVER + "test_nothing_is_told_that_has_not_been_published",
    ),
    Mutant(
        "5: the commit is answered before the lock moves on",
        "storageserver/commit/transaction.py",
        "        self._served.stats.commits += 1\n",
        "        self._served.stats.commits += 1\n        self._end()\n",
        SERVER + "test_commit_is_answered_before_the_lock_moves_on",
    ),
    Mutant(
        "5: a vote at once waits for its turn, too",
        "storageserver/commit/transaction.py",
        "        self._waiting = self._served.lock.acquire(self, patience)\n",
        "        self._waiting = Deferred()\n        self._waiting.callback(True)\n",
        SERVER + "test_vote_at_once_waits_for_the_commit_before_to_be_told",
    ),
    Mutant(
        "5: news of earlier commits comes before the answer to a later one",
        "storageserver/storage/served.py",
        "        self._audience.tell(news, ",
        "        self.clock.callLater(0, self._audience.tell, news, ",
        SERVER + "test_answer_to_a_commit_comes_after_the_news_of_all_commits_before_it",
    ),
    Mutant(
        "5: later news from outside does not overtake the answer to a commit",
        "storageserver/storage/publications.py",
        "                if publication is last:\n                    return\n",
        "",
        SERVER + "test_news_from_outside_does_not_overtake_the_answer_to_a_commit",
    ),
    Mutant(
        "5: what is held back is not overtaken by news",
        "storageserver/connections/protocol.py",
        "            self._backlog.write(self._session.broadcast(news))\n",
        "            self._backlog._write(self._session.broadcast(news))\n",
        SERVER + "test_news_between_the_answers_to_a_burst_keeps_its_place",
    ),
    Mutant(
        "1: calls that wait for room are not overtaken",
        "storageserver/connections/protocol.py",
        "        if self._holds or self._put_off is not None:\n",
        "        if False:\n",
        SERVER + "test_calls_that_wait_for_room_keep_their_order",
    ),
    Mutant(
        "5: what the socket has not taken is not overtaken",
        "transport/sockets.py",
        "if handle is None or transport.dataBuffer or transport.disconnecting:",
        "if handle is None or transport.disconnecting:",
        SERVER + "test_what_a_socket_takes_later_is_not_overtaken",
    ),
    Mutant(
        "5: what the socket has not taken can be seen",
        "transport/sockets.py",
        "            transport.doWrite()\n\n\ndef _plain_socket",
        "            pass\n\n\ndef _plain_socket",
        SERVER + "test_what_a_socket_takes_later_is_not_overtaken",
    ),
    Mutant(
        "5: the answer to a commit is not held back when the lock moves on",
        "storageserver/connections/answering.py",
        "            self._backlog.flush()\n        finally:\n",
        "            pass\n        finally:\n",
        SERVER + "test_commit_is_answered_before_the_lock_moves_on",
    ),
    Mutant(
        "5: news that is held back for who waits leaves in the same turn",
        "storageserver/commit/transaction.py",
        "        finally:\n            self._served.publications.drain()\n",
        "        finally:\n            pass\n",
        SERVER + "test_who_waits_comes_first_and_everybody_is_told_in_the_same_turn",
    ),
    Mutant(
        "5: news that is held back is not forgotten by a burst of calls",
        "storageserver/connections/backlog.py",
        "        if self._held is None:\n            self._held = []\n",
        "        if True:\n            self._held = []\n",
        SERVER + "test_news_that_is_held_back_survives_what_is_read",
    ),
    Mutant(
        "6: the news is encoded for each encoding",
        "protocol/session.py",
        "self._frames.get(codec.letter)",
        "next(iter(self._frames.values()), None)",
        SERVER + "test_each_client_hears_the_news_in_its_own_encoding",
    ),
    Mutant(
        "6: the fan-out goes over a snapshot",
        "storageserver/storage/audience.py",
        "        for listener in list(self._listeners):\n            if not but(listener):",
        "        for listener in self._listeners:\n            if not but(listener):",
        SERVER + "test_client_that_leaves_during_the_fan_out_hides_nobody",
    ),
    Mutant(
        "6: one client's failure never stops the fan-out",
        "storageserver/storage/audience.py",
        '            listener.drop("it could not be told of a commit")\n',
        "            raise\n",
        SERVER + "test_one_clients_failure_does_not_keep_the_news_from_the_others",
    ),
    Mutant(
        "6: the committer gets no invalidation of its own",
        "storageserver/storage/served.py",
        "lambda each: each is publication.origin or was_told(each, tid)",
        "lambda each: was_told(each, tid)",
        SERVER + "test_created_objects_are_part_of_the_news_and_the_committer_gets_none",
    ),
    Mutant(
        "7: a transaction dies with its connection",
        "clientstorage/commit/transaction.py",
        "        self._connection = connection\n        self.tid",
        "        self._poisoned = connection\n        self.tid",
        CLIENT + "test_commit_is_seen_as_a_whole",
    ),
    Mutant(
        "7: a lost client aborts",
        "storageserver/connections/connection.py",
        "            await self.transaction.abort()\n            self.transaction = None\n",
        "            self.transaction = None\n",
        SERVER + "test_lost_client_leaves_the_lock_free",
    ),
    Mutant(
        "7: an abort leaves the lock's queue",
        "storageserver/commit/transaction.py",
        "            self._waiting.cancel()\n",
        "            pass\n",
        SERVER + "test_abort_while_waiting_answers_the_vote_too",
    ),
    Mutant(
        "8: an exception in the receive path ends the connection",
        "clientstorage/calls/protocol.py",
        '            self.close(ClientDisconnected(f"processing a message failed: {error!r}"))\n',
        "            pass\n",
        CLIENT + "test_no_call_survives_a_broken_connection",
    ),
    Mutant(
        "8: no pending call survives",
        "clientstorage/calls/protocol.py",
        "        for answer in unanswered:\n"
        "            answer.errback(ClientDisconnected(str(reason)))\n",
        "",
        CLIENT + "test_who_waits_for_an_answer_hears_of_the_loss",
    ),
    Mutant(
        "9: news takes its place when the storage speaks",
        "storageserver/commit/storagetransaction.py",
        "            publications.append("
        "served.publications.reserve(tid, self._changed, self._owner))",
        "            tids.append(tid)",
        SERVER + "test_news_from_outside_keeps_its_place_between_commits",
    ),
    Mutant(
        "liveness: a server that answers is there",
        "clientstorage/calls/protocol.py",
        "            self._liveness.silence.heard = True\n",
        "            pass\n",
        LIVENESS + "test_server_that_answers_stays",
    ),
    Mutant(
        "liveness: a server that is silent is given up",
        "clientstorage/calls/protocol.py",
        '        self.close(\n            ClientDisconnected(\n                f"nothing',
        '        (\n            ClientDisconnected(\n                f"nothing',
        LIVENESS + "test_server_that_is_silent_is_given_up",
    ),
    Mutant(
        "liveness: what waits for a server that is silent notices sooner",
        "clientstorage/calls/protocol.py",
        "lambda: bool(self._calls) or self._outbox.waits,",
        "lambda: False,",
        LIVENESS + "test_server_that_is_silent_is_given_up",
    ),
    Mutant(
        "liveness: who asks too late gives up peers that are there",
        "transport/liveness.py",
        "_PROBE = 2\n",
        "_PROBE = 9\n",
        LIVENESS + "test_server_that_answers_stays",
    ),
    Mutant(
        "liveness: stock clients are silent for a minute",
        "storageserver/connections/protocol.py",
        "timeout if prompt else max(timeout, _RETICENT_TIMEOUT),",
        "timeout,",
        LIVENESS + "test_stock_client_that_only_beats_stays",
    ),
    Mutant(
        "liveness: stock clients do not know the question",
        "storageserver/connections/protocol.py",
        "Manners.PROMPT if prompt else Manners.RETICENT,",
        "Manners.PROMPT,",
        LIVENESS + "test_stock_client_that_only_beats_stays",
    ),
    Mutant(
        "liveness: a client that is silent is given up",
        "storageserver/connections/protocol.py",
        "            lambda seconds: self.drop(",
        "            lambda seconds: str(",
        LIVENESS + "test_client_that_is_silent_is_asked_and_given_up",
    ),
]

# What a mutant needs besides its own change.
FURTHER = {
    "9: news takes its place when the storage speaks": [
        (
            "storageserver/commit/storagetransaction.py",
            "        publications = self._publications\n\n        def",
            "        publications = self._publications\n        tids = []\n\n        def",
        ),
        (
            "storageserver/commit/storagetransaction.py",
            "        if not publications:\n",
            "        if not tids:\n",
        ),
        (
            "storageserver/commit/storagetransaction.py",
            "        try:\n            sizes",
            "        for tid in tids:\n"
            "            publications.append(\n"
            "                served.publications.reserve(tid, self._changed, self._owner)\n"
            "            )\n"
            "        try:\n            sizes",
        ),
    ],
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_breach_is_noticed(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "zeotwisted", tmp_path / "zeotwisted")
    tests = tmp_path / "tests" / "ordering"
    shutil.copytree(Path(__file__).parent, tests)
    changes = [(mutant.file, mutant.original, mutant.broken)]
    changes += FURTHER.get(mutant.rule, [])
    for file, original, broken in changes:
        path = tmp_path / "zeotwisted" / file
        source = path.read_text()
        assert source.count(original) == 1, f"{file} has changed: adapt this mutant"
        path.write_text(source.replace(original, broken))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        + ["-c", os.devnull, "--rootdir", str(tmp_path), str(tests / mutant.test)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "SOON": "5"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1, f"nobody noticed\n{result.stdout}{result.stderr}"
    assert "1 failed" in result.stdout or "1 error" in result.stdout
