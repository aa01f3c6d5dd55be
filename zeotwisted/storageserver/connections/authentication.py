"""The calls by which a client proves its user name, before it registers."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.logger import Logger

from zeotwisted.access import Identity, Login, LoginFailed, channel_binding, mechanisms
from zeotwisted.exceptions import AccessDenied

from ..floods import Kind
from .connection import ServerConnection
from .credlogin import CredLogin

__all__ = ["offer"]

_log = Logger()

#: The longest message of SCRAM, in characters.
_LONGEST = 1000


def offer(client: ServerConnection) -> dict[str, Any] | None:
    """Return the parameters of the capability ``authenticate``; None without accounts."""
    access = client.access
    if access.accounts is None:
        return None
    return {
        "mechanisms": mechanisms(channel_binding(client.peer.certificate())),
        "required": not access.admits_everybody,
        "realm": access.realm,
    }


def remote_authenticate(client: ServerConnection, mechanism: str, message: str) -> str:
    accounts = client.access.accounts
    if accounts is None:
        raise AccessDenied("this server has no accounts; connect without a user name")
    login = None
    try:
        login = _login(accounts, mechanism, channel_binding(client.peer.certificate()))
        challenge = login.first(message[:_LONGEST])
    except LoginFailed as error:
        raise _failed(client, login, error)
    except Exception:
        raise _cannot_check(client)
    problem = getattr(accounts, "problem", None)
    if problem is not None and client.peer.admit(Kind.ACCOUNTS):
        _log.error("{problem}; the accounts before the change are used", problem=problem)
    client.login = login
    return challenge


def _login(accounts: Any, mechanism: str, binding: tuple[str, bytes] | None) -> Any:
    if ICredentialsChecker.providedBy(accounts):
        return CredLogin(accounts, mechanism, binding)
    return Login(accounts, mechanism, binding)


async def remote_authenticate_final(client: ServerConnection, message: str) -> str:
    login, client.login = client.login, None
    if login is None:
        raise AccessDenied("a proof without a challenge")
    # Not before the challenge: many connections could get challenges before any has failed.
    await client.logins.turn(client.peer)
    if client.gone:
        raise AccessDenied("the client has gone")
    try:
        proof = login.final(message[:_LONGEST])
        if not isinstance(proof, str):
            proof = await proof
    except LoginFailed as error:
        raise _failed(client, login, error)
    except Exception:
        raise _cannot_check(client)
    client.identity = Identity.of(f"user:{login.user}")
    return proof


def _cannot_check(client: ServerConnection) -> AccessDenied:
    """Log the present exception of the accounts; return what the client may know of it."""
    if client.peer.admit(Kind.ACCOUNTS):
        _log.failure("({label}) the accounts cannot be checked", label=client.label)
    return AccessDenied("the server cannot check accounts now; look into its log")


def _failed(
    client: ServerConnection, login: Login | CredLogin | None, error: LoginFailed
) -> AccessDenied:
    client.logins.failed(client.peer, client.label, "" if login is None else login.user)
    return AccessDenied(str(error))
