"""What is checked as a gateway starts (DESIGN section 5): that its guards are there and do what they are there for.

A fault is a sentence for admins. A data engine that cannot be reached at the moment is none: its questions fail by
themselves, uncharged, and the others can be answered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from budget import triggers
from gateway.engines.base import EngineError, EngineUnavailable
from gateway.policy.document import PolicyInvalid
from gateway.store import policies
from gateway.watch import heads

if TYPE_CHECKING:
    from gateway.service import Service

log = logging.getLogger("discreet.canary")


def faults(service: Service) -> tuple[str, ...]:
    """Return what is wrong; empty when the gateway may answer."""
    return tuple(fault for check in (_noise, _ledger, _sandbox, _engines) for fault in check(service))


def _noise(_service: Service) -> Iterator[str]:
    from mechanisms import noise

    yield from _raised("noise", noise.canary)


def _ledger(service: Service) -> Iterator[str]:
    try:
        with service.reads.connect() as conn:
            missing = triggers.missing(conn)
            behind = heads.behind(conn, service.settings.ledger_head_file, service.key.public)
    except heads.HeadInvalid as error:
        yield f"ledger: {error}"
        return
    except SQLAlchemyError as error:
        yield f"ledger: cannot be read ({type(error).__name__})"
        return
    if missing:
        yield f"ledger: triggers that make it append-only are missing or changed: {', '.join(missing)}"
    for each in behind:
        yield f"ledger: {heads.told(each)}; `discreet ledger acknowledge` serves it all the same"


def _sandbox(service: Service) -> Iterator[str]:
    yield from _raised("sandbox", service.sandbox.canary)


def _engines(service: Service) -> Iterator[str]:
    from gateway.engines.open import EngineUrlInvalid
    from gateway.service import EngineWritable

    with service.reads.connect() as conn:
        names = policies.names(conn)
        for name in names:
            try:
                dataset = service.catalogue.current(conn, name)
            except PolicyInvalid as error:
                yield f"dataset {name}: its stored policy is no longer valid: {error}"
                continue
            try:
                engine = service.engines.get(dataset.engine)
            except (EngineError, EngineUrlInvalid) as error:
                if isinstance(error, EngineUnavailable) and not isinstance(error, EngineWritable):
                    log.warning("dataset %s: %s", name, error)
                    continue
                yield f"dataset {name}: {error}"
                continue
            if engine.dialect != dataset.dialect:
                yield f"dataset {name}: its engine speaks another dialect than when the policy was applied"


def _raised(name: str, check: Callable[[], object]) -> Iterator[str]:
    """Yield a fault if a guard fails in any way: a canary that crashes is as dead as one that falls silent."""
    try:
        check()
    except Exception as error:
        yield f"{name}: {error}"
