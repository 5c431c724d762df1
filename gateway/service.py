"""Everything that a running gateway holds, opened once and shared by threads.

The conductor (``gateway/query.py``) and the routes take a ``Service`` and nothing else of the outside world.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy import Engine as ControlEngine

from budget import process
from gateway.auth import keys
from gateway.auth.authenticate import Verifier, verifier
from gateway.catalogue import Catalogue
from gateway.control import open_control
from gateway.engines.base import Engine, EngineUnavailable
from gateway.plans import Plans
from gateway.policy.model import Dataset
from gateway.policy.prepared import lost
from gateway.settings import Settings
from gateway.slots import Slots
from gateway.store.committer import Committer
from gateway.store.engine import reader
from gateway.turns import Turns
from gateway.watch import heads
from gateway.watch.readiness import Readiness

if TYPE_CHECKING:
    from gateway.sandbox import Sandbox
    from gateway.watch.upkeep import Upkeep

log = logging.getLogger("discreet.service")


class EngineWritable(EngineUnavailable):
    """The gateway's rights would let it change the data, so that it hands the database no statement."""


class EnginePool:
    """The data engines in use, by URL: each opened at the first question and kept until the gateway stops."""

    def __init__(self, opener: Callable[[str], Engine]) -> None:
        self._opener = opener
        self._lock = Lock()
        self._opening: dict[str, Lock] = {}
        self._open: dict[str, Engine] = {}
        self._instants: dict[tuple[str, str], tuple[int, int]] = {}

    def at(self, url: str, dataset: str, instant: tuple[int, int]) -> Engine:
        """Return the engine of a URL, to be read for a dataset under its data version and policy version.

        With the first question under either a file that took another one's place is opened: that the data changed is
        an admin's to say, or a schedule's.
        """
        engine = self.get(url)
        with self._lock:
            key = url, dataset
            passed = self._instants.get(key, (0, 0)) < instant
            if passed:
                self._instants[key] = instant
        if passed:
            engine.renew()
        return engine

    def get(self, url: str) -> Engine:
        """Return the engine of a URL; ``EngineUnavailable`` if it cannot be opened, or ``EngineWritable``.

        A gateway that may write is a gateway through which a flaw in the rewriting could destroy or plant rows; it is
        found before a question is charged, not after.
        """
        with self._lock:
            found = self._open.get(url)
            if found is not None:
                return found
            opening = self._opening.setdefault(url, Lock())
        with opening:  # a database that does not answer holds up its own questions alone
            found = self._open.get(url)
            if found is None:
                found = self._opener(url)
                if not _safe(found):
                    raise EngineWritable("the gateway's rights on the data are not read-only")
                self._open[url] = found
            return found

    def let_go(self, gone: Callable[[str], bool]) -> None:
        """Close the engines of URLs at which there is nothing any more; a session that runs ends first."""
        with self._lock:
            closing = [self._open.pop(url) for url in list(self._open) if gone(url)]
        for engine in closing:
            engine.close()

    def close(self) -> None:
        """Close every engine."""
        with self._lock:
            while self._open:
                _, engine = self._open.popitem()
                engine.close()


def _safe(engine: Engine) -> bool:
    """Return whether an engine cannot change the data; one that can, or does not tell, is closed again."""
    safe = False
    try:
        safe = engine.read_only()
    finally:
        if not safe:
            engine.close()
    return safe


