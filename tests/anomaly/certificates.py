"""Certificates and their keys, which are files of one command."""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from zeotwisted.commands import certs
from zeotwisted.commands.errors import CommandError

from .loops import Journal, Operation, files

__all__ = ["MakesCertificates"]

_NAMES = ("authority", "server", "client")


class MakesCertificates(Operation):
    """An authority, and the certificates of a server and of a client."""

    name = "certificates made"

    def make(self, force: bool = False) -> None:
        """Run the command."""
        arguments = argparse.Namespace(
            hosts=["localhost"],
            client=["client"],
            server="server",
            folder=self.path("certs"),
            authority_days=100,
            days=10,
            force=force,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            assert certs.run(arguments) == 0

    def run(self, journal: Journal) -> None:
        try:
            self.make()
        except CommandError as error:
            journal.refused(error)
        else:
            journal.note("made", True)
            assert not self.disk.unsynced, "a power failure would leave empty files"

    def mended(self, journal: Journal) -> None:
        if not journal.of("made"):
            if self.disk.not_removed:
                shutil.rmtree(self.path("certs"))
            # Otherwise nothing is there, as before.
            self.make()
        self._check()

    def restarted(self, journal: Journal) -> None:
        if not journal.of("made"):
            # The command was killed in between. What is in the way is named, and can be removed.
            shutil.rmtree(self.path("certs"), ignore_errors=True)
            self.make()
        self._check()

    def _check(self) -> None:
        for name in _NAMES:
            with open(self.path("certs", f"{name}.pem"), "rb") as file:
                certificate = load_pem_x509_certificate(file.read())
            with open(self.path("certs", f"{name}.key"), "rb") as file:
                key = load_pem_private_key(file.read(), None)
            form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            ours = certificate.public_key().public_bytes(*form)
            assert ours == key.public_key().public_bytes(*form), "a key of another certificate"

    def left_over(self, killed: bool) -> set[str]:
        expected = {f"certs/{name}.{kind}" for name in _NAMES for kind in ("pem", "key")}
        return {name for name in files(self.folder) if not killed or ".new-" not in name} - expected
