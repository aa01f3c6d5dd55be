"""One attempt of a client to prove who it is, by user name and password (SCRAM-SHA-256).

The password does not cross the wire: the client proves that it knows it, and the server proves that
it knows the verifier. See RFC 5802 and RFC 7677. With the mechanism SCRAM-SHA-256-PLUS, the proof
is bound to the server's certificate (``tls-server-end-point`` of RFC 5929), so that another server
in between cannot pass it on.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from scramp import ScramException, ScramMechanism

from .accounts import ITERATIONS, Accounts, Verifier

__all__ = ["BOUND", "UNBOUND", "Login", "LoginFailed", "channel_binding", "made_up"]
__all__ += ["mechanisms"]

UNBOUND = "SCRAM-SHA-256"
BOUND = "SCRAM-SHA-256-PLUS"

_BINDING = "tls-server-end-point"

#: Makes the verifiers of users that do not exist. They are the same at each attempt, so that a
#: client cannot find out which users exist.
_SECRET = secrets.token_bytes(32)


class LoginFailed(Exception):
    """The user name or the password is wrong, or a message has no sense."""


class _Stage(Enum):
    BEGIN = "no message yet"
    CHALLENGED = "the client has to send its proof"
    PROVED = "the client has proved who it is"
    FAILED = "the attempt is over"


def channel_binding(certificate: bytes | None) -> tuple[str, bytes] | None:
    """Return the binding to a server's certificate, in the form of ``scramp``; None without one.

    :param certificate: in the encoding DER.
    """
    if certificate is None:
        return None
    parsed = x509.load_der_x509_certificate(certificate)
    algorithm = parsed.signature_hash_algorithm
    # RFC 5929: SHA-256 in place of weaker ones. Signatures such as Ed25519 have none.
    if algorithm is None or isinstance(algorithm, (hashes.MD5, hashes.SHA1)):
        algorithm = hashes.SHA256()
    return _BINDING, parsed.fingerprint(algorithm)


def mechanisms(binding: tuple[str, bytes] | None) -> list[str]:
    """Return the mechanisms that can be used with a binding or without one."""
    return [UNBOUND] if binding is None else [UNBOUND, BOUND]


class Login:
    """The server's end of an attempt.

    Call `first` and `final` with the messages of the client, and send what they return.

    :param mechanism: chosen by the client.
    :param binding: see `channel_binding`.
    :param nonce: a random text for the challenge; by default, a new one.
    :ivar user: the name that the client has claimed.
    """

    def __init__(
        self,
        accounts: Accounts,
        mechanism: str,
        binding: tuple[str, bytes] | None,
        nonce: str | None = None,
    ) -> None:
        if mechanism not in mechanisms(binding):
            raise LoginFailed(f"the mechanism is not one of {', '.join(mechanisms(binding))}")
        self.user = ""
        self.nonce = secrets.token_hex(32) if nonce is None else nonce
        self._accounts = accounts
        self._stage = _Stage.BEGIN
        # An error of `accounts`, which scramp hides.
        self._fault: Exception | None = None
        self._scram = ScramMechanism(mechanism).make_server(self._verifier, binding, self.nonce)

    @property
    def is_proved(self) -> bool:
        """Whether the client has proved that it is `user`."""
        return self._stage is _Stage.PROVED

    def _verifier(self, user: str) -> Verifier:
        self.user = user
        # In any case, so that it takes the same time.
        otherwise = made_up(user)
        try:
            return self._accounts.lookup(user) or otherwise
        except Exception as error:
            self._fault = error
            raise

    def first(self, message: str) -> str:
        """Return the challenge for the client's first message.

        :raises LoginFailed: the message cannot be used.
        :raises Exception: the accounts cannot be read.
        """
        if self._stage is not _Stage.BEGIN:
            raise self._failed()
        try:
            self._scram.set_client_first(message)
            challenge: str = self._scram.get_server_first()
        except ScramException:
            raise self._fault or self._failed()
        self._stage = _Stage.CHALLENGED
        return challenge

    def final(self, message: str) -> str:
        """Return the server's proof for the client's proof.

        :raises LoginFailed: the client's proof is wrong.
        """
        if self._stage is not _Stage.CHALLENGED:
            raise self._failed()
        try:
            self._scram.set_client_final(message)
            proof: str = self._scram.get_server_final()
        except ScramException:
            raise self._failed()
        self._stage = _Stage.PROVED
        return proof

    def _failed(self) -> LoginFailed:
        self._stage = _Stage.FAILED
        return LoginFailed("wrong user name or password")


def made_up(user: str) -> Verifier:
    """Return a verifier that no password has, and that looks like those of accounts."""

    def part(name: bytes) -> bytes:
        return hmac.digest(_SECRET, name + user.encode("utf-8", "replace"), hashlib.sha256)

    return Verifier(part(b"salt"), part(b"stored"), part(b"server"), ITERATIONS)
