"""One attempt to log in."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from scramp import ScramClient

from zeotwisted.access import (
    BOUND,
    UNBOUND,
    Login,
    LoginFailed,
    Verifier,
    channel_binding,
    mechanisms,
    verifier,
)
from zeotwisted.access.accounts import ITERATIONS

BINDING = ("tls-server-end-point", b"x" * 32)


class Known:
    """The accounts: anna, with the password secret."""

    def __init__(self) -> None:
        self.anna = verifier("secret")

    def lookup(self, user: str) -> Verifier | None:
        return self.anna if user == "anna" else None


KNOWN = Known()


def client(user: str, password: str, binding: Any = None) -> Any:
    return ScramClient(mechanisms(binding), user, password, binding)


def exchange(user: str, password: str, binding: Any = None, theirs: Any = None) -> Login:
    """Let a client log in; `theirs` is the binding that the client sees."""
    scram = client(user, password, theirs or binding)
    login = Login(KNOWN, scram.mechanism_name, binding)
    scram.set_server_first(login.first(scram.get_client_first()))
    scram.set_server_final(login.final(scram.get_client_final()))
    return login


@pytest.mark.parametrize("binding", [None, BINDING])
def test_the_right_password(binding: Any) -> None:
    login = exchange("anna", "secret", binding)
    assert login.is_proved
    assert login.user == "anna"


@pytest.mark.parametrize(("user", "password"), [("anna", "wrong"), ("ben", "secret"), ("ben", "x")])
def test_wrong_user_and_wrong_password_look_the_same(user: str, password: str) -> None:
    with pytest.raises(LoginFailed) as caught:
        exchange(user, password)
    assert str(caught.value) == "wrong user name or password"


def test_a_challenge_does_not_tell_whether_a_user_exists() -> None:
    parts = {}
    for user in ("anna", "ben"):
        challenges = [Login(KNOWN, UNBOUND, None).first(f"n,,n={user},r=nonce") for _ in range(2)]
        salts = {challenge.split(",")[1] for challenge in challenges}
        assert len(salts) == 1, "a salt that changes would tell that there is no account"
        parts[user] = [len(part) for part in challenges[0].split(",")]
        assert challenges[0].endswith(f",i={ITERATIONS}")
    assert parts["anna"] == parts["ben"]


def test_another_server_in_between_cannot_pass_on_the_proof() -> None:
    with pytest.raises(LoginFailed):
        exchange("anna", "secret", BINDING, ("tls-server-end-point", b"y" * 32))


def test_a_client_that_could_be_bound_may_not_be_talked_out_of_it() -> None:
    """Somebody in between has removed the mechanism with the binding from the list."""
    scram = ScramClient([UNBOUND], "anna", "secret", BINDING)
    login = Login(KNOWN, scram.mechanism_name, BINDING)
    with pytest.raises(LoginFailed):
        login.first(scram.get_client_first())


def test_mechanisms() -> None:
    assert mechanisms(None) == [UNBOUND]
    assert mechanisms(BINDING) == [UNBOUND, BOUND]
    for mechanism, binding in ((BOUND, None), ("PLAIN", None), ("", BINDING)):
        with pytest.raises(LoginFailed, match="the mechanism is not one of SCRAM-SHA-256"):
            Login(KNOWN, mechanism, binding)


@pytest.mark.parametrize(
    "message", ["", "x", "n,,", "n,,n=anna", "n,a=other,n=anna,r=x", "y,,n=a=b,r=x", "\0", ",,,,"]
)
def test_messages_without_sense(message: str) -> None:
    with pytest.raises(LoginFailed):
        Login(KNOWN, UNBOUND, None).first(message)
    login = Login(KNOWN, UNBOUND, None)
    login.first("n,,n=anna,r=x")
    with pytest.raises(LoginFailed):
        login.final(message)
    assert not login.is_proved


def test_messages_in_another_order() -> None:
    login = Login(KNOWN, UNBOUND, None)
    with pytest.raises(LoginFailed):
        login.final("c=biws,r=x,p=AA==")
    with pytest.raises(LoginFailed):
        login.first("n,,n=anna,r=x")
    done = exchange("anna", "secret")
    with pytest.raises(LoginFailed):
        done.final("c=biws,r=x,p=AA==")


def test_accounts_that_fail_are_not_a_wrong_password() -> None:
    class Broken:
        def lookup(self, user: str) -> Verifier | None:
            raise OSError("the directory service is down")

    with pytest.raises(OSError, match="directory service"):
        Login(Broken(), UNBOUND, None).first("n,,n=anna,r=x")


def signed(key: Any, algorithm: Any) -> bytes:
    """Return a certificate that its own key has signed."""
    name, now = x509.Name([]), datetime(2026, 1, 1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(now).not_valid_after(now)
    return bytes(builder.sign(key, algorithm).public_bytes(Encoding.DER))


def test_the_hash_of_the_binding_is_that_of_the_signature() -> None:
    """RFC 5929, section 4.1; clients and servers of others must come to the same value."""
    key = rsa.generate_private_key(65537, 2048)
    usual = signed(key, hashes.SHA256())
    # The number of a signature's algorithm, whose last byte is the hash. The library does not sign
    # with weak ones.
    number = bytes.fromhex("2a864886f70d0101")
    assert usual.count(number + b"\x0b") == 2
    md5, sha1 = (usual.replace(number + b"\x0b", number + last) for last in (b"\x04", b"\x05"))
    for certificate, function in (
        (usual, hashlib.sha256),
        (signed(key, hashes.SHA384()), hashlib.sha384),
        (signed(key, hashes.SHA512()), hashlib.sha512),
        (md5, hashlib.sha256),
        (sha1, hashlib.sha256),
        (signed(ed25519.Ed25519PrivateKey.generate(), None), hashlib.sha256),
    ):
        assert channel_binding(certificate) == (BINDING[0], function(certificate).digest())
    assert channel_binding(None) is None
