"""SmartNoise SQL as a peer: ``python -m tests.bench.peers.smartnoise``, in the peers' environment.

It prices each count and each sum on its own, so that what is typed is what makes the whole cost the total. The exact
aggregates are asked once of the database, and given to it as often as noise is drawn (``pre_aggregated``): no owner has
more rows than it keeps, so that no row is sampled away and all its error is its noise.
"""

from __future__ import annotations

import time
import warnings

import psycopg2
from snsql import Privacy, from_connection

from tests.bench.peers.asked import DELTA, EPSILON, LOWER, UPPER, Answered, Asked, Shape, answering, collected


def answer(asked: Asked, shape: Shape) -> Answered:
    """Answer one question."""
    columns = {
        "max_ids": asked.rows,
        "row_privacy": False,
        "sample_max_ids": True,
        "censor_dims": False,
        "clamp_counts": True,
        "clamp_columns": True,
        "use_dpsu": False,
        "owner": {"type": "int", "private_id": True},
        "x": {"type": "float", "lower": LOWER, "upper": UPPER},
        "g": {"type": "string"},
    }
    metadata = {"": {"public": {asked.table: columns}}}
    sql = shape.sql(f"public.{asked.table}", "VAR")
    connection = psycopg2.connect(host=asked.host, dbname=asked.database, user="postgres")

    def reader(epsilon: float):  # type: ignore[no-untyped-def]
        privacy = Privacy(epsilon=epsilon, delta=DELTA)
        return from_connection(connection, privacy=privacy, metadata=metadata, engine="postgres")

    try:
        # What it lists at a typed epsilon of 1 is how often it charges what is typed: Laplace, which adds up.
        charged = sum(cost[0] for cost in reader(1.0)._get_mechanism_costs(sql) if cost)
        found = reader(EPSILON / charged)
        began = time.perf_counter()
        exact = [tuple(row) for row in found.reader._execute_ast(found._rewrite(sql)[0])]
        found.execute(sql, pre_aggregated=exact)
        seconds = time.perf_counter() - began
        drawn = found.execute(sql, pre_aggregated=[exact[0], *exact[1:] * asked.draws])
    finally:
        connection.close()
    return Answered(shape.name, seconds, f"{charged:.0f} × {EPSILON / charged:.4g}", collected(shape, drawn[1:]))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answering(answer)
