"""The measurements: planning, whole requests against plain SQL, and charges of the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from itertools import count
from statistics import median

from budget import ledger
from gateway import price, query, wire
from gateway.sql.compile import compile_query
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import Loss
from tests.bench.figures import BLOCKS, Figure, Work, figure, interleaved, ratios
from tests.bench.world import ASKER, World
from tests.tpch import world as tpch
from tests.tpch.status import status

GROUPED = "SELECT bucket, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM {} GROUP BY bucket"
FLAT = "SELECT COUNT(*) AS n FROM {}"
SHAPES = {"flat": FLAT, "32 groups": GROUPED}
PLANS = 20
CHARGES = 50


def planning(world: World) -> Iterator[Figure]:
    """Yield milliseconds from text to plan: at prices never seen, and at one whose noise is calibrated already."""
    prices = count(100_000)

    def plan(sql: str, epsilon: float) -> None:
        request = wire.QueryRequest(sql=sql, dataset="bench", epsilon=epsilon)
        compile_query(
            price.question(request, world.dataset, world.service.settings, gaussian=False, at=datetime.now(UTC)),
            world.dataset,
        )

    def several(sql: str, *, fresh: bool) -> None:
        for _ in range(PLANS):
            plan(sql, next(prices) * 1e-6 if fresh else 0.05)

    works = {
        f"plan, {shape}, {kind}": partial(several, sql.format("single"), fresh=kind == "first at its price")
        for shape, sql in SHAPES.items()
        for kind in ("first at its price", "price seen before")
    }
    for name, seconds in interleaved(works).items():
        yield figure(name, "ms", [each / PLANS * 1000 for each in seconds])


def kept(world: World) -> Iterator[Figure]:
    """Yield milliseconds from request to plan where the same question was planned before."""
    settings, plans = world.service.settings, world.service.plans

    def again(sql: str) -> None:
        for _ in range(PLANS):
            request = wire.QueryRequest(sql=sql, dataset="bench", epsilon=0.05)
            plans.get(
                price.question(request, world.dataset, settings, gaussian=False, at=datetime.now(UTC)), world.dataset
            )

    works = {f"plan, {shape}, kept": partial(again, sql.format("single")) for shape, sql in SHAPES.items()}
    for name, seconds in interleaved(works).items():
        yield figure(name, "ms", [each / PLANS * 1000 for each in seconds])


def standard(_: World) -> Iterator[Figure]:
    """Yield milliseconds from text to plan of the TPC-H query that takes longest, of those that are planned."""
    works = {name: partial(tpch.planned, name) for name in tpch.QUERIES if status(name).planned}
    if works:
        found = interleaved(works, BLOCKS - 2)
        longest = max(found, key=lambda name: median(found[name]))
        yield figure(f"plan, TPC-H {longest}", "ms", [each * 1000 for each in found[longest]])


def requests(world: World) -> Iterator[Figure]:
    """Yield how long whole requests take, and how many times as long as the same SQL without any protection."""
    tables = {"one row an owner": "single", "five rows an owner": "several"}
    for kind, table in tables.items():
        sql = GROUPED.format(table)
        found = interleaved({"plain": partial(world.plain, sql), "whole": partial(world.ask, sql)})
        yield figure(f"plain SQL, {kind}", "ms", [each * 1000 for each in found["plain"]])
        yield figure(f"whole request, {kind}", "ms", [each * 1000 for each in found["whole"]])
        yield ratios(f"whole request to plain SQL, {kind}", found["whole"], found["plain"])


def charging(world: World) -> Iterator[Figure]:
    """Yield charges per second, each in a durable transaction of its own, with and without an outcome."""
    request = partial(
        ledger.ChargeRequest,
        dataset="bench",
        analyst=ASKER.name,
        loss=Loss(1000, rho_of_pure(1000), 0),
        price=1000,
        request_hash=sha256(b"bench").digest(),
        plan_fingerprint="bench",
        policy_version=1,
        data_version=1,
        mechanism=json.dumps({}),
        process=world.service.process.id,
    )

    def charge(*, settled: bool) -> None:
        made = request()
        with world.service.control.begin() as conn:
            ledger.charge(conn, made)
        if settled:
            with world.service.control.begin() as conn:
                ledger.settle(conn, made.id, "answered", b"{}")

    def alone(*, settled: bool) -> None:
        for _ in range(CHARGES):
            charge(settled=settled)

    def together() -> None:
        list(pool.map(lambda _: charge(settled=False), range(CHARGES)))

    with ThreadPoolExecutor(8) as pool:
        works: dict[str, Work] = {
            "charges, one after the other": partial(alone, settled=False),
            "charges with outcomes, one after the other": partial(alone, settled=True),
            "charges, eight at a time": together,
        }
        for name, seconds in interleaved(works, BLOCKS - 2).items():
            yield figure(name, "/s", [CHARGES / each for each in seconds])


def small(world: World) -> Iterator[Figure]:
    """Yield what a request costs beside its data: a count over a table, whole and answered from what is stored."""
    sql = FLAT.format("single")
    stored = wire.QueryRequest(sql=sql, dataset="bench", epsilon=0.02)

    def again() -> None:
        query.answer(world.service, ASKER, stored, None)

    seconds = interleaved({"fresh": partial(world.ask, sql), "stored": again})
    yield figure("whole request, one count", "ms", [each * 1000 for each in seconds["fresh"]])
    yield figure("whole request, answered before", "ms", [each * 1000 for each in seconds["stored"]])


MEASUREMENTS = (planning, kept, standard, requests, small, charging)
