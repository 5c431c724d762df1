"""Prepared copies: made table by table, checked, put in force; and dropped.

A copy is of one policy version and one data version, and what it holds is decided there (``gateway.policy.prepared``,
``gateway.sql.writing.copies``). Here is the order of things: what an earlier run left is gone on with; sizes are
compared with the room there is before anything is copied; the copy is read as the gateway will read it before it is
put in force; and what older versions left is removed. Spending is not touched, whatever happens.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, Engine

from gateway.admin.datasets import Opener, opened_engine
from gateway.catalogue import Catalogue
from gateway.engines import base
from gateway.engines.copier import Copier
from gateway.errors import Conflict, RequestInvalid, Unavailable
from gateway.policy.document import PolicyInvalid
from gateway.policy.model import Dataset, Preparation
from gateway.policy.prepared import NotPrepared, file, layout, place, prepared, schema
from gateway.policy.snapshot import shapes_to_json
from gateway.settings import Settings
from gateway.sql.writing import copies
from gateway.store import acts, policies, preparations
from gateway.store.engine import reader

log = logging.getLogger("discreet.prepare")

SWEEPER: Final = "gateway"
"""Who removes what no plan reads any more."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table of a copy, for the admin: rows at the source, those with an owner, those kept, and the owners of these.

    ``owned`` counts a row once for each owner that its path leads to. ``key`` is whether a public table's declared key
    holds each value once, None where none is declared. All but ``rows`` is None for a table that an earlier run made.
    """

    name: str
    rows: int
    owned: int | None = None
    kept: int | None = None
    owners: int | None = None
    most: int | None = None
    key: bool | None = None


@dataclass(frozen=True, slots=True)
class PreparationReport:
    """A copy that is in force; ``made`` is False if it was already, and ``estimated`` about how many bytes it takes."""

    dataset: str
    version: int
    data_version: int
    made: bool
    estimated: int
    tables: tuple[TableReport, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: a table that was counted, or whose copying begins or has ended after so many seconds."""

    table: str
    what: Literal["counted", "copying", "copied", "kept"]
    number: int
    tables: int
    rows: int
    seconds: float = 0.0


Told = Callable[[Progress], None]


def prepare_dataset(
    control: Engine,
    settings: Settings,
    name: str,
    *,
    actor: str,
    writer: str | None = None,
    opener: Opener | None = None,
    told: Told = lambda _: None,
) -> PreparationReport:
    """Copy the bounded rows of a dataset's data version, and let plans read the copy instead.

    ``writer`` is the engine URL of a role that may make a schema in the database (PostgreSQL); the setting
    ``prepare_writer`` where none is given. Raises ``RequestInvalid`` (``prepare-unsupported``, ``prepare-no-writer``,
    ``prepare-no-room``), ``Conflict`` where a version changed meanwhile, or ``Unavailable``. What is spent stays spent.
    """
    dataset = _source(control, name)
    if dataset.dialect not in copies.DIALECTS:
        raise RequestInvalid("prepare-unsupported", f"No copy can be made of data in {dataset.dialect}.")
    writer = _writer(dataset, settings, writer)
    with control.begin() as conn:
        begun = preparations.begin(conn, name, dataset.version, dataset.data_version, actor=actor)
    made = Preparation(begun.id, place(dataset, begun.id, settings.copies))
    if begun.shapes is not None:
        return PreparationReport(name, dataset.version, dataset.data_version, False, 0, ())
    with opened_engine(dataset.engine, opener, settings) as engine, _failing():
        role = _role(engine, dataset, settings)
        with closing(_copier(dataset, begun.id, settings, engine, writer)) as copier:
            if _is_ready(control, dataset, begun.id):  # by another process, before this one had the place to itself
                return PreparationReport(name, dataset.version, dataset.data_version, False, 0, ())
            report = _filled(dataset, copier, settings, told)
            copier.finish(role)
            shapes = _checked(dataset, made, settings)
            in_force = _put_in_force(control, dataset, begun.id, shapes, actor)
    if not in_force:
        with control.begin() as conn:
            preparations.drop(conn, begun.id)
        with _failing():
            _remove(dataset, begun.id, settings, writer)
        raise Conflict("changed-meanwhile", "A version changed, or the copy was dropped, while it was made.")
    _sweep(control, settings, name, writer or settings.prepare_writer, actor)
    return report


def _is_ready(control: Engine, dataset: Dataset, preparation: str) -> bool:
    """Whether a copy is in force already. Why it is asked again: it would be made anew under who reads it."""
    with reader(control).connect() as conn:
        found = preparations.ready(conn, dataset.name, dataset.version, dataset.data_version)
    return found is not None and found.id == preparation


