"""A private authority, whose certificates pass the strict checks of ZEO and of this package."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Issued"]

#: Clocks of other machines may be behind by so much.
_LEEWAY = timedelta(days=1)

#: The longest common name that X.509 allows, in characters.
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, in PEM format."""

    certificate: bytes
    key: bytes


class Authority:
    """Signs certificates of servers and clients.

    :ivar end: when it expires.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self.end = certificate.not_valid_after_utc

    @classmethod
    def new(cls, days: int) -> Authority:
        """Return a new authority, which is good for some days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("ZEO authority")
        builder = _builder(name, name, key.public_key(), _from_now(days))
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True)
        builder = builder.add_extension(_usage(signs_certificates=True), True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, files: Issued) -> Authority:
        """Return the authority in files that `files` has made.

        :raises ValueError: they have something else in them, or do not belong together.
        """
        certificate = x509.load_pem_x509_certificate(files.certificate)
        key = serialization.load_pem_private_key(files.key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key is not one of an elliptic curve")
        if certificate.public_key() != key.public_key():
            raise ValueError("the certificate and the key do not belong together")
        return cls(certificate, key)

    def files(self) -> Issued:
        """Return the authority itself."""
        return _issued(self._certificate, self._key)

    def server(self, hosts: list[str], days: int) -> Issued:
        """Return a certificate for a server.

        :param hosts: the names and addresses by which clients know it.
        """
        names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._issue(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, days, names)

    def client(self, name: str, days: int) -> Issued:
        """Return a certificate for a client; `name` is its common name."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, days, None)

    def _issue(
        self,
        name: str,
        purpose: x509.ObjectIdentifier,
        days: int,
        names: x509.SubjectAlternativeName | None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name[:_LONGEST_NAME])
        builder = _builder(subject, self._certificate.subject, key.public_key(), _from_now(days))
        builder = builder.add_extension(x509.BasicConstraints(False, None), True)
        builder = builder.add_extension(_usage(signs_certificates=False), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, False)
        if names is not None:
            builder = builder.add_extension(names, False)
        return _issued(builder.sign(self._key, hashes.SHA256()), key)


def _from_now(days: int) -> datetime:
    return datetime.now(timezone.utc) + timedelta(days=days)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(timezone.utc) - _LEEWAY)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
