"""SmartNoise SQL's time: ``python -m tests.bench.peers.snsqltimes``, in the peers' environment.

Privacy is the owner's (``row_privacy`` off, ``max_ids`` rows an owner); keys are public (``censor_dims`` off). It keeps
to ``max_ids`` by sampling rows. Where an owner has one row by a primary key, it is also asked without
(``sample_max_ids`` off), as its documentation allows where the data are known to keep to it by themselves: nothing
holds them to it then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import psycopg2
from snsql import Privacy, from_connection

from tests.bench.peers.lines import DELTA, EPSILON, LOWER, UPPER, Ask, Line, Server, timing


def ways(server: Server, line: Line) -> Iterator[tuple[str, Callable[[], Ask]]]:
    """Yield the ways of asking a question."""
    yield "SmartNoise", lambda: asking(server, line, sampled=True)
    if line.rows == 1:
        yield "SmartNoise, unenforced", lambda: asking(server, line, sampled=False)


def asking(server: Server, line: Line, *, sampled: bool) -> Ask:
    """Return what asks the question on one connection: parsing, rewriting, the database's part and noise."""
    columns = {
        "max_ids": line.rows,
        "row_privacy": False,
        "sample_max_ids": sampled,
        "censor_dims": False,
        "clamp_counts": False,
        "clamp_columns": True,
        "use_dpsu": False,
        "owner_id": {"type": "int", "private_id": True},
        "few": {"type": "int"},
        "many": {"type": "int"},
        "amount": {"type": "float", "lower": LOWER, "upper": UPPER},
    }
    metadata = {"": {"public": {line.table: columns}}}
    sql = line.sql.replace(f"FROM {line.table}", f"FROM public.{line.table}")
    connection = psycopg2.connect(host=server.host, dbname=server.database, user="postgres")
    privacy = Privacy(epsilon=EPSILON, delta=DELTA)
    reader = from_connection(connection, privacy=privacy, metadata=metadata, engine="postgres")
    return lambda: reader.execute(sql)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    timing(ways)
