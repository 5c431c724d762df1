"""A dataset whose plans read a prepared copy in place of the data, and what holds of that copy by construction.

Why it is sound: the copy holds, for each table, the rows that the scan of the source gives each owner, in canonical
form, of which an owner with more than ``max_rows_per_unit`` keeps as many, chosen by its own rows and a key alone
(``gateway.sql.writing.copies``). So the copy's rows of one owner are a function of that owner's own rows, as the rows
of the source are, and a plan over the copy keeps the invariant for the same reasons as one over the source; nothing of
the source is read beside it. What is taken for a fact of the copy, its own catalogue enforces: at most M rows by a rank
from 1 to M that is unique with the owner, other keys where the source's catalogue enforces them already. What a look at
private rows finds never becomes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from gateway.policy.model import Copy, Dataset, Owner, Preparation, RowOwner, Table, TableShape

OWNER, RANK = "discreet_owner", "discreet_rank"
"""The columns that a copy has beside the declared ones; a declared column of that name gives them another."""


class NotPrepared(Exception):
    """What stands where a copy should is not one: in words for admins."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is copied: the column that holds the owner, the rank's where there is one, and its keys.

    ``added`` says whether the owner is a column of its own beside the declared ones. ``most`` is how many rows an owner
    keeps, None for all; ``cut`` whether it may have more at the source. ``primary`` is the
    primary key, which holds an owner to so many; ``unique`` are further sets under a UNIQUE constraint, ``required``
    columns under NOT NULL.
    """

    owner: str | None
    added: bool
    rank: str | None
    most: int | None
    cut: bool
    primary: tuple[str, ...] | None
    unique: tuple[tuple[str, ...], ...]
    required: frozenset[str]


def layout(table: Table, dataset: Dataset, checked: frozenset[str] = frozenset()) -> Layout:
    """Return how a table of a dataset (as it is at the source) is copied.

    ``checked`` are public tables whose declared key was found to hold each value once.

    Why the keys of a private table are enforced at the copy without a look at its rows: the source's catalogue enforces
    them for canonical values, and the copy holds each row of the source once at most. That is so without a path, or
    where each key of the path is enforced as well; otherwise no key is copied.
    """
    named = [column.name for column in table.columns]
    enforced = {found for found in table.unique if found <= set(named)}
    if table.public and table.key is not None and table.name in checked:
        enforced.add(frozenset({table.key}))
    if not isinstance(table.owner, Owner):
        return Layout(None, False, None, None, False, None, _sorted(enforced, named), _required(enforced, table))
    path = [(dataset.table(hop.table), hop.key) for hop in table.owner.hops]
    if not all(reached is not None and frozenset({key}) in reached.unique for reached, key in path):
        enforced = set()
    owner = _free(OWNER, named) if table.owner.hops else table.owner.column
    alone = frozenset({owner})
    cut = table.max_rows_per_unit is not None and alone not in enforced
    most = 1 if alone in enforced else table.max_rows_per_unit
    rank = _free(RANK, named) if most is not None and most > 1 else None
    required = _required(enforced, table) | {owner} | ({rank} if rank is not None else set())
    unique = _sorted(enforced - {alone}, named)
    primary = None if most is None else (owner,) if rank is None else (owner, rank)
    return Layout(owner, bool(table.owner.hops), rank, most, cut, primary, unique, required)


def _required(enforced: set[frozenset[str]], table: Table) -> frozenset[str]:
    """Return the columns that keys of several need to be NOT NULL, and that no canonical form makes NULL."""
    within = {name for found in enforced if len(found) > 1 for name in found}
    kept = {column.name for column in table.columns if column.physical.kind in ("integer", "text", "boolean")}
    return frozenset(within & kept)


def _sorted(found: set[frozenset[str]], named: list[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(name for name in dict.fromkeys(named) if name in each) for each in found))


def _free(name: str, taken: list[str]) -> str:
    """Return a name that no declared column has, whatever the size of its letters."""
    lower = {other.lower() for other in taken}
    while name in lower:
        name += "_"
    return name


def place(dataset: Dataset, preparation: str, folder: Path) -> str:
    """Return the engine URL of a copy: a file of its own in a folder, or a schema of its own in the same database.

    The schema is read with the credentials that the policy gives.
    """
    if dataset.dialect == "duckdb":
        return f"duckdb:///{quote(str(file(preparation, folder).absolute()))}"
    parts = urlsplit(dataset.engine)
    given = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "schema"]
    return urlunsplit(parts._replace(query=urlencode([*given, ("schema", schema(preparation))])))


def lost(engine: str, folder: Path) -> bool:
    """Whether an engine URL is that of a DuckDB copy whose file has been removed."""
    path = Path(unquote(urlsplit(engine).path).removeprefix("/"))
    return engine.startswith("duckdb:") and path.parent == folder.absolute() and not path.exists()


def file(preparation: str, folder: Path) -> Path:
    """Return the file of a DuckDB copy."""
    return folder / f"{preparation}.duckdb"


def schema(preparation: str) -> str:
    """Return the schema of a PostgreSQL copy."""
    return f"discreet_{preparation}"


def prepared(dataset: Dataset, preparation: Preparation, shapes: Mapping[str, TableShape]) -> Dataset:
    """Return the dataset whose plans read a copy, of which ``shapes`` is what its catalogue says.

    Raises ``NotPrepared`` where the catalogue lacks what a copy of this dataset has.
    """
    tables = tuple(replace(table, copy=_copy(table, dataset, shapes.get(table.name))) for table in dataset.tables)
    held = tuple((table.name, shapes[table.name]) for table in tables)
    return replace(dataset, tables=tables, shapes=held, preparation=preparation)


def _copy(table: Table, dataset: Dataset, shape: TableShape | None) -> Copy:
    wanted = layout(table, dataset)
    columns = {*(column.name for column in table.columns), *(name for name in (wanted.owner, wanted.rank) if name)}
    if shape is None or shape.view or not columns <= {name for name, _, _ in shape.columns}:
        raise NotPrepared(f"{table.name} has no copy of its columns")
    if wanted.primary is not None and frozenset(wanted.primary) not in shape.unique:
        raise NotPrepared(f"nothing enforces the rows of an owner in the copy of {table.name}")
    most = 1 if isinstance(table.owner, RowOwner) else wanted.most
    return Copy(wanted.owner, most, shape.unique)