def _put_in_force(control: Engine, dataset: Dataset, preparation: str, shapes: str, actor: str) -> bool:
    """Let plans read a copy from this instant on, if it is of the versions that are in force still."""
    with control.begin() as conn:
        now = Catalogue(1).source(conn, dataset.name)
        if (now.version, now.data_version) != (dataset.version, dataset.data_version):
            return False
        if not preparations.finish(conn, preparation, shapes):
            found = preparations.ready(conn, dataset.name, dataset.version, dataset.data_version)
            return found is not None and found.id == preparation  # by another process, just now
        said = f"version {dataset.version}, data {dataset.data_version}"
        acts.note(conn, actor, "dataset-prepare", dataset.name, said)
        return True


def is_prepared(control: Engine, settings: Settings, name: str) -> bool:
    """Whether plans of a dataset read a copy now."""
    with reader(control).connect() as conn:
        return Catalogue(2, settings.copies).current(conn, name).preparation is not None


def drop_copy(control: Engine, settings: Settings, name: str, *, actor: str, writer: str | None = None) -> int:
    """Remove the copies of a dataset, so that plans read the data again from this instant on; return how many."""
    dataset = _source(control, name)
    _writer(dataset, settings, writer)
    with control.begin() as conn:
        found = [(each, _copied_of(conn, each, dataset)) for each in preparations.standing(conn, name)]
        writers = [_writer(copied, settings, writer) for _, copied in found]
        for each, _ in found:
            preparations.drop(conn, each.id)
            acts.note(conn, actor, "dataset-prepare-drop", name, each.id)
    for (each, copied), by in zip(found, writers, strict=True):
        with _failing():
            _remove(copied, each.id, settings, by)
    return len(found)


def sweep_copies(control: Engine, settings: Settings) -> None:
    """Remove the copies of all datasets that are of versions no longer in force, where that can be done from here.

    And files of copies that were dropped: what removes one may end between the two.
    """
    _sweep_files(control, settings)
    with reader(control).connect() as conn:
        names = [name for name in policies.names(conn) if preparations.standing(conn, name)]
    for name in names:
        _sweep(control, settings, name, settings.prepare_writer, SWEEPER)


def _sweep_files(control: Engine, settings: Settings) -> None:
    left = [path.stem for path in settings.copies.glob("*.duckdb")]
    if not left:
        return
    with reader(control).connect() as conn:
        gone = preparations.dropped(conn, left)
    from gateway.engines.duckdbcopier import remove

    for each in gone:
        try:
            remove(file(each, settings.copies))
        except base.EngineError:
            log.exception("the file of a copy that was dropped could not be removed")


def _sweep(control: Engine, settings: Settings, name: str, writer: str | None, actor: str) -> None:
    """Remove the copies of versions that are no longer in force; one that cannot be is left for the next time."""
    with reader(control).connect() as conn:
        found = preparations.standing(conn, name)
        now = Catalogue(1).source(conn, name)  # read last: no copy of a later version is among what was found
        ended = [each for each in found if (each.policy_version, each.data_version) != (now.version, now.data_version)]
        held = [(each, _copied_of(conn, each, now)) for each in ended]
    for each, dataset in held:
        if dataset.dialect == "postgres" and writer is None:
            continue
        try:
            _remove(dataset, each.id, settings, writer if dataset.dialect == "postgres" else None)
        except base.EngineError:
            log.exception("an earlier copy of dataset %s could not be removed", name)
            continue
        with control.begin() as conn:
            preparations.drop(conn, each.id)
            acts.note(conn, actor, "dataset-prepare-drop", name, each.id)


def _copied_of(conn: Connection, copy: preparations.Prepared, now: Dataset) -> Dataset:
    """Return the dataset as it was copied: it may be in another engine now, and the copy is where it was made."""
    try:
        return Catalogue(1).at(conn, copy.dataset, copy.policy_version, copy.data_version)
    except PolicyInvalid:  # today's rules would not apply it any more
        return now


def _source(control: Engine, name: str) -> Dataset:
    with reader(control).connect() as conn:
        return Catalogue(1).source(conn, name)


def _writer(dataset: Dataset, settings: Settings, given: str | None) -> str | None:
    if dataset.dialect != "postgres":
        return None
    url = given or settings.prepare_writer
    if url is None:
        raise RequestInvalid(
            "prepare-no-writer",
            "A copy in PostgreSQL needs a role that may make a schema there.",
            hint="Give its URL: the setting prepare_writer.",
        )
    return url


def _copier(dataset: Dataset, preparation: str, settings: Settings, engine: base.Engine, writer: str | None) -> Copier:
    if writer is not None:
        from gateway.engines.open import postgres_copier

        return postgres_copier(writer, dataset.engine, schema(preparation))
    from gateway.engines.duckdb import DuckdbEngine
    from gateway.engines.duckdbcopier import DuckdbCopier

    assert isinstance(engine, DuckdbEngine)
    return DuckdbCopier(file(preparation, settings.copies), engine, settings.prepare_memory)