@dataclass(frozen=True, slots=True)
class Service:
    """A running gateway: settings, control database, data engines, identity, limits, and what its canary found.

    ``control`` begins transactions that may write (on SQLite they take the write lock at once), ``reads`` those that
    only read; ``committer`` commits concurrent charges and outcomes together; ``drawing`` draws noise while an engine
    works; ``readiness`` says whether it may answer.
    """

    settings: Settings
    control: ControlEngine
    reads: ControlEngine
    committer: Committer
    process: process.Process
    key: keys.SigningKey
    verifier: Verifier
    engines: EnginePool
    catalogue: Catalogue
    plans: Plans
    slots: Slots
    sandbox: Sandbox
    drawing: ThreadPoolExecutor
    turns: Turns = field(default_factory=Turns)
    readiness: Readiness = field(default_factory=Readiness)
    keeper: heads.Keeper | None = None
    upkeep: Upkeep | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What the canary found when it last looked."""
        return self.readiness.faults

    def engine(self, dataset: Dataset) -> Engine:
        """Return the engine that a dataset's plans read; ``EngineUnavailable`` if it cannot be used."""
        url = dataset.engine if dataset.preparation is None else dataset.preparation.engine
        return self.engines.at(url, dataset.name, (dataset.data_version, dataset.version))

    def is_dead(self, identity: str) -> bool:
        """Return whether a process that charged something is proven dead."""
        return process.is_dead(self.settings.process_files, identity)

    def close(self) -> None:
        """Release files and connections; nothing may be executing any more."""
        for running in (self.keeper, self.upkeep):
            if running is not None:
                running.close()
        self.drawing.shutdown()
        self.sandbox.close()
        self.engines.close()
        if not self.faults:
            heads.keep(self.reads, self.settings.ledger_head_file, self.key)
        self.control.dispose()
        self.process.close()


def open_service(settings: Settings) -> Service:
    """Open a gateway: control database of the known schema, signing key, identity, and the start-up canary's verdict.

    Raises ``ControlDatabaseError`` or ``KeyFileError`` where it cannot start at all. What the canary finds is in
    ``faults``: such a gateway starts, says so at ``/readyz``, and answers no question until nothing is wrong any more.
    """
    from gateway.admin.answers import expire_answers
    from gateway.admin.prepare import sweep_copies
    from gateway.engines.open import open_engine
    from gateway.sandbox import Sandbox
    from gateway.watch import canary
    from gateway.watch.upkeep import Upkeep

    key = keys.load(settings.signing_key_file)
    control = open_control(settings)
    sandbox = Sandbox(memory=settings.sandbox_memory, seconds=settings.sandbox_seconds, rows=settings.released_groups)
    engines = EnginePool(partial(open_engine, memory=settings.engine_memory))
    service = Service(
        settings=settings,
        control=control,
        reads=reader(control),
        committer=Committer(control),
        process=process.begin(settings.process_files),
        key=key,
        verifier=verifier(settings, key),
        engines=engines,
        catalogue=Catalogue(settings.stored_datasets, settings.copies),
        plans=Plans(settings.stored_plans),
        slots=Slots(
            per_analyst=settings.queries_per_analyst,
            in_all=settings.queries_in_all,
            quantum=settings.latency_quantum_ms / 1000,
        ),
        sandbox=sandbox,
        drawing=ThreadPoolExecutor(settings.queries_in_all, "discreet-noise"),
        turns=Turns(server=control.dialect.name != "sqlite"),
    )

    def check() -> tuple[str, ...]:
        found = canary.faults(service)
        if not found:
            heads.keep(service.reads, settings.ledger_head_file, key)
        return found

    def keep() -> None:
        # An older copy may be restored under a gateway that runs.
        if not service.faults and not heads.keep(service.reads, settings.ledger_head_file, key):
            service.readiness.again()

    service.readiness.begin(check)
    if not service.faults and settings.answers_days is not None:
        expired = expire_answers(control, settings.answers_days)
        log.info("%d stored answers were older than %d days and are deleted", expired, settings.answers_days)

    def sweep() -> None:
        sweep_copies(control, settings)
        engines.let_go(lambda url: lost(url, settings.copies))

    upkeep = Upkeep(
        control,
        service.reads,
        service.catalogue,
        answers_days=settings.answers_days,
        ready=lambda: not service.faults,
        sweep=sweep,
    )
    return replace(service, keeper=heads.Keeper(keep), upkeep=upkeep)
