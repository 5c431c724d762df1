"""What commands print as JSON: the same models as over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway import wire_admin

if TYPE_CHECKING:
    from budget.entries import Entry
    from budget.verify import Report
    from gateway.admin import DatasetRecord
    from gateway.store.principals import Record


def dataset(record: DatasetRecord) -> wire_admin.DatasetAdmin:
    """Return a dataset as admins see it."""
    return wire_admin.DatasetAdmin(
        name=record.name,
        version=record.version,
        data_version=record.data_version,
        engine=record.engine,
        applied_at=when(record.at),
        applied_by=record.actor,
        policy=record.source,
        info=record.info,
        files_changed=record.files_changed,
    )


def principal(record: Record) -> wire_admin.AnalystInfo:
    """Return an analyst or admin."""
    return wire_admin.AnalystInfo(
        name=record.name, role=record.role, disabled=record.disabled, created_at=when(record.created_at)
    )


def entry(fact: Entry) -> wire_admin.LedgerEntry:
    """Return one fact of the ledger."""
    says = {name: value.hex() if isinstance(value, bytes) else value for name, value in fact.says.items()}
    return wire_admin.LedgerEntry(
        dataset=fact.dataset, seq=fact.seq, at=when(fact.at), kind=fact.kind, hash=fact.hash.hex(), says=says
    )


def report(found: Report) -> wire_admin.LedgerReport:
    """Return what verifying the ledger found."""
    faults = [each.fault for each in found.datasets if each.fault is not None]
    return wire_admin.LedgerReport(
        ok=found.ok,
        facts={each.dataset: each.facts for each in found.datasets},
        faults=[
            wire_admin.LedgerFault(dataset=fault.dataset, kind=fault.kind, row=fault.row, problem=fault.problem)
            for fault in faults
        ],
        missing_triggers=list(found.missing_triggers),
    )


def when(microseconds: int) -> str:
    """Return a time of the control database (ISO 8601, UTC)."""
    return f"{datetime.fromtimestamp(microseconds // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