def _remove(dataset: Dataset, preparation: str, settings: Settings, writer: str | None) -> None:
    if writer is None:
        from gateway.engines.duckdbcopier import remove

        remove(file(preparation, settings.copies))
        return
    from gateway.engines.open import postgres_copier

    with closing(postgres_copier(writer, dataset.engine, schema(preparation))) as copier:
        copier.drop()


def _role(engine: base.Engine, dataset: Dataset, settings: Settings) -> str:
    """Return the role that is to read the copy, having looked that the source is as the policy was applied to it.

    And that this role may read there what is copied, whoever copies it: else a right that was taken from it would come
    back with the copy.
    """
    known = dict(dataset.shapes)
    with engine.session(_limits(settings)) as session:
        if dict(session.schema(list(known))) != known:
            raise Unavailable("prepare-failed", "The tables are no longer as they were when the policy was applied.")
        if dataset.dialect == "duckdb":
            return ""
        for table in dataset.tables:
            session.fetch(copies.readable(table, dataset))
        return str(session.fetch("SELECT CAST(current_user AS TEXT) AS role").column("role")[0].as_py())


def _limits(settings: Settings) -> base.Limits:
    return base.Limits(settings.statement_seconds)


def _filled(dataset: Dataset, copier: Copier, settings: Settings, told: Told) -> PreparationReport:
    """Count, look for room, and copy table after table; one that an earlier run has done stays as it is."""
    begun = copier.begin(secrets.token_hex(16))
    checks = {table.name: copies.key_check(table, dataset) for table in dataset.tables}
    keys = {name: bool(copier.number(sql)) for name, sql in checks.items() if sql is not None}
    checked = frozenset(name for name, once in keys.items() if once)
    layouts = {table.name: layout(table, dataset, checked) for table in dataset.tables}
    counted: dict[str, int] = {}
    for number, table in enumerate(dataset.tables, 1):
        counted[table.name] = copier.number(copies.count(table, dataset))
        told(Progress(table.name, "counted", number, len(dataset.tables), counted[table.name]))
    waiting = [table for table in dataset.tables if table.name not in begun.done]
    estimated = sum(counted[t.name] * copies.row_bytes(t, layouts[t.name]) for t in dataset.tables)
    _room(dataset, settings, sum(counted[t.name] * copies.row_bytes(t, layouts[t.name]) for t in waiting))
    reports = []
    for number, table in enumerate(dataset.tables, 1):
        rows, here = counted[table.name], layouts[table.name]
        if table not in waiting:
            told(Progress(table.name, "kept", number, len(dataset.tables), rows))
            reports.append(TableReport(table.name, rows, most=here.most, key=keys.get(table.name)))
            continue
        told(Progress(table.name, "copying", number, len(dataset.tables), rows))
        began = time.monotonic()
        made = copies.copying(table, here, dataset, copier.target, begun.key)
        copier.copy(table.name, made.statements)
        owned, kept = copier.number(made.owned), copier.number(made.kept)
        owners = None if made.owners is None else copier.number(made.owners)
        reports.append(TableReport(table.name, rows, owned, kept, owners, here.most, keys.get(table.name)))
        told(Progress(table.name, "copied", number, len(dataset.tables), kept, time.monotonic() - began))
    return PreparationReport(dataset.name, dataset.version, dataset.data_version, True, estimated, tuple(reports))


def _room(dataset: Dataset, settings: Settings, needed: int) -> None:
    """Refuse a copy for which there is no room, as far as its file is on this machine; sorting takes as much again."""
    if dataset.dialect != "duckdb":
        return
    free = shutil.disk_usage(settings.copies).free
    if 2 * needed > free:
        raise RequestInvalid(
            "prepare-no-room",
            f"A copy needs about {2 * needed:,} bytes while it is made, and {free:,} are free.",
            hint="Make room in the home folder.",
        )


def _checked(dataset: Dataset, made: Preparation, settings: Settings) -> str:
    """Return the catalogue entries of a copy as the gateway reads them, having looked that it is one, and read-only."""
    with opened_engine(made.engine, None, settings) as engine:
        with engine.session(_limits(settings)) as session:
            shapes = session.schema([table.name for table in dataset.tables])
        if not engine.read_only():
            raise Unavailable("prepare-failed", "The gateway's rights on the copy are not read-only.")
    try:
        prepared(dataset, made, shapes)
    except NotPrepared as error:
        raise Unavailable("prepare-failed", f"What was made is no copy: {error}.") from None
    return shapes_to_json(shapes)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except base.EngineError as error:
        raise Unavailable("prepare-failed", f"The copy could not be made: {error}") from None
