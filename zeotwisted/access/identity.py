"""Who a client is."""

from __future__ import annotations

from dataclasses import dataclass

from .names import EVERYBODY

__all__ = ["ANONYMOUS", "Identity"]


#: How many characters of a name are shown.
_LONGEST = 100


@dataclass(frozen=True)
class Identity:
    """The names that a client has proved; see `names`.

    :ivar names: always includes `EVERYBODY`.
    :ivar label: the most specific name, for messages.
    """

    names: frozenset[str]
    label: str

    @classmethod
    def of(cls, *names: str) -> Identity:
        """Return the identity with these names, the most specific one first."""
        return cls(frozenset({EVERYBODY, *names}), _label(names[0]) if names else EVERYBODY)

    @property
    def is_anonymous(self) -> bool:
        """Whether the client has proved nothing."""
        return len(self.names) == 1

    def joined(self, other: Identity) -> Identity:
        """Return the identity with the names of both; `other` gives the label if it has one."""
        label = self.label if other.is_anonymous else other.label
        return Identity(self.names | other.names, label)


def _label(name: str) -> str:
    # Whoever has a certificate made chooses the name in it, and must not forge lines of the log.
    return "".join(char if char.isprintable() else "?" for char in name[:_LONGEST])


ANONYMOUS = Identity.of()
