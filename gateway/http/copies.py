"""``/v1/admin/datasets/{name}/copy``: prepared copies, made on a thread of their own, since that takes minutes."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from functools import partial
from threading import Lock, Thread
from typing import Final, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request

from gateway import admin, wire_admin
from gateway.errors import DiscreetError
from gateway.http.administer import Name
from gateway.http.entry import SCHEME, AdminOnly, Caller, Services
from gateway.http.openapi import problems
from gateway.service import Service

log = logging.getLogger("discreet.prepare")

_UNFORESEEN: Final = wire_admin.CopyProblem(code="internal", message="Something unforeseen happened; it is in the log.")


@dataclass(slots=True)
class _Run:
    """One run of this process: what it does now, and what it came to."""

    step: admin.Progress | None = None
    report: admin.PreparationReport | None = None
    problem: wire_admin.CopyProblem | None = None
    ended: bool = False


class Preparing:
    """The runs of one application, the last one of each dataset; used from any thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = Lock()
        self._runs: dict[str, _Run] = {}

    def begin(self, name: str, actor: str) -> None:
        """Begin to make a copy, unless that is going on. What an earlier process left is gone on with."""
        admin.show_dataset(self._service.control, name)
        with self._lock:
            last = self._runs.get(name)
            if last is not None and not last.ended:
                return
            run = self._runs[name] = _Run()
        Thread(target=self._make, args=(name, actor, run), name="prepare", daemon=True).start()

    def state(self, name: str) -> wire_admin.CopyState:
        """Return what is known of a dataset's copy."""
        ready = admin.is_prepared(self._service.control, self._service.settings, name)
        with self._lock:
            run = self._runs.get(name)
        if run is None:
            return wire_admin.CopyState(dataset=name, state="ready" if ready else "none")
        state: Literal["none", "running", "ready", "failed"] = "ready" if ready else "none"
        if not run.ended:
            state = "running"
        elif run.problem is not None and not ready:
            state = "failed"
        return wire_admin.CopyState(
            dataset=name,
            state=state,
            step=None if run.step is None or run.ended else wire_admin.CopyStep.model_validate(asdict(run.step)),
            report=None if run.report is None else wire_admin.CopyReport.model_validate(asdict(run.report)),
            problem=run.problem,
        )

    def _make(self, name: str, actor: str, run: _Run) -> None:
        service = self._service

        def told(step: admin.Progress) -> None:
            run.step = step

        try:
            run.report = admin.prepare_dataset(
                service.control, service.settings, name, actor=actor, opener=service.engines.get, told=told
            )
        except DiscreetError as error:
            run.problem = wire_admin.CopyProblem(code=error.code, message=error.message)
        except Exception:
            log.exception("the copy of dataset %s was not made", name)
            run.problem = _UNFORESEEN
        finally:
            run.ended = True


router = APIRouter(
    prefix="/v1/admin/datasets/{name}/copy",
    route_class=AdminOnly,
    dependencies=[Depends(SCHEME)],
    responses=problems(401, 403, 404, 422, 500, 503),
)


def _preparing(request: Request) -> Preparing:
    found: Preparing = request.app.state.preparing
    return found


@router.post("", status_code=202, summary="Make a prepared copy")
async def make(name: Name, request: Request, caller: Caller, services: Services) -> wire_admin.CopyState:
    """Begin to copy the bounded rows of a dataset, for plans to read instead; the same address says how far it is."""
    _, threads = services
    preparing = _preparing(request)
    await threads.control(partial(preparing.begin, name, caller.name))
    return await threads.control(partial(preparing.state, name))


@router.get("", summary="Show a prepared copy")
async def show(name: Name, request: Request, services: Services) -> wire_admin.CopyState:
    """Say whether plans read a copy, and how far a run of this gateway is."""
    _, threads = services
    return await threads.control(partial(_preparing(request).state, name))


@router.delete("", summary="Remove a prepared copy")
async def remove(name: Name, caller: Caller, services: Services) -> wire_admin.CopiesDropped:
    """Remove a dataset's copies: plans read the data from this instant on."""
    service, threads = services
    drop = partial(admin.drop_copy, service.control, service.settings, name, actor=caller.name)
    return wire_admin.CopiesDropped(dataset=name, dropped=await threads.control(drop))
