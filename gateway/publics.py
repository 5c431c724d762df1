"""Rows of public tables, read as they are: for an answer over public tables alone, or beside released ones.

Nothing here is charged or stored: anybody may see these rows, and a retry reads them as they are then.
"""

from __future__ import annotations

import pyarrow as pa

from gateway.engines.base import EngineUnavailable, Limits
from gateway.policy.model import Dataset
from gateway.service import Service
from gateway.sql.planning.plan import Plan


class PublicTooLarge(Exception):
    """A public table has more rows than are read of one."""


def fetch(service: Service, dataset: Dataset, plan: Plan) -> list[pa.Table]:
    """Return what each of the plan's public reads gives; ``EngineError`` or ``PublicTooLarge`` where one fails."""
    if not plan.publics:
        return []
    known = dict(dataset.shapes)
    limits = Limits(service.settings.statement_seconds)
    with service.engine(dataset).session(limits) as session:
        found = session.schema([table for read in plan.publics for table in read.tables])
        for read in plan.publics:
            if any(found.get(table) != known.get(table) for table in read.tables):
                raise EngineUnavailable("a public table is no longer as it was when the policy was applied")
        tables = [session.fetch(read.sql) for read in plan.publics]
    if not plan.whole and any(table.num_rows > service.settings.public_rows for table in tables):
        raise PublicTooLarge
    return tables
