"""Reading and checking the ledger and the list of acts."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from budget import entries, records, report, verify
from budget import heads as chains
from gateway import export
from gateway.auth.keys import SigningKey
from gateway.errors import Conflict, RequestInvalid
from gateway.settings import Settings
from gateway.store import acts
from gateway.store.engine import reader
from gateway.watch import heads


def list_entries(control: Engine, dataset: str | None, *, after: int = 0, limit: int = 1000) -> list[entries.Entry]:
    """Return up to ``limit`` facts of a dataset that follow the one numbered ``after``, in the order of their chain.

    Without a dataset, of each one: chains are numbered apart, and stand by name.
    """
    with reader(control).connect() as conn:
        names = entries.datasets(conn) if dataset is None else [dataset]
        found = [entries.entries(conn, name, after=after, limit=limit) for name in names]
    return [entry for each in found for entry in each]


def verify_ledger(control: Engine, dataset: str | None = None) -> verify.Report:
    """Fold the whole ledger anew, check its hashes, sums and triggers, and name the first row that is wrong."""
    with reader(control).connect() as conn:
        return verify.verify(conn, dataset, conn.rollback)


def list_published(control: Engine, dataset: str) -> list[records.Record]:
    """Return a dataset's public loss: what admins bought from its cap for everybody."""
    with reader(control).connect() as conn:
        return records.published(conn, dataset)


def report_ledger(control: Engine, dataset: str | None = None) -> list[report.Account]:
    """Account what every scope has spent in all anew, by tighter means; ``AccountingMissing`` without the extra."""
    with reader(control).connect() as conn:
        return report.report(conn, dataset)


def export_ledger(control: Engine, path: Path, form: export.Format, dataset: str | None = None) -> int:
    """Write the ledger's facts to a new file and return how many there are; ``FileExistsError``."""
    with reader(control).connect() as conn:
        return export.write(conn, path, form, dataset, conn.rollback)


def sign_head(control: Engine, key: SigningKey) -> heads.SignedHeads:
    """Return the heads of all chains as they stand now, signed."""
    with reader(control).connect() as conn:
        return heads.sign(conn, key)


def compare_head(control: Engine, signed: heads.SignedHeads) -> list[str]:
    """Return, in words, where the ledger does not continue the one whose head was signed; empty if it does."""
    with reader(control).connect() as conn:
        return [heads.told(each) for each in chains.behind(conn, signed.heads)]


def acknowledge_ledger(
    control: Engine, settings: Settings, key: SigningKey, dataset: str, *, actor: str, reason: str
) -> str:
    """Note that a dataset is served although its ledger is behind its signed head, and return what was behind.

    A gateway that is running sees it when it next looks (``gateway/watch/readiness.py``).
    """
    if not (1 <= len(reason) <= 1000 and reason.isprintable()):
        raise RequestInvalid("reason-invalid", "A reason has at most 1000 printable characters.")
    try:
        signed = heads.load(settings.ledger_head_file, key.public)
    except heads.HeadInvalid as error:
        raise Conflict("head-invalid", f"The ledger's signed head cannot be compared: {error}.") from None
    with control.begin() as conn:
        found = () if signed is None else chains.behind(conn, signed.heads)
        behind = [each for each in found if each.signed.dataset == dataset]
        if not behind:
            raise Conflict("no-change", "That is so already.")
        chains.acknowledge(conn, behind[0], actor=actor, reason=reason)
        acts.note(conn, actor, "ledger-acknowledge", dataset, dataset)
    return heads.told(behind[0])


def list_acts(control: Engine, limit: int = 100) -> list[acts.Act]:
    """Return what admins did, newest first."""
    with reader(control).connect() as conn:
        return acts.listed(conn, limit)
