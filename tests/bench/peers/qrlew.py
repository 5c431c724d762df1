"""Qrlew as a peer: ``python -m tests.bench.peers.qrlew``, in the peers' environment.

It splits what is typed evenly and calibrates each Gaussian by the classical bound, which costs less than is typed; so
more is typed, as much as makes what its SQL draws cost the total exactly, which favours it. Its SQL draws all noise in
one stage over one exact aggregation, which is asked once and then read as often as noise is drawn.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from statistics import NormalDist

import sqlalchemy as sa
from pyqrlew import Dataset, Dialect

from tests.bench.peers.asked import (
    DELTA,
    EPSILON,
    GROUPS,
    LOWER,
    UPPER,
    Answered,
    Asked,
    Shape,
    answering,
    collected,
    largest,
)


def answer(asked: Asked, shape: Shape) -> Answered:
    """Answer one question."""
    engine = sa.create_engine(f"postgresql+psycopg2://postgres@/{asked.database}?host={asked.host}")
    try:
        dataset = Dataset.from_database("bench", engine, None)
        dataset = dataset.with_range(None, asked.table, "x", LOWER, UPPER)
        dataset = dataset.with_possible_values(None, asked.table, "g", list(GROUPS))
        relation = dataset.relation(shape.sql(asked.table, "VARIANCE"), Dialect.PostgreSql)

        def rewritten(epsilon: float) -> str:
            price = {"epsilon": epsilon, "delta": DELTA}
            owner: list[tuple[str, list[str], str]] = [(asked.table, [], "owner")]
            found = relation.rewrite_with_differential_privacy(
                dataset, owner, price, float(asked.rows), 1.0, len(GROUPS)
            )
            return str(found.relation().to_query(Dialect.PostgreSql))

        typed = largest(lambda epsilon: delta_of(multipliers(rewritten(epsilon), asked.rows)), DELTA)
        with engine.connect() as connection:
            began = time.perf_counter()
            exact, drawing = split(rewritten(typed))
            connection.execute(sa.text(f"CREATE TEMPORARY TABLE exact_rows AS {exact}"))
            connection.execute(sa.text(drawing), {"draws": 1}).all()
            seconds = time.perf_counter() - began
            rows = connection.execute(sa.text(drawing), {"draws": asked.draws}).all()
            connection.execute(sa.text("DROP TABLE exact_rows"))
    finally:
        engine.dispose()
    return Answered(shape.name, seconds, f"typed {typed:.4g}", collected(shape, rows))


def multipliers(sql: str, rows: int) -> Iterator[float]:
    """Yield the deviation of each noise that a statement draws, over what one owner adds at most to what it is on."""
    widest = max(abs(LOWER), abs(UPPER))
    most = {"COUNT": 1.0, "SUM": widest, "SUM_SQUARE": widest * widest}
    found = re.findall(r'COALESCE\("_([A-Z_]+?)_field[^"]*", 0\)\) \+ \(\(([0-9.]+)\) \* \(\(SQRT', sql)
    if len(found) != sql.count("LN(RANDOM())"):
        raise ValueError("noise is drawn in another way")
    for name, deviation in found:
        yield float(deviation) / (rows * most[name])


def delta_of(found: Iterable[float]) -> float:
    """Return the delta at epsilon, exactly: composed Gaussians are one, whose inverse multiplier is the root of sums.

    Dong, Roth, Su, "Gaussian differential privacy" (2022), corollaries 2.13 and 3.3.
    """
    mu = math.sqrt(sum(multiplier**-2 for multiplier in found))
    law = NormalDist()
    return law.cdf(mu / 2 - EPSILON / mu) - math.exp(EPSILON) * law.cdf(-mu / 2 - EPSILON / mu)


def split(sql: str) -> tuple[str, str]:
    """Return the statement of the exact aggregates, and that which draws noise over as many copies of them."""
    noise = sql.index("LN(RANDOM())")
    stage = max(found.start() for found in re.finditer(r', "[a-z_0-9]+" \(', sql) if found.start() < noise)
    source = re.search(r'FROM ("reduce_[^"]+")\)', sql[noise:])
    if source is None or "RANDOM()" in sql[:stage]:
        raise ValueError("noise is drawn in another way")
    copies = "SELECT e.* FROM exact_rows e, generate_series(1, :draws)"
    return f"{sql[:stage]} SELECT * FROM {source[1]}", f"WITH {source[1]} AS ({copies}){sql[stage:]}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answering(answer)
