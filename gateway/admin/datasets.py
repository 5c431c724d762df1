"""Datasets: applying a policy, listing, and saying that the data changed.

The engines are imported where they are used: their drivers would slow every other command down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from budget import balance, chain, grants
from budget.errors import NoGrant
from budget.scopes import CAP
from gateway import versions, wire
from gateway.admin import listings
from gateway.catalogue import describe, rebuild, schedule_of, unknown
from gateway.engines import base
from gateway.errors import Conflict, RequestInvalid, Unavailable
from gateway.policy import document as policy_text
from gateway.policy import model
from gateway.policy.document import Document, PolicyInvalid, Problem
from gateway.policy.model import Cap, TableShape
from gateway.policy.resolve import resolve
from gateway.policy.snapshot import document_to_json, listings_from_json, shapes_from_json, shapes_to_json
from gateway.settings import Settings
from gateway.sql.relations.lower import refused_views
from gateway.store import acts, policies, preparations
from gateway.store.engine import reader

log = logging.getLogger("discreet.admin")

SEEN: Final = "data-seen"
"""The act that notes the fingerprint of a dataset's files as they were when an admin vouched for them."""

Opener = Callable[[str], base.Engine]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A dataset as admins see it; ``engine`` without its password, ``at`` in microseconds since 1970.

    ``files_changed`` if the data's files are others than when the policy was applied or the data version raised.
    """

    name: str
    version: int
    data_version: int
    engine: str
    at: int
    actor: str
    info: wire.DatasetInfo
    source: str
    files_changed: bool | None = None


def apply_dataset(
    control: Engine,
    settings: Settings,
    source: str,
    *,
    actor: str,
    folder: Path | None = None,
    opener: Opener | None = None,
    name: str | None = None,
) -> DatasetRecord:
    """Store a policy as the next version of its dataset, after checking it against the database, and set the cap.

    ``folder`` is what a relative file in ``engine`` is relative to (the policy file's; the home by default).
    ``opener`` gives engines that stay open (a running gateway's); without it one is opened and closed here.
    ``name`` is the dataset that the policy must be of, where that is known. What is spent stays spent. Raises
    ``RequestInvalid`` (``policy-invalid`` with all ``problems``, ``engine-writable``) or ``Unavailable``
    (``engine-unavailable``).
    """
    try:
        document = _located(policy_text.load(source), folder or settings.home)
        if name is not None and document.dataset != name:
            raise PolicyInvalid([Problem("dataset", "the policy is of another dataset than the address")])
        with opened_engine(document.engine, opener, settings) as engine:
            seen = _looked(document.engine)  # before the catalogue is read: a change in between is one
            shapes = _shapes(engine, document, settings)
            dialect = engine.dialect
            resolved = resolve(document, shapes, dialect, 1)
            held = _read_lists(engine, resolved, settings)
        wrong = [Problem(f"views.{view}", str(refusal)) for view, refusal in refused_views(resolved)]
        if wrong:
            raise PolicyInvalid(wrong)
    except PolicyInvalid as error:
        raise _invalid(error) from None
    try:
        with control.begin() as conn:
            before, since = policies.latest(conn, document.dataset), policies.changed(conn, document.dataset)
            stored = policies.append(
                conn,
                document.dataset,
                source=source,
                document=document_to_json(document),
                shapes=shapes_to_json(shapes, held),
                dialect=dialect,
                actor=actor,
            )
            if before is not None:
                versions.succeed(conn, document.dataset, schedule_of(before), since, stored.at)
            _note_seen(conn, actor, document.dataset, seen)
            _set_cap(conn, document.dataset, resolved.cap, before, actor, stored.version)
            acts.note(conn, actor, "dataset-apply", document.dataset, f"version {stored.version}")
            return _record(conn, document.dataset)
    except IntegrityError:
        raise Conflict("changed-meanwhile", "Somebody else applied this dataset at the same moment.") from None


def list_datasets(control: Engine) -> list[DatasetRecord]:
    """Return all datasets in force, by name."""
    with reader(control).connect() as conn:
        return [_record(conn, name) for name in policies.names(conn)]


def show_dataset(control: Engine, name: str) -> DatasetRecord:
    """Return one dataset in force."""
    with reader(control).connect() as conn:
        return _record(conn, name)


def bump_data_version(
    control: Engine, name: str, *, actor: str, settings: Settings | None = None, opener: Opener | None = None
) -> int:
    """Say that the data changed: answers stored for the version before no longer stand for it. Spending stays.

    With ``settings`` what public tables hold is listed anew, which makes a policy version of its own where it differs.
    """
    held = None if settings is None else _held(control, settings, name, opener)
    try:
        with control.begin() as conn:
            stored = policies.latest(conn, name)
            if stored is None:
                raise unknown(name)
            dataset = rebuild(stored, 1)
            versions.record(conn, dataset)
            # Lists that were read under an earlier policy say nothing of the tables of this one, which has its own.
            if held is not None and held[0] == stored.version and listings_from_json(stored.shapes) != held[1]:
                shapes = shapes_to_json(shapes_from_json(stored.shapes), held[1])
                policies.append(
                    conn,
                    name,
                    source=stored.source,
                    document=stored.document,
                    shapes=shapes,
                    dialect=stored.dialect,
                    actor=actor,
                )
            version = policies.bump(conn, name, actor=actor)
            _note_seen(conn, actor, name, _looked(dataset.engine))
            acts.note(conn, actor, "data-version", name, str(version))
            return version
    except IntegrityError:
        raise Conflict("changed-meanwhile", "Somebody else did this at the same moment.") from None


def _held(control: Engine, settings: Settings, name: str, opener: Opener | None) -> tuple[int, model.Listings] | None:
    """Return a policy's version and what its public tables hold now; None if there are none, or its database cannot be
    read.
    """
    with reader(control).connect() as conn:
        stored = policies.latest(conn, name)
    if stored is None:
        return None
    dataset = rebuild(stored, 1)
    if not any(table.public for table in dataset.tables):
        return None
    try:
        with opened_engine(dataset.engine, opener, settings) as engine:
            return stored.version, _read_lists(engine, dataset, settings)
    except (Unavailable, RequestInvalid, PolicyInvalid) as error:
        # The word of the admin stands all the same: the data changed, and answers to earlier ones are not given again.
        log.warning("dataset %s: what its public tables hold could not be read anew: %s", name, error)
        return None


def _read_lists(engine: base.Engine, dataset: model.Dataset, settings: Settings) -> model.Listings:
    with engine.session(base.Limits(settings.statement_seconds)) as session:
        return listings.read(session, dataset)


def data_changed(conn: Connection, dataset: model.Dataset) -> bool | None:
    """Return whether the files of a dataset differ from what they were when an admin last vouched for the data.

    None where there is nothing to compare: a server, files that are gone, or nothing noted. Told to admins alone:
    when files change is a fact about data, and hangs on no instant that is public.
    """
    noted, found = acts.last(conn, SEEN, dataset.name), _looked(dataset.engine)
    return None if noted is None or found is None else noted.detail != found


def _looked(url: str) -> str | None:
    from gateway.engines.fingerprint import fingerprint

    try:
        return fingerprint(url)
    except OSError:
        return None


def _note_seen(conn: Connection, actor: str, dataset: str, fingerprint: str | None) -> None:
    if fingerprint is not None:
        acts.note(conn, actor, SEEN, dataset, fingerprint)


def _located(document: Document, folder: Path) -> Document:
    """Return the document with its engine's file, if it has one, named from the root."""
    scheme, separator, path = document.engine.partition(":///")
    if scheme not in ("duckdb", "sqlite", "parquet", "csv") or not separator or not path or path.startswith("/"):
        return document
    return document.model_copy(update={"engine": f"{scheme}:///{quote(str(folder.absolute()))}/{path}"})


@contextmanager
def opened_engine(url: str, opener: Opener | None, settings: Settings) -> Iterator[base.Engine]:
    """Open a database that a policy names, in an admin's words for what is wrong; closed again unless it was given."""
    from gateway.engines.open import EngineUrlInvalid, open_engine
    from gateway.service import EngineWritable

    try:
        engine = opener(url) if opener is not None else open_engine(url, memory=settings.engine_memory)
    except EngineUrlInvalid as error:
        raise PolicyInvalid([Problem("engine", str(error))]) from None
    except EngineWritable:
        raise _writable() from None
    except base.EngineError as error:
        raise Unavailable("engine-unavailable", f"The data engine cannot be opened: {error}") from None
    try:
        yield engine
    except base.EngineError as error:
        raise Unavailable("engine-unavailable", f"The data engine cannot be read: {error}") from None
    finally:
        if opener is None:
            engine.close()


def _shapes(engine: base.Engine, document: Document, settings: Settings) -> Mapping[str, TableShape]:
    with engine.session(base.Limits(settings.statement_seconds)) as session:
        shapes = session.schema(list(document.tables))
    if not engine.read_only():
        raise _writable()
    return shapes


def _writable() -> RequestInvalid:
    return RequestInvalid(
        "engine-writable",
        "The gateway's rights on the data are not read-only.",
        hint="Give it a role that can SELECT and nothing else.",
    )


def _set_cap(
    conn: Connection, dataset: str, cap: Cap, before: policies.Version | None, actor: str, version: int
) -> None:
    """Set the cap that the policy states, unless the version before stated the same; what is spent stays spent.

    Why not again: an admin may have lowered the cap since (for what is missing in a ledger that was restored), and an
    edit of something else must not raise it. Its other terms (a window, an end, a highest price) are an admin's to
    set, and stay as they are. The lock comes before the reading: no admin's act lies in between.
    """
    chain.lock(conn, dataset)
    wanted = grants.Grant(cap.epsilon, cap.delta, cap.gaussian)
    try:
        (standing,) = balance.read(conn, dataset, [CAP])
    except NoGrant:
        pass
    else:
        wanted = replace(standing.grant, epsilon=cap.epsilon, delta=cap.delta, gaussian=cap.gaussian)
        if standing.grant == wanted or (before is not None and _stated_cap(before) == cap):
            return
    grants.set_cap(conn, dataset, wanted, actor=actor, reason=f"policy version {version}")


def _stated_cap(stored: policies.Version) -> Cap | None:
    """Return the cap that a stored policy version states; None for one that today's rules would not apply any more."""
    try:
        return rebuild(stored, 1).cap
    except PolicyInvalid:
        return None


def _record(conn: Connection, name: str) -> DatasetRecord:
    stored, recorded = policies.latest(conn, name), policies.current(conn, name)
    if stored is None or recorded is None:
        raise unknown(name)
    from gateway.engines.open import redacted

    dataset = rebuild(stored, recorded[1])
    version = recorded[1] + len(versions.due(conn, dataset))
    info = describe(replace(dataset, data_version=version))
    return DatasetRecord(
        name,
        stored.version,
        version,
        redacted(dataset.engine),
        stored.at,
        stored.actor,
        info.model_copy(update={"prepared": preparations.ready(conn, name, stored.version, version) is not None}),
        stored.source,
        data_changed(conn, dataset),
    )


def _invalid(error: PolicyInvalid) -> RequestInvalid:
    found = [{"path": problem.path, "message": problem.message} for problem in error.problems]
    first = error.problems[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return RequestInvalid("policy-invalid", f"The policy cannot be applied: {first}{more}", problems=found)
