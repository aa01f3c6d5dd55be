"""Logins that a credentials checker of ``twisted.cred`` decides.

The checker gets credentials that provide `IUsernameHashedPassword`, as for other protocols in which
no password crosses the wire. It calls their `checkPassword` with the password that it knows.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import LoginFailed as CredLoginFailed
from twisted.internet.defer import maybeDeferred
from zope.interface import implementer

from zeotwisted.access import Login, LoginFailed, Verifier, made_up, verifier

__all__ = ["CredLogin"]

_Binding = tuple[str, bytes] | None


class _NoAccounts:
    """The challenge comes before the checker is asked, so it is made up for every user."""

    def lookup(self, user: str) -> Verifier | None:
        return None


class _OneAccount:
    def __init__(self, known: Verifier) -> None:
        self._known = known

    def lookup(self, user: str) -> Verifier | None:
        return self._known


class CredLogin:
    """One attempt to log in, with the methods of `zeotwisted.access.Login`.

    :param checker: provides `twisted.cred.checkers.ICredentialsChecker`.
    :ivar user: the name that the client has claimed; after the proof, the checker's avatar id.
    """

    def __init__(self, checker: Any, mechanism: str, binding: _Binding) -> None:
        self._checker = checker
        self._mechanism = mechanism
        self._binding = binding
        self._challenging = Login(_NoAccounts(), mechanism, binding)
        self._first = ""
        self.user = ""

    def first(self, message: str) -> str:
        """Return the challenge; see `Login`."""
        challenge = self._challenging.first(message)
        self._first = message
        self.user = self._challenging.user
        return challenge

    async def final(self, message: str) -> str:
        """Return the server's proof; see `Login`.

        :raises LoginFailed: the checker refuses.
        """
        nonce = self._challenging.nonce
        credentials = _Credentials(
            self.user, self._mechanism, self._binding, nonce, self._first, message
        )
        try:
            avatar = await maybeDeferred(self._checker.requestAvatarId, credentials)
        except CredLoginFailed:
            if not credentials.checked:
                # The checker does not know the user. It must take as long as a wrong password.
                credentials.checkPassword("no password")
                credentials.proof = ""
            raise LoginFailed("wrong user name or password") from None
        if not credentials.proof or not avatar:
            # The checker accepts the user without looking at the password.
            raise LoginFailed("wrong user name or password")
        self.user = avatar.decode("utf-8", "replace") if isinstance(avatar, bytes) else str(avatar)
        return credentials.proof


@implementer(IUsernameHashedPassword)
class _Credentials:
    """The messages of a client, which can be checked with a password.

    :ivar username: in UTF-8.
    :ivar proof: the server's proof, when the right password was checked.
    :ivar checked: whether a password was checked.
    """

    def __init__(
        self, user: str, mechanism: str, binding: _Binding, nonce: str, first: str, final: str
    ) -> None:
        self.username = user.encode("utf-8")
        self.proof = ""
        self.checked = False
        self._user = user
        self._mechanism = mechanism
        self._binding = binding
        self._nonce = nonce
        self._messages = first, final

    def checkPassword(self, password: bytes | str) -> bool:
        """Return whether the client has proved that it knows this password."""
        self.checked = True
        text = password.decode("utf-8", "replace") if isinstance(password, bytes) else password
        challenged = made_up(self._user)
        known = verifier(text, challenged.iterations, challenged.salt)
        login = Login(_OneAccount(known), self._mechanism, self._binding, self._nonce)
        first, final = self._messages
        try:
            login.first(first)
            self.proof = login.final(final)
        except LoginFailed:
            return False
        return True
