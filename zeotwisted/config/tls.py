"""Makes an `ssl.SSLContext` from an `<ssl>` section, with the same meaning as in ZEO."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = [
    "SIGNED",
    "ContextError",
    "certificate_files",
    "client_context",
    "is_encrypted",
    "server_context",
]

#: How much of a file, in bytes, to search for a certificate or a key.
_LARGEST = 2**20

#: Values of authenticate that stand for the authorities that the system trusts.
SIGNED = ("-", "SIGNED")

#: The beginning of a certificate or a revocation list. It does not match a private key, which a
#: folder may also contain.
_CERTIFICATE = re.compile(rb"-----BEGIN ((TRUSTED |X509 )?CERTIFICATE|X509 CRL)-----")


#: The beginning of a private key. An older format has a header that says whether it is encrypted.
_KEY = re.compile(rb"-----BEGIN (\w+ )?PRIVATE KEY-----\s*(Proc-Type:[^\n]*)?")


class ContextError(ValueError):
    """An `<ssl>` section cannot be used.

    :ivar what: what is wrong with it.
    :ivar remedy: what to do about it.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


def server_context(section: Any) -> ssl.SSLContext:
    """Return the context of a server that admits clients by their certificates.

    :raises ContextError: a file, or the password function, cannot be used.
    """
    if section.certificate is None:
        raise ContextError("no certificate", "add a line that begins with certificate")
    if not section.authenticate:
        raise ContextError(
            "no authenticate", "name the file or folder with the certificates of the clients"
        )
    if section.server_hostname is not None or not section.check_hostname:
        raise ContextError(
            "check-hostname and server-hostname are for clients", "remove these lines"
        )
    context = _context(section, ssl.Purpose.CLIENT_AUTH)
    # Tickets are for resuming a session, which neither our clients nor ZEO's do. Each ticket takes
    # time and memory, because it contains the client's certificate.
    context.num_tickets = 0
    return context


def client_context(section: Any) -> tuple[ssl.SSLContext, str | None]:
    """Return the context of a client, and the host name for the check of the server's certificate.

    The name is None if the section has none.

    :raises ContextError: a file, or the password function, cannot be used.
    """
    context = _context(section, ssl.Purpose.SERVER_AUTH)
    context.check_hostname = section.check_hostname
    return context, section.server_hostname


def _context(section: Any, purpose: ssl.Purpose) -> ssl.SSLContext:
    if section.authenticate in SIGNED:
        context = ssl.create_default_context(purpose)
        # For a server, the function above loads none.
        context.load_default_certs(purpose)
        if not _has_authorities(context):
            raise ContextError(
                f"authenticate: {section.authenticate}: this system has no certificates of "
                "authorities",
                "install its package of them, or name a file",
            )
    elif section.authenticate:
        context = _trusting(os.path.expanduser(section.authenticate), purpose)
    else:
        context = ssl.create_default_context(purpose)
    if section.certificate is not None:
        _load_certificate(context, section)
    context.verify_mode = ssl.CERT_REQUIRED
    # With the partial chain, a client's own certificate can be named, although another one has
    # signed it, and that is not named.
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def _has_authorities(context: ssl.SSLContext) -> bool:
    # OpenSSL reads a folder only when it needs a certificate.
    return context.cert_store_stats()["x509"] > 0 or _folder_of_system() is not None


def _folder_of_system() -> str | None:
    folder = ssl.get_default_verify_paths().capath
    return folder if folder and os.path.isdir(folder) and os.listdir(folder) else None


def certificate_files(path: str) -> list[str]:
    """Return the files with certificates that `authenticate` names: one, or those of a folder."""
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        return [path]
    files = [os.path.join(path, name) for name in sorted(os.listdir(path))]
    return [file for file in files if os.path.isfile(file) and _has_certificates(file)]


def _trusting(path: str, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Return a context that trusts the certificates in a file, or in the files of a folder."""
    try:
        if not os.path.isdir(path):
            return ssl.create_default_context(purpose, cafile=path)
        # At each connection, OpenSSL reads only the files of the folder that are named by a hash of
        # the certificate. Load the certificates from all other files here.
        context = ssl.create_default_context(purpose, capath=path)
        files = certificate_files(path)
        for file in files:
            path = file
            context.load_verify_locations(cafile=file)
        return context
    except OSError as error:
        # This includes ssl.SSLError.
        raise ContextError(
            f"authenticate: {path}: {_explain(error)}",
            "name a file with certificates in PEM format, or a folder of such",
        ) from None


def _has_certificates(path: str) -> bool:
    with open(path, "rb") as file:
        return _CERTIFICATE.search(file.read(_LARGEST)) is not None


def _load_certificate(context: ssl.SSLContext, section: Any) -> None:
    certificate = os.path.expanduser(section.certificate)
    key = None if section.key is None else os.path.expanduser(section.key)
    for name, path in (("certificate", certificate), ("key", key)):
        if path is not None and not os.path.isfile(path):
            raise ContextError(f"{name}: {path} is no file", "correct the path")
    password = _password(section.password_function)
    if password == "" and is_encrypted(key or certificate):
        raise ContextError(
            f"key: {key or certificate} is encrypted, and no password-function tells its password",
            "add a line that begins with password-function, or decrypt the key",
        )
    try:
        context.load_cert_chain(certificate, key, password)
    except OSError as error:
        files = certificate if key is None else f"{certificate} with {key}"
        raise ContextError(
            f"certificate: {files}: {_explain(error)}",
            "the certificate and its private key must be there in PEM format, and belong together",
        ) from None
    except Exception as error:
        raise ContextError(
            f"password-function: {section.password_function}: {type(error).__name__}: {error}",
            "correct the function; it returns the password of the key",
        ) from None


def is_encrypted(path: str) -> bool:
    """Return whether the first private key in a file is encrypted."""
    with open(path, "rb") as file:
        key = _KEY.search(file.read(_LARGEST))
    return key is not None and (key[1] == b"ENCRYPTED " or b"ENCRYPTED" in (key[2] or b""))


def _password(name: str | None) -> Callable[[], str] | str:
    if name is None:
        # With None, OpenSSL would ask for the password at the terminal. A daemon has no terminal.
        return ""
    module, _, attribute = name.rpartition(".")
    try:
        function: Callable[[], str] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContextError(
            f"password-function: {name}: {error}",
            "write the dotted name of a function in a module that can be imported",
        ) from None
    return function


def _explain(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason is None:
        return "it has nothing in PEM format that can be used (or the password is wrong)"
    return error.reason.lower().replace("_", " ")
