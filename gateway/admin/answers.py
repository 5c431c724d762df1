"""Stored answers, as an admin ends them: noisy tables are deleted, charges and the ledger's chain stay."""

from __future__ import annotations

import time

from sqlalchemy import Engine

from budget import payloads, records
from gateway.catalogue import unknown
from gateway.errors import NotFound, RequestInvalid
from gateway.store import acts, policies

SECOND = 1_000_000
RETENTION = "retention"
"""The actor of what the setting ``answers_days`` deletes."""


def delete_answers(
    control: Engine,
    dataset: str,
    *,
    actor: str,
    older_than: int | None = None,
    below_version: int | None = None,
    query: str | None = None,
) -> int:
    """Delete stored answers of a dataset and return how many: charged more than ``older_than`` seconds ago, or of data
    versions below one, or that of one query.

    What was bought of one that is deleted goes with it. A query that still runs is left alone.
    """
    if sum(chosen is not None for chosen in (older_than, below_version, query)) != 1:
        raise RequestInvalid(
            "request-invalid", "Say which answers: older than a time, of earlier data, or one query's."
        )
    with control.begin() as conn:
        if "\0" in dataset or policies.current(conn, dataset) is None:
            raise unknown(dataset)
        if query is not None:
            found = records.find(conn, query)
            if found is None or found.charge.dataset != dataset:
                raise NotFound("query-unknown", "There is no such query on this dataset.")
            chosen = [found.charge.source or query]
        else:
            before = None if older_than is None else time.time_ns() // 1000 - older_than * SECOND
            chosen = payloads.kept(conn, dataset, before=before, below_version=below_version)
        deleted = payloads.remove(conn, chosen)
        if deleted:
            acts.note(conn, actor, "answers-delete", dataset, f"{deleted} of {dataset}")
    return deleted


def expire_answers(control: Engine, days: int | None) -> int:
    """Delete the stored answers of all datasets that are older than the retention, and return how many."""
    if days is None:
        return 0
    with control.begin() as conn:
        names = policies.names(conn)
    return sum(delete_answers(control, name, actor=RETENTION, older_than=days * 86_400) for name in names)
