"""The name of a client in log lines: a text for readers, and its parts for programs."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ClientLabel"]


class ClientLabel(str):
    """A text such as ``zope1 user:anna at 127.0.0.1:5000``.

    :ivar fields: its parts: ``label``, which the client has chosen, ``user``, which it has proved
        to be, and ``address``. A part that is not known is not there. A log of JSON has them.
    """

    fields: Mapping[str, str]

    def __new__(cls, address: str, user: str = "", label: str = "") -> ClientLabel:
        where = f"{user} at {address}" if user else address
        text = super().__new__(cls, f"{label} {where}" if label else where)
        parts = {"label": label, "user": user, "address": address}
        text.fields = {name: part for name, part in parts.items() if part}
        return text

    def chosen(self, label: str) -> ClientLabel:
        """Return the name of the same client after it has chosen a label."""
        return ClientLabel(self.fields["address"], self.fields.get("user", ""), label)
