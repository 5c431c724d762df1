"""The Ed25519 key that signs the gateway's own tokens: made once by ``init``, readable by its owner alone."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class KeyFileError(Exception):
    """The signing key cannot be used, in words for the admin."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key, and the public one that tokens are verified with."""

    private: Ed25519PrivateKey = field(repr=False)

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that verifies."""
        return self.private.public_key()


def create(path: Path) -> SigningKey:
    """Make a key file; ``FileExistsError`` if there is one, since replacing it would end every token."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # O_EXCL: two that run `init` at once do not replace each other's key.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return SigningKey(private)


def load(path: Path) -> SigningKey:
    """Read the key file; ``KeyFileError`` if it is missing, open to others, or no Ed25519 key."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(65_536)
    except OSError:
        raise KeyFileError("the signing key's file cannot be read; `discreet init` makes it") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError("the signing key's file is open to others; make it readable by its owner alone (0600)")
    try:
        private = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError):
        raise KeyFileError("the signing key's file holds no unencrypted PEM key") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError("the signing key is not an Ed25519 key")
    return SigningKey(private)
