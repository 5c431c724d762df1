"""The hash chain of each dataset's facts: canonical encoding, the head that writers lock, and appending.

``hash = SHA-256(previous hash ‖ SHA-256(content) ‖ "seq:at")``, beginning from a hash of the dataset's name. The
content is hashed by itself because it is known before the transaction begins; the place (seq and the database's time)
only inside it.

Every writer locks the head of its dataset first. The chain orders a dataset's facts in any case, so that this lock
costs nothing that the chain does not, and it makes check-and-charge one step: balances read after it cannot change
before the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Boolean, Connection, LargeBinary, TextClause, bindparam, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from budget import schema

PLACE: Final = ("dataset", "seq", "at", "hash")
"""The columns that every fact begins with; the hash covers them by the link, not by the content."""

_SAID: Final = {
    kind: tuple(column.name for column in table.columns if column.name not in PLACE)
    for kind, table in schema.FACTS.items()
}
_BINARY: Final = {
    kind: tuple(i for i, name in enumerate(said) if isinstance(schema.FACTS[kind].c[name].type, LargeBinary))
    for kind, said in _SAID.items()
}
_FLAGS: Final = {
    kind: tuple(i for i, name in enumerate(said) if isinstance(schema.FACTS[kind].c[name].type, Boolean))
    for kind, said in _SAID.items()
}
TIME: Final[Mapping[str, str]] = {
    "sqlite": (
        "(CAST(strftime('%s', 'now') AS INTEGER) * 1000 + CAST(substr(strftime('%f', 'now'), 4) AS INTEGER)) * 1000"
    ),
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)",
}
"""The database's time in microseconds since 1970, as each database says it."""

_CLOCK: Final[Mapping[str, TextClause]] = {name: text(f"SELECT {time}") for name, time in TIME.items()}

_TIME: Final[Mapping[str, TextClause]] = {
    name: text(f"SELECT {time}, (SELECT at FROM {schema.head.name} WHERE dataset = :of)")  # noqa: S608 - ours
    for name, time in TIME.items()
}

_LOCK: Final = select(schema.head).where(schema.head.c.dataset == bindparam("of")).with_for_update()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a dataset's chain: the last fact's number, time and hash (0, 0 and the beginning before the first)."""

    dataset: str
    seq: int
    at: int
    hash: bytes


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, ASCII; ``ValueError`` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def beginning(dataset: str) -> bytes:
    """Return the hash that a dataset's first fact is chained to."""
    return sha256(b"discreet ledger 1\n" + dataset.encode()).digest()


def _encoder() -> Callable[[list[Any], int], Iterable[str]]:
    """Return what writes a list of plain values in parts, as ``canonical_json`` does, in half the time: the library
    makes its C encoder anew for each text, and a ledger is verified by the million.
    """
    plain = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda said, _: (plain.encode(said),)
    made: Callable[[list[Any], int], Iterable[str]] = make(
        None, plain.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False
    )
    return made


_encoded: Final = _encoder()


def content(kind: str, values: Mapping[str, Any]) -> bytes:
    """Return the digest of what a fact says, its place aside."""
    return digest(kind, [values.get(name) for name in _SAID[kind]])


def digest(kind: str, said: list[Any]) -> bytes:
    """Return the digest of a fact's values, given (and changed) in the order of its table's columns after the place.

    It is the SHA-256 of a JSON array: the kind, then the values up to the last that is not NULL, so that a column added
    later changes no old hash. Flags stand as 0 and 1, bytes in hexadecimal. Of a payload the fact says the digest, so
    that the payload may be deleted and the chain still be followed.

    Why two facts never share a content: JSON tells null, numbers and text apart, and each position has one meaning.
    """
    return DIGEST[kind](said)


def _digester(kind: str) -> Callable[[list[Any]], bytes]:
    """Return ``digest`` for one kind, with what depends on the kind alone looked up beforehand."""
    flags, binary = _FLAGS[kind], _BINARY[kind]

    def digest(said: list[Any]) -> bytes:
        for i in flags:
            if isinstance(said[i], bool):  # as the driver of one database gives it; the other's is an integer already
                said[i] = int(said[i])
        for i in binary:
            if said[i] is not None:
                said[i] = said[i].hex()
        while said and said[-1] is None:
            said.pop()
        said.insert(0, kind)
        return sha256("".join(_encoded(said, 0)).encode()).digest()

    return digest


DIGEST: Final = {kind: _digester(kind) for kind in schema.FACTS}
"""``digest`` by kind."""


def link(previous: bytes, digest: bytes, seq: int, at: int) -> bytes:
    """Return the hash of a fact with this content digest, at this place after that hash."""
    # Not "%d", which would write 2.5, edited into a column of integers, as 2.
    return sha256(previous + digest + f"{seq}:{at}".encode()).digest()


def now(conn: Connection) -> int:
    """Return the database's time in microseconds since 1970."""
    return int(conn.execute(_CLOCK[conn.dialect.name]).scalar_one())


def time(conn: Connection, dataset: str) -> int:
    """Return the time that the next fact of a dataset would have: the database's, never before the last fact's."""
    clock, last = conn.execute(_TIME[conn.dialect.name], {"of": dataset}).one()
    return max(int(clock), int(last or 0))


def lock(conn: Connection, dataset: str) -> Head | None:
    """Lock a dataset's chain until the transaction ends and return its head; None where the dataset has no facts."""
    row = conn.execute(_LOCK, {"of": dataset}).one_or_none()
    return None if row is None else Head(dataset, row.seq, row.at, bytes(row.hash))


def begin(conn: Connection, dataset: str) -> None:
    """Begin a dataset's chain if there is none."""
    first = {"dataset": dataset, "seq": 0, "at": 0, "hash": beginning(dataset)}
    if conn.dialect.name == "sqlite":
        conn.execute(sqlite_insert(schema.head).values(first).on_conflict_do_nothing())
    else:
        conn.execute(postgresql_insert(schema.head).values(first).on_conflict_do_nothing())


def follow(head: Head, kind: str, values: Mapping[str, Any], at: int) -> tuple[Head, dict[str, Any]]:
    """Return the head after one more fact, and the fact's whole row; nothing is written.

    Time never runs backwards along a chain: a clock that was set back repeats the last fact's time.
    """
    seq, at = head.seq + 1, max(at, head.at)
    after = Head(head.dataset, seq, at, link(head.hash, content(kind, values), seq, at))
    return after, {"dataset": after.dataset, "seq": after.seq, "at": after.at, "hash": after.hash, **values}
