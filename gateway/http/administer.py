"""``/v1/admin``: what ``gateway/admin`` does, over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request

from budget import entries
from gateway import admin, wire, wire_admin
from gateway.admin.datasets import DatasetRecord
from gateway.http.ask import iso
from gateway.http.entry import SCHEME, AdminOnly, Caller, Services
from gateway.http.openapi import problems
from gateway.http.problems import HttpError
from gateway.service import Service
from gateway.store import principals, tokens

router = APIRouter(
    prefix="/v1/admin", route_class=AdminOnly, dependencies=[Depends(SCHEME)], responses=problems(401, 403, 500, 503)
)

Name = Annotated[str, Path(min_length=1, max_length=200)]
_BODY: Final = problems(400, 413, 415, 422)
_POLICY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "A policy, as YAML or JSON.",
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


@router.get("/datasets", summary="List datasets")
async def datasets(services: Services) -> list[wire_admin.DatasetAdmin]:
    """List all datasets in force."""
    service, threads = services
    found = await threads.control(partial(admin.list_datasets, service.control))
    return [_dataset(each) for each in found]


@router.get("/datasets/{name}", summary="Show a dataset", responses=problems(404, 422))
async def dataset(name: Name, services: Services) -> wire_admin.DatasetAdmin:
    """Show a dataset in force, with its policy's text."""
    service, threads = services
    return _dataset(await threads.control(partial(admin.show_dataset, service.control, name)))


@router.post("/datasets", summary="Apply a policy", responses=_BODY | problems(409), openapi_extra=_POLICY)
async def apply(request: Request, caller: Caller, services: Services) -> wire_admin.DatasetAdmin:
    """Check a policy against its database and put it in force; what is spent stays spent."""
    return await _apply(request, caller.name, services, None)


@router.put("/datasets/{name}", summary="Apply a policy", responses=_BODY | problems(409), openapi_extra=_POLICY)
async def replace(name: Name, request: Request, caller: Caller, services: Services) -> wire_admin.DatasetAdmin:
    """Put a policy of this dataset in force."""
    return await _apply(request, caller.name, services, name)


@router.post("/datasets/{name}/data-version", summary="Say that the data changed", responses=problems(404, 409, 422))
async def data_version(name: Name, caller: Caller, services: Services) -> wire_admin.DataVersion:
    """Open the next data version: answers stored for the last no longer stand for the dataset."""
    service, threads = services
    bump = partial(admin.bump_data_version, service.control, name, actor=caller.name)
    bump = partial(bump, settings=service.settings, opener=service.engines.get)
    return wire_admin.DataVersion(dataset=name, data_version=await threads.control(bump))


@router.post("/datasets/{name}/answers/delete", summary="Delete stored answers", responses=_BODY | problems(404))
async def delete_answers(
    name: Name, body: wire_admin.AnswersRequest, caller: Caller, services: Services
) -> wire_admin.AnswersDeleted:
    """Delete noisy tables that answers were computed from; charges, and the ledger, stay as they are."""
    service, threads = services
    delete = partial(
        admin.delete_answers,
        service.control,
        name,
        actor=caller.name,
        older_than=body.older_than_seconds,
        below_version=body.below_data_version,
        query=body.query_id,
    )
    return wire_admin.AnswersDeleted(dataset=name, deleted=await threads.control(delete))


@router.get("/analysts", summary="List analysts and admins")
async def analysts(services: Services) -> list[wire_admin.AnalystInfo]:
    """List all analysts and admins."""
    service, threads = services
    return [_analyst(each) for each in await threads.control(partial(admin.list_analysts, service.control))]


@router.post("/analysts", status_code=201, summary="Add an analyst", responses=_BODY | problems(409))
async def add_analyst(body: wire_admin.AnalystRequest, caller: Caller, services: Services) -> wire_admin.AnalystInfo:
    """Add an analyst, or by role an admin."""
    service, threads = services
    add = partial(admin.add_analyst, service.control, body.name, role=body.role, actor=caller.name)
    return _analyst(await threads.control(add))


@router.post("/analysts/{name}/disable", summary="Disable an analyst", responses=problems(404, 422))
async def disable(name: Name, caller: Caller, services: Services) -> wire_admin.AnalystInfo:
    """Refuse an analyst from the next request on."""
    service, threads = services
    return _analyst(await threads.control(partial(admin.disable_analyst, service.control, name, actor=caller.name)))


@router.post("/analysts/{name}/enable", summary="Enable an analyst", responses=problems(404, 422))
async def enable(name: Name, caller: Caller, services: Services) -> wire_admin.AnalystInfo:
    """Admit an analyst again."""
    service, threads = services
    return _analyst(await threads.control(partial(admin.enable_analyst, service.control, name, actor=caller.name)))


@router.post("/analysts/{name}/resume", summary="Clear a suspension", responses=_BODY | problems(404, 409))
async def resume(name: Name, body: wire_admin.ResumeRequest, caller: Caller, services: Services) -> wire.Budget:
    """Let an analyst who was suspended after a failure ask again on a dataset."""
    service, threads = services

    def clear() -> wire.Budget:
        admin.clear_suspension(service.control, body.dataset, name, actor=caller.name, reason=body.reason)
        (found,) = admin.list_budgets(service.control, body.dataset, name, catalogue=service.catalogue)
        return found

    return await threads.control(clear)


@router.get("/tokens", summary="List issued tokens", responses=problems(422))
async def list_tokens(
    services: Services, name: Annotated[str | None, Query(max_length=200)] = None
) -> list[wire_admin.TokenInfo]:
    """List issued tokens, never their texts."""
    service, threads = services
    found = await threads.control(partial(admin.list_tokens, service.control, name))
    return [wire_admin.TokenInfo(**_token(each)) for each in found]


