"""What a serving gateway does now and then beside answering: ends old answers, records versions, looks at files,
removes copies of versions that have ended.

Nothing here can refuse, change or delay an answer: what fails is logged, and tried again the next time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from gateway import versions
from gateway.admin.answers import expire_answers
from gateway.admin.datasets import data_changed
from gateway.catalogue import Catalogue
from gateway.store import policies
from gateway.watch.heads import Keeper

log = logging.getLogger("discreet.upkeep")

SECONDS: Final = 60.0
"""How often it looks."""

SWEEP_SECONDS: Final = 3600.0
"""How often answers beyond their retention are deleted; they are no longer given from the very instant."""


class Upkeep:
    """The upkeep of one gateway, on a thread of its own; ``ready`` says whether the gateway may act at all.

    ``sweep`` removes copies that are no longer read.
    """

    def __init__(
        self,
        control: Engine,
        reads: Engine,
        catalogue: Catalogue,
        *,
        answers_days: int | None,
        ready: Callable[[], bool],
        sweep: Callable[[], None] = lambda: None,
        seconds: float = SECONDS,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._control, self._reads, self._catalogue = control, reads, catalogue
        self._days, self._ready, self._sweep_seconds = answers_days, ready, sweep_seconds
        self._sweep = sweep
        self._swept = time.monotonic()  # a gateway deletes what is old before it serves
        self._changed: Mapping[str, bool] = {}
        self._keeper = Keeper(self.look, seconds, name="upkeep")

    @property
    def changed(self) -> Mapping[str, bool]:
        """The datasets whose data are files, and whether these differ from what an admin vouched for."""
        return MappingProxyType(self._changed)

    def look(self) -> None:
        """Do what is due."""
        if not self._ready():
            return
        for duty in (self._expire, self._record, self._look_at_files, self._sweep):
            try:
                duty()
            except Exception:
                log.exception("upkeep failed, and is tried again")

    def close(self) -> None:
        """Stop; returns when nothing is being done."""
        self._keeper.close()

    def _expire(self) -> None:
        if self._days is None or time.monotonic() < self._swept + self._sweep_seconds:
            return
        self._swept = time.monotonic()
        expired = expire_answers(self._control, self._days)
        if expired:
            log.info("%d stored answers were older than %d days and are deleted", expired, self._days)

    def _record(self) -> None:
        with self._reads.connect() as conn:
            found = [self._catalogue.source(conn, name) for name in policies.names(conn)]
            late = [dataset for dataset in found if versions.due(conn, dataset)]
        for dataset in late:
            try:
                with self._control.begin() as conn:
                    opened = versions.record(conn, dataset)
            except IntegrityError:
                continue  # another gateway has just recorded them
            log.info("dataset %s: its schedule has opened %d data versions", dataset.name, opened)

    def _look_at_files(self) -> None:
        with self._reads.connect() as conn:
            found = {name: data_changed(conn, self._catalogue.source(conn, name)) for name in policies.names(conn)}
        changed = {name: differs for name, differs in found.items() if differs is not None}
        for name in changed:
            if changed[name] and not self._changed.get(name):
                log.warning("dataset %s: the data's files have changed since an admin last vouched for them", name)
        self._changed = changed
