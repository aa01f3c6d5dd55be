"""The identity that a connection itself proves: a certificate, or the process at a Unix socket."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from contextlib import suppress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from twisted.internet.interfaces import IUNIXTransport

from zeotwisted.access import ANONYMOUS, Identity
from zeotwisted.transport import bottom, peer_certificate

__all__ = ["certificate_names", "peer_identity", "process_names"]

#: The layout of what SO_PEERCRED returns: process, user and group id.
_CREDENTIALS = struct.Struct("iII")


def peer_identity(transport: Any) -> Identity:
    """Return who the other end of a connection is, as far as the connection proves it.

    Call this when TLS has verified the client's certificate, which it has when data arrives.
    """
    certificate = peer_certificate(transport)
    if certificate is not None:
        return Identity.of(*certificate_names(certificate))
    lowest = bottom(transport)
    if IUNIXTransport.providedBy(lowest):
        unix: Any = lowest
        handle = unix.getHandle()
        if isinstance(handle, socket.socket) and hasattr(socket, "SO_PEERCRED"):
            return Identity.of(*process_names(handle))
    return ANONYMOUS


def certificate_names(certificate: bytes) -> list[str]:
    """Return the names of a certificate.

    :param certificate: in the encoding DER.
    """
    parsed = x509.load_der_x509_certificate(certificate)
    names = []
    common = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    # With two common names, it is not clear which of them was checked by who signed it.
    if len(common) == 1:
        names.append(f"certificate:{common[0].value!s}")
    if len(parsed.subject):
        names.append(f"subject:{parsed.subject.rfc4514_string()}")
    names.append(f"fingerprint:{parsed.fingerprint(hashes.SHA256()).hex()}")
    return names


def process_names(handle: socket.socket) -> list[str]:
    """Return the names of the process at the other end of a Unix socket, when it connected.

    A user or group that has no name has its number.
    """
    data = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(data)
    groups = {gid}
    user = str(uid)
    with suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
        groups.update(os.getgrouplist(user, gid))
    return [f"unix-user:{user}", *sorted(f"unix-group:{_group(each)}" for each in groups)]


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