@router.post("/tokens", status_code=201, summary="Issue a token", responses=_BODY | problems(404, 409))
async def issue_token(body: wire_admin.TokenRequest, caller: Caller, services: Services) -> wire_admin.TokenIssued:
    """Issue a token; its text is shown this once."""
    service, threads = services
    text, issued = await threads.control(
        partial(
            admin.issue_token,
            service.control,
            service.settings,
            service.key,
            body.name,
            body.role,
            actor=caller.name,
            seconds=body.seconds,
            kind=body.kind,
        )
    )
    return wire_admin.TokenIssued(**_token(issued), token=text)


@router.delete("/tokens/{token_id}", summary="Revoke a token", responses=problems(404, 422))
async def revoke_token(
    token_id: Name,
    caller: Caller,
    services: Services,
    issuer: Annotated[str | None, Query(max_length=500, description="The identity provider, for its tokens.")] = None,
) -> wire.Status:
    """Refuse a token from the next request on."""
    service, threads = services
    revoke = partial(admin.revoke_token, service.control, service.settings, token_id, actor=caller.name, issuer=issuer)
    await threads.control(revoke)
    return wire.Status()


@router.get("/budgets", summary="List grants", responses=problems(422))
async def budgets(
    services: Services,
    dataset: Annotated[str | None, Query(max_length=200)] = None,
    analyst: Annotated[str | None, Query(max_length=200)] = None,
) -> list[wire.Budget]:
    """List what was granted, is spent and remains."""
    service, threads = services
    return await threads.control(
        partial(admin.list_budgets, service.control, dataset, analyst, catalogue=service.catalogue)
    )


@router.put("/budgets", summary="Grant a budget", responses=_BODY | problems(404))
async def set_budget(body: wire_admin.BudgetRequest, caller: Caller, services: Services) -> wire.Budget:
    """Grant an analyst a budget on a dataset, in place of an earlier one; what is spent stays spent."""
    service, threads = services
    grant = partial(
        admin.set_budget,
        service.control,
        body.dataset,
        body.analyst,
        epsilon=body.epsilon,
        delta=body.delta,
        gaussian=body.gaussian,
        actor=caller.name,
        reason=body.reason,
    )
    return await threads.control(grant)


@router.get("/ledger", summary="Read the ledger", responses=problems(422))
async def ledger(
    services: Services,
    dataset: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[wire_admin.LedgerEntry]:
    """Read the facts of a dataset, or of each, in the order of their chain: so many after a number."""
    service, threads = services
    found = await threads.control(partial(admin.list_entries, service.control, dataset, after=after, limit=limit))
    return [_entry(each) for each in found]


@router.get("/ledger/verify", summary="Verify the ledger", responses=problems(422))
async def verify(
    services: Services, dataset: Annotated[str | None, Query(min_length=1, max_length=200)] = None
) -> wire_admin.LedgerReport:
    """Fold the ledger anew, and name the first row of each dataset that is wrong."""
    service, threads = services
    report = await threads.control(partial(admin.verify_ledger, service.control, dataset))
    faults = [each.fault for each in report.datasets if each.fault is not None]
    return wire_admin.LedgerReport(
        ok=report.ok,
        facts={each.dataset: each.facts for each in report.datasets},
        faults=[
            wire_admin.LedgerFault(dataset=fault.dataset, kind=fault.kind, row=fault.row, problem=fault.problem)
            for fault in faults
        ],
        missing_triggers=list(report.missing_triggers),
    )


async def _apply(request: Request, actor: str, services: Services, name: str | None) -> wire_admin.DatasetAdmin:
    service, threads = services
    try:
        source = (await request.body()).decode()
    except UnicodeDecodeError:
        raise HttpError(400, "json-invalid", hint="A policy is UTF-8 text.") from None
    return _dataset(await threads.control(partial(_applied, service, source, actor, name)))


def _applied(service: Service, source: str, actor: str, name: str | None) -> DatasetRecord:
    return admin.apply_dataset(
        service.control, service.settings, source, actor=actor, opener=service.engines.get, name=name
    )


def _dataset(record: DatasetRecord) -> wire_admin.DatasetAdmin:
    return wire_admin.DatasetAdmin(
        name=record.name,
        version=record.version,
        data_version=record.data_version,
        engine=record.engine,
        applied_at=iso(record.at),
        applied_by=record.actor,
        policy=record.source,
        info=record.info,
        files_changed=record.files_changed,
    )


def _analyst(record: principals.Record) -> wire_admin.AnalystInfo:
    return wire_admin.AnalystInfo(
        name=record.name, role=record.role, disabled=record.disabled, created_at=iso(record.created_at)
    )


def _token(issued: tokens.Issued) -> dict[str, Any]:
    return {
        "id": issued.id,
        "kind": issued.kind,
        "name": issued.principal,
        "role": issued.role,
        "created_at": iso(issued.created_at),
        "expires_at": iso(issued.expires_at),
        "issued_by": issued.actor,
        "revoked": issued.revoked,
    }


def _entry(entry: entries.Entry) -> wire_admin.LedgerEntry:
    says = {name: value.hex() if isinstance(value, bytes) else value for name, value in entry.says.items()}
    return wire_admin.LedgerEntry(
        dataset=entry.dataset, seq=entry.seq, at=iso(entry.at), kind=entry.kind, hash=entry.hash.hex(), says=says
    )
