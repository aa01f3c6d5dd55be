"""The revisions that conflict resolution needs."""

from __future__ import annotations

from typing import Any

from ZODB.utils import maxtid, p64, z64

from zeotwisted.clientstorage.records import Revisions

OID = p64(7)


class Client:
    """The storage; it writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        self.asked.append((oid, serial))
        return b"from the server"

    @staticmethod
    def _crs_transform_record_data(data: bytes) -> bytes:
        return b"transformed " + data

    @staticmethod
    def _crs_untransform_record_data(data: bytes) -> bytes:
        return data.removeprefix(b"transformed ")


def test_from_the_cache_and_from_the_server() -> None:
    client = Client()

    def cached(oid: bytes, before: bytes) -> Any:
        # It has the revision 5 only, which was current up to 8.
        return (b"cached", p64(5), p64(8)) if oid == OID and p64(5) < before <= p64(8) else None

    revisions = Revisions(client, cached)
    assert revisions.loadSerial(OID, p64(5)) == b"cached"
    assert client.asked == []
    for serial in (z64, p64(4), p64(6), p64(8), maxtid, b"\xff" * 8):
        assert revisions.loadSerial(OID, serial) == b"from the server"
        assert client.asked.pop() == (OID, serial)


def test_records_are_in_the_form_of_the_storage() -> None:
    revisions: Any = Revisions(Client(), lambda oid, before: None)
    assert revisions._crs_untransform_record_data(b"transformed x") == b"x"
    assert revisions._crs_transform_record_data(b"x") == b"transformed x"
