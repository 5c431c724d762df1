"""The signing key's file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from gateway.auth.keys import KeyFileError, SigningKey, create, load


def test_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    made = create(tmp_path / "new" / "signing.pem")
    path = tmp_path / "new" / "signing.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load(path).public.public_bytes_raw() == made.public.public_bytes_raw()


def test_never_replaced(tmp_path: Path) -> None:
    create(tmp_path / "signing.pem")
    before = (tmp_path / "signing.pem").read_bytes()
    with pytest.raises(FileExistsError):
        create(tmp_path / "signing.pem")
    assert (tmp_path / "signing.pem").read_bytes() == before


def test_every_key_is_another(tmp_path: Path) -> None:
    keys = {create(tmp_path / str(number)).public.public_bytes_raw() for number in range(3)}
    assert len(keys) == 3


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_one_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    create(tmp_path / "signing.pem")
    (tmp_path / "signing.pem").chmod(mode)
    with pytest.raises(KeyFileError, match="open to others"):
        load(tmp_path / "signing.pem")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="init"):
        load(tmp_path / "signing.pem")


def pem(encrypted: bool) -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encryption = BestAvailableEncryption(b"x") if encrypted else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("content", [b"", b"nonsense", pem(encrypted=False), pem(encrypted=True)])
def test_what_is_no_such_key(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signing.pem"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError):
        load(path)


def test_the_private_key_is_not_printed(tmp_path: Path) -> None:
    assert repr(create(tmp_path / "signing.pem")) == f"{SigningKey.__name__}()"
