"""``/v1/admin``: grants with all their terms, projects, and the ledger's signed head."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi import Path as InPath
from starlette.responses import Response, StreamingResponse

from gateway import admin, wire, wire_admin
from gateway.http.entry import SCHEME, AdminOnly, Caller, Services
from gateway.http.openapi import problems
from gateway.service import Service
from gateway.watch import heads

router = APIRouter(
    prefix="/v1/admin", route_class=AdminOnly, dependencies=[Depends(SCHEME)], responses=problems(401, 403, 500, 503)
)

Name = Annotated[str, InPath(min_length=1, max_length=200)]
_BODY: Final = problems(400, 404, 413, 415, 422)
_ACT: Final = _BODY | problems(409)
_PIECE: Final = 1 << 20
_MEDIA: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


@router.get("/grants", summary="List grants with all their terms", responses=problems(422))
async def grants(
    services: Services, dataset: Annotated[str | None, Query(min_length=1, max_length=200)] = None
) -> list[wire_admin.Scope]:
    """List the grants of analysts and projects, and the caps, with what is spent in each window and in all."""
    service, threads = services
    return await threads.control(partial(admin.list_scopes, service.control, dataset))


@router.put("/grants", summary="Grant with all terms", responses=_BODY)
async def grant(body: wire_admin.ScopeRequest, caller: Caller, services: Services) -> wire_admin.Scope:
    """Grant an analyst, a project or the dataset's cap, in place of an earlier grant; what is spent stays spent."""
    service, threads = services
    given = body.model_dump(exclude={"dataset"})
    return await threads.control(partial(admin.set_scope, service.control, body.dataset, **given, actor=caller.name))


@router.post("/grants/suspend", summary="Suspend a grant", responses=_ACT)
async def suspend(body: wire_admin.ScopeAct, caller: Caller, services: Services) -> wire_admin.Scope:
    """Let a grant admit nothing until it is resumed."""
    service, threads = services
    given = body.model_dump(exclude={"dataset"})
    act = partial(admin.suspend_grant, service.control, body.dataset, **given, actor=caller.name)
    return await threads.control(act)


@router.post("/grants/resume", summary="Resume a grant", responses=_ACT)
async def resume(body: wire_admin.ScopeAct, caller: Caller, services: Services) -> wire_admin.Scope:
    """Let a suspended grant admit again."""
    service, threads = services
    given = body.model_dump(exclude={"dataset"})
    act = partial(admin.resume_grant, service.control, body.dataset, **given, actor=caller.name)
    return await threads.control(act)


@router.post("/projects/{name}/join", summary="Join a project", responses=_ACT)
async def join(name: Name, body: wire_admin.MemberAct, caller: Caller, services: Services) -> wire_admin.Scope:
    """Let an analyst's charges on a dataset fall under the project's grant too."""
    service, threads = services
    act = partial(
        admin.join_project,
        service.control,
        body.dataset,
        name,
        body.analyst,
        actor=caller.name,
        reason=body.reason,
    )
    return await threads.control(act)


@router.post("/projects/{name}/leave", summary="Leave a project", responses=_ACT)
async def leave(name: Name, body: wire_admin.MemberAct, caller: Caller, services: Services) -> wire_admin.Scope:
    """End an analyst's membership; what they spent stays spent."""
    service, threads = services
    act = partial(
        admin.leave_project,
        service.control,
        body.dataset,
        name,
        body.analyst,
        actor=caller.name,
        reason=body.reason,
    )
    return await threads.control(act)


@router.get("/ledger/head", summary="Sign the ledger's head")
async def head(services: Services) -> wire_admin.SignedHead:
    """Sign the heads of all datasets as they stand now, to be kept elsewhere."""
    service, threads = services
    signed = await threads.control(partial(admin.sign_head, service.control, service.key))
    return wire_admin.SignedHead.model_validate(heads.to_json(signed))


@router.post("/ledger/acknowledge", summary="Acknowledge a ledger behind its head", responses=_ACT)
async def acknowledge(body: wire_admin.Acknowledgement, caller: Caller, services: Services) -> wire.Status:
    """Note in the ledger that a dataset is served although its ledger is behind; a running gateway sees it soon."""
    service, threads = services
    act = partial(
        admin.acknowledge_ledger,
        service.control,
        service.settings,
        service.key,
        body.dataset,
        actor=caller.name,
        reason=body.reason,
    )
    await threads.control(act)
    return wire.Status()


@router.get("/ledger/export", summary="Export the ledger", response_class=Response, responses=problems(422))
async def export(
    services: Services,
    dataset: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    format: Annotated[Literal["csv", "jsonl", "parquet"], Query()] = "jsonl",  # noqa: A002 - the parameter's name
) -> Response:
    """Export the facts of one dataset or of all, in the order of their chains."""
    service, threads = services
    written = await threads.control(partial(_exported, service, format, dataset))
    return StreamingResponse(_pieces(written), media_type=_MEDIA[format])


def _exported(service: Service, form: Literal["csv", "jsonl", "parquet"], dataset: str | None) -> BinaryIO:
    """Write an export and return it open; it has no name any more, and is gone when it is closed.

    A file and not rows as they are read: a client that is slow to take them would keep the ledger's readers waiting.
    """
    with tempfile.TemporaryDirectory(prefix="discreet-export-") as folder:
        path = Path(folder) / f"ledger.{form}"
        admin.export_ledger(service.control, path, form, dataset)
        return path.open("rb")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
