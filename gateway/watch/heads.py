"""The signed head of the ledger: a small file that tells whether a ledger is the one it was.

A gateway signs it when it starts, every minute and when it stops, and compares it before it serves. Kept in the home
folder it shows a control database restored alone; kept elsewhere as well (``discreet ledger head``), it shows a whole
home restored.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from budget import chain, heads
from budget.chain import Head
from budget.heads import Behind
from gateway.auth.keys import SigningKey

log = logging.getLogger("discreet.heads")

LARGEST = 64 * 1024 * 1024
"""Bytes of a file of signed heads that are read at all."""

AGAIN_SECONDS: Final = 60.0
"""How often a gateway that serves signs anew."""


class HeadInvalid(Exception):
    """A signed head cannot be read, or its signature is not by the key it is checked with; in words for the admin."""


@dataclass(frozen=True, slots=True)
class SignedHeads:
    """The heads of all datasets at a moment (microseconds since 1970), with an Ed25519 signature and its public key."""

    at: int
    heads: tuple[Head, ...]
    key: bytes
    signature: bytes


def sign(conn: Connection, key: SigningKey) -> SignedHeads:
    """Sign the heads as they stand now."""
    found, at = heads.read(conn), chain.now(conn)
    public = key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SignedHeads(at, found, public, key.private.sign(heads.statement(found, at)))


def checked(signed: SignedHeads, public: Ed25519PublicKey) -> SignedHeads:
    """Return signed heads whose signature is by this key; ``HeadInvalid`` otherwise."""
    try:
        public.verify(signed.signature, heads.statement(signed.heads, signed.at))
    except InvalidSignature:
        raise HeadInvalid("the ledger's head was altered, or was signed by another key") from None
    return signed


def to_json(signed: SignedHeads) -> dict[str, Any]:
    """Return signed heads as they are written."""
    said = [{"dataset": each.dataset, "seq": each.seq, "at": each.at, "hash": each.hash.hex()} for each in signed.heads]
    return {"at": signed.at, "heads": said, "key": signed.key.hex(), "signature": signed.signature.hex()}


def from_json(text: str) -> SignedHeads:
    """Read signed heads; ``HeadInvalid`` unless they have the shape that is written. The signature is not checked."""
    try:
        said = json.loads(text)
        found = tuple(
            Head(str(each["dataset"]), int(each["seq"]), int(each["at"]), bytes.fromhex(each["hash"]))
            for each in said["heads"]
        )
        return SignedHeads(int(said["at"]), found, bytes.fromhex(said["key"]), bytes.fromhex(said["signature"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise HeadInvalid("the file holds no signed head of a ledger") from None


def load(path: Path, public: Ed25519PublicKey) -> SignedHeads | None:
    """Read and check the file of a signed head; None where there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HeadInvalid(f"the file of the ledger's head cannot be read ({type(error).__name__})") from None
    try:
        return checked(from_json(raw.decode()), public)
    except UnicodeDecodeError:
        raise HeadInvalid("the file holds no signed head of a ledger") from None


def write(path: Path, signed: SignedHeads) -> None:
    """Replace the file as a whole: a crash leaves the old one or the new."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".ledger-head-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(to_json(signed), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def behind(conn: Connection, path: Path, public: Ed25519PublicKey) -> tuple[Behind, ...]:
    """Return the datasets whose ledger is behind the signed head in a file; none where there is no file."""
    signed = load(path, public)
    return () if signed is None else heads.behind(conn, signed.heads)


def keep(reads: Engine, path: Path, key: SigningKey) -> bool:
    """Sign the heads and write the file; return False, and write nothing, if the ledger is behind the one that it
    holds. A failure is logged.

    Why a failure stops nothing: an older head shows less, and refuses nobody who should be served.
    """
    try:
        with reads.connect() as conn:
            if behind(conn, path, key.public):
                return False
            signed = sign(conn, key)
        write(path, signed)
    except (HeadInvalid, SQLAlchemyError, OSError) as error:
        log.warning("the ledger's head was not signed: %s", type(error).__name__)
    return True


class Keeper:
    """Does something now and then while a gateway serves; first of all keeps the signed head, which is then recent also
    where the gateway is killed.

    What was spent after the last signature is what a ledger restored from an older copy could grant again unseen.
    """

    def __init__(self, keep: Callable[[], None], seconds: float = AGAIN_SECONDS, *, name: str = "ledger-head") -> None:
        self._keep, self._seconds = keep, seconds
        self._ended = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Do it no more; returns when nothing is being done."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                self._keep()
            except Exception:
                log.exception("%s failed, and is done again", self._thread.name)


def told(each: Behind) -> str:
    """Return what is wrong with a dataset's ledger, for admins."""
    if each.problem == "missing":
        return f"dataset {each.signed.dataset} has {each.found} facts, and {each.signed.seq} were signed"
    return f"dataset {each.signed.dataset} has another fact number {each.signed.seq} than the one that was signed"
