"""Applied policies as the datasets that planning sees: rebuilt from the control database, kept, and described.

Never from the data engine: what a question may cost, and whether it is refused, is decided without it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import date
from fractions import Fraction
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection

from gateway import wire
from gateway.errors import NotFound
from gateway.policy import model
from gateway.policy.document import PolicyInvalid
from gateway.policy.prepared import NotPrepared, file, place, prepared
from gateway.policy.resolve import resolve, scheduled
from gateway.policy.snapshot import document_from_json, listings_from_json, shapes_from_json
from gateway.store import policies, preparations
from gateway.versions import due
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT

log = logging.getLogger("discreet.catalogue")


def unknown(name: str) -> NotFound:
    """Return the refusal for a dataset that does not exist or that the caller holds no grant on: they look the same."""
    return NotFound("dataset-unknown", f"There is no dataset {name!r} for you.", hint="GET /v1/datasets lists yours.")


def rebuild(stored: policies.Version, data_version: int) -> model.Dataset:
    """Return the dataset that a stored policy version declares."""
    dialect = next((name for name in model.DIALECTS if name == stored.dialect), None)
    if dialect is None:
        raise ValueError("a stored policy of an unknown dialect")
    document, shapes = document_from_json(stored.document), shapes_from_json(stored.shapes)
    return resolve(document, shapes, dialect, stored.version, data_version, listings_from_json(stored.shapes))


def schedule_of(stored: policies.Version) -> model.Schedule | None:
    """Return the schedule of a stored policy version, also of one that today's rules would not apply any more."""
    try:
        return scheduled(document_from_json(stored.document), [])
    except PolicyInvalid:
        return None


class Catalogue:
    """Resolved datasets by name, policy version, data version and copy, shared by threads; the least used goes first.

    ``copies`` is the folder of prepared copies; without it none is read.
    """

    def __init__(self, size: int, copies: Path | None = None) -> None:
        self._size, self._copies = size, copies
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, int, int, str | None], model.Dataset] = OrderedDict()

    def current(self, conn: Connection, name: str) -> model.Dataset:
        """Return a dataset as it is in force, reading its prepared copy if it has one; ``NotFound`` if never applied.

        Why that shows nothing of the data: a copy is read from the instant at which an admin's `prepare` ended until an
        admin drops it or a version ends, whatever it holds.
        """
        found = self.source(conn, name)
        return self._copied(conn, found) or found

    def source(self, conn: Connection, name: str) -> model.Dataset:
        """Return a dataset as it is in force, reading the data themselves."""
        versions = policies.current(conn, name) if "\0" not in name else None
        if versions is None:
            raise unknown(name)
        found = self.at(conn, name, *versions)
        passed = len(due(conn, found))
        return found if not passed else self.at(conn, name, versions[0], versions[1] + passed)

    def at(self, conn: Connection, name: str, version: int, data_version: int) -> model.Dataset:
        """Return a dataset under a certain policy and data version, as an earlier charge was made under it."""
        key = (name, version, data_version, None)
        found = self._find(key)
        if found is not None:
            return found
        stored = policies.get(conn, name, version)
        if stored is None:
            raise unknown(name)
        return self._keep(key, rebuild(stored, data_version))

    def either(self, conn: Connection, name: str, version: int, data_version: int) -> tuple[model.Dataset, ...]:
        """Return a dataset under certain versions, as each copy that was ever read for them, and last as the data.

        A charge was planned on one of these. Copies that are gone are among them: what was answered is planned anew to
        be read, and what was not cannot be executed any more.
        """
        found = self.at(conn, name, version, data_version)
        made = preparations.made(conn, name, version, data_version) if self._copies is not None else []
        copies = (self._on(found, copy) for copy in made)
        return (*(copy for copy in copies if copy is not None), found)

    def _copied(self, conn: Connection, dataset: model.Dataset) -> model.Dataset | None:
        if self._copies is None:
            return None
        copy = preparations.ready(conn, dataset.name, dataset.version, dataset.data_version)
        if copy is None or (dataset.dialect == "duckdb" and not file(copy.id, self._copies).exists()):
            return None
        return self._on(dataset, copy)

    def _on(self, dataset: model.Dataset, copy: preparations.Prepared) -> model.Dataset | None:
        assert copy.shapes is not None
        assert self._copies is not None
        key = (dataset.name, dataset.version, dataset.data_version, copy.id)
        found = self._find(key)
        if found is not None:
            return found
        made = model.Preparation(copy.id, place(dataset, copy.id, self._copies))
        try:
            return self._keep(key, prepared(dataset, made, shapes_from_json(copy.shapes)))
        except NotPrepared as error:
            log.warning("the prepared copy of dataset %s is not read: %s", dataset.name, error)
            return None

    def _find(self, key: tuple[str, int, int, str | None]) -> model.Dataset | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _keep(self, key: tuple[str, int, int, str | None], made: model.Dataset) -> model.Dataset:
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made


def describe(dataset: model.Dataset) -> wire.DatasetInfo:
    """Return a dataset's declarations as analysts may see them: no engine, no data."""
    return wire.DatasetInfo(
        name=dataset.name,
        version=dataset.version,
        data_version=dataset.data_version,
        data_version_changes=_changes(dataset.schedule),
        dialect=dataset.dialect,
        privacy_unit=_unit(dataset),
        max_epsilon=dataset.per_query.max_epsilon / EPSILON_UNIT,
        delta=dataset.per_query.delta / DELTA_UNIT,
        tables=[_table(table) for table in dataset.tables],
        views=dict(dataset.views),
        prepared=dataset.preparation is not None,
    )


def _changes(schedule: model.Schedule | None) -> str | None:
    if schedule is None:
        return None
    return f"{schedule.every} {schedule.minute // 60:02}:{schedule.minute % 60:02} {schedule.time_zone}"


def _unit(dataset: model.Dataset) -> str:
    """Say what one privacy unit is: ``row``, or the column whose values name the units."""
    for table in dataset.tables:
        match table.owner:
            case model.RowOwner():
                return "row"
            case model.Owner(hops=(), column=column) if table.unique_owner:
                return f"{table.name}.{column}"
            case _:
                continue
    owners = sorted({owner.column for table in dataset.tables if isinstance(owner := table.owner, model.Owner)})
    return ", ".join(owners)


def _table(table: model.Table) -> wire.DatasetTable:
    return wire.DatasetTable(
        name=table.name,
        public=table.public,
        owner=_owner(table.owner),
        max_rows_per_unit=table.max_rows_per_unit,
        columns=[_column(column, table) for column in table.columns],
    )


def _owner(owner: model.Owner | model.RowOwner | None) -> str | None:
    """Say how a row finds its owner: ``visit_id → visit.id, person_id`` for a path of one hop."""
    match owner:
        case None:
            return None
        case model.RowOwner():
            return "row"
        case model.Owner(hops, column):
            return ", ".join([*(f"{hop.column} → {hop.table}.{hop.key}" for hop in hops), column])


def _column(column: model.Column, table: model.Table) -> wire.DatasetColumn:
    values = column.values if column.values is not None else table.held(column.name)
    return wire.DatasetColumn(
        name=column.name,
        type=column.type,
        lower=_value(column.lower),
        upper=_value(column.upper),
        values=None if values is None else [_value(value) for value in values],
        nullable=column.nullable,
    )


def _value(value: model.Value) -> wire.JsonValue:
    """Return a value as JSON says it; a bound that is no whole number as the nearest float."""
    match value:
        case Fraction():
            return value.numerator if value.denominator == 1 else float(value)
        case date():
            return value.isoformat()
        case _:
            return value
