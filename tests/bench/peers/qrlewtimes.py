"""Qrlew's time: ``python -m tests.bench.peers.qrlewtimes``, in the peers' environment.

Its rewriting and the statement that it writes, noise included. It cannot be told that the values of a column of whole
numbers are public, so that it looks for them with a threshold, which few rows do not pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from pyqrlew import Dataset, Dialect

from tests.bench.peers.lines import DELTA, EPSILON, LOWER, UPPER, Ask, Line, Server, timing


def ways(server: Server, line: Line) -> Iterator[tuple[str, Callable[[], Ask]]]:
    """Yield the one way of asking a question."""
    yield "Qrlew", lambda: asking(server, line)


def asking(server: Server, line: Line) -> Ask:
    """Return what rewrites the question and runs it on one connection; the tables' shape is read beforehand."""
    engine = sa.create_engine(f"postgresql+psycopg2://postgres@/{server.database}?host={server.host}")
    dataset = Dataset.from_database("bench", engine, None)
    dataset = dataset.with_range(None, line.table, "amount", LOWER, UPPER)
    dataset = dataset.with_range(None, line.table, line.key, 0, line.keys - 1)
    connection = engine.connect()
    # A statement of ten minutes is not waited for.
    connection.execute(sa.text("SET statement_timeout = '600s'"))
    connection.commit()
    owner: list[tuple[str, list[str], str]] = [(line.table, [], "owner_id")]
    price = {"epsilon": EPSILON, "delta": DELTA}

    def ask() -> object:
        relation = dataset.relation(line.sql, Dialect.PostgreSql)
        groups = min(line.rows, line.keys)
        found = relation.rewrite_with_differential_privacy(dataset, owner, price, float(line.rows), 1.0, groups)
        sql = str(found.relation().to_query(Dialect.PostgreSql))
        with connection.begin():
            return connection.execute(sa.text(sql)).all()

    return ask


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    timing(ways)
