"""The ledger beside a small reference model, driven by hypothesis: they never differ."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine

from budget import balance, grants, ledger, records, suspensions
from budget.errors import (
    BudgetExhausted,
    GaussianRefused,
    GrantExpired,
    GrantPaused,
    KeyReused,
    NoChange,
    NoGrant,
    NotForSale,
    NotRefundable,
    NotSuspended,
    Suspended,
)
from budget.grants import Grant
from budget.standing import Standing
from budget.verify import verify
from gateway.store import migrate
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_epsilon
from mechanisms.loss import Loss
from tests.budget.clock import Clock, instant
from tests.budget.ledgers import DELTA, EPSILON, pure, request

ANALYSTS = ("ann", "bob", "eve")
PROCESSES = ("a" * 32, "b" * 32, "c" * 32)
PROJECT = "project:study"
SCOPES = ("cap", "analyst:ann", "analyst:bob", "analyst:eve", PROJECT)
DAY = 86_400 * 10**6
BEGUN = instant("2026-01-01T12:00")

amounts = st.sampled_from([EPSILON // 100, 1, 0, EPSILON // 2, EPSILON, 2 * EPSILON])
grant_values = st.builds(
    Grant,
    st.sampled_from([20 * EPSILON, 5 * EPSILON, 2 * EPSILON, EPSILON, 1, 0]),
    st.sampled_from([DELTA, 0]),
    st.booleans(),
    st.sampled_from([None, None, None, EPSILON // 2]),
)
ends = st.sampled_from([None, None, None, BEGUN + 2 * DAY, BEGUN])
losses = st.builds(pure, amounts, st.sampled_from([0, 0, DELTA // 4, DELTA])) | st.just(Loss(None, 10**10))


@cache
def _migrated() -> bytes:
    """An empty control database, made once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "control.sqlite"
        engine = control_engine(f"sqlite:///{path}", create=True)
        migrate.upgrade(engine)
        engine.dispose()
        return path.read_bytes()


CLOCK = Clock("2026-01-01T12:00")


class LedgerMachine(RuleBasedStateMachine):
    """The model keeps lists of what stands and adds them up anew for each question."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.grants: dict[str, Grant] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.suspended: set[str] = set()
        self.dead = {PROCESSES[0]}
        self.now, self.last = BEGUN, 0
        self.paused: set[str] = set()
        self.members: set[str] = set()
        self.counted: dict[str, set[str]] = {}  # by scope: what its window in force counts
        self.day: dict[str, int] = {}
        self.most: dict[str, tuple[int, int]] = {}  # by scope: the largest epsilon and delta ever in force
        self.looks_back: set[str] = set()  # scopes whose sums, since a grant for life, are those of several windows

    @property
    def time(self) -> int:
        return max(self.now, self.last)

    def act(self) -> Any:
        """A transaction at the model's time."""
        CLOCK.now = self.now
        return self.engine.begin()

    def done(self) -> None:
        """A fact was written: time does not run back behind it."""
        self.last = self.time

    def renewed(self, scope: str) -> bool:
        """A window that began since the last charge or grant counts nothing yet."""
        return self.grants[scope].window is not None and self.time // DAY > self.day[scope]

    def renew(self, scope: str) -> None:
        if self.renewed(scope):
            self.counted[scope], self.day[scope] = set(), self.time // DAY
            self.looks_back.discard(scope)

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "control.sqlite"
        path.write_bytes(_migrated())
        self.engine = control_engine(f"sqlite:///{path}")
        # Eve begins without a grant; the others can charge from the start, so that there is something to settle.
        self.set("cap", Grant(20 * EPSILON, DELTA, gaussian=True))
        self.set("analyst:ann", Grant(8 * EPSILON, DELTA, gaussian=True, window="daily", timezone="UTC"))
        self.set("analyst:bob", Grant(8 * EPSILON, DELTA))

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            with self.engine.begin() as conn:
                report = verify(conn)
                assert report.ok, report
            self.engine.dispose()
            self.folder.cleanup()

    def fits(self, scope: str, loss: Loss) -> bool:
        paid: list[Loss] = [*(each["loss"] for each in self.paying(scope)), loss]
        grant = self.grants[scope]
        if grant.max_epsilon is not None and max(request(loss).price, loss.epsilon or 0) > grant.max_epsilon:
            return False
        if sum(each.delta for each in paid) > grant.delta - grant.delta // 2:
            return False
        is_pure = all(each.epsilon is not None for each in paid)
        if is_pure and sum(each.epsilon or 0 for each in paid) <= grant.epsilon:
            return True
        return sum(each.rho for each in paid) <= rho_of_epsilon(grant.epsilon, grant.delta // 2)

    def paying(self, scope: str) -> list[dict[str, Any]]:
        """What counts in the window in force now."""
        counted = set() if self.renewed(scope) else self.counted[scope]
        return [each for each in self.ever(scope) if each["id"] in counted]

    def ever(self, scope: str) -> list[dict[str, Any]]:
        return [each for each in self.charges.values() if each["status"] != "void" and scope in each["scopes"]]

    def scopes(self, analyst: str) -> list[str]:
        return sorted(["cap", f"analyst:{analyst}", *([PROJECT] if analyst in self.members else [])])

    def expected(self, analyst: str, loss: Loss, key: str | None, body: str) -> Any:
        """The error that is due, the id of the charge to be given again, or None for a fresh charge."""
        scopes = self.scopes(analyst)
        mine = [each for each in self.charges.values() if key and (each["analyst"], each["key"]) == (analyst, key)]
        if mine and mine[-1]["body"] != body:
            return KeyReused
        if mine and mine[-1]["status"] != "void":
            return Suspended if analyst in self.suspended and mine[-1]["status"] != "failed" else mine[-1]["id"]
        if any(scope not in self.grants for scope in scopes):
            return NoGrant
        if analyst in self.suspended:
            return Suspended
        for scope in scopes:
            if scope in self.paused:
                return GrantPaused
            if (self.grants[scope].expires or self.time + 1) <= self.time:
                return GrantExpired
        if loss.epsilon is None and not all(self.grants[scope].gaussian for scope in scopes):
            return GaussianRefused
        return None if all(self.fits(scope, loss) for scope in scopes) else BudgetExhausted

    @rule(scope=st.sampled_from(SCOPES), grant=grant_values, daily=st.booleans(), expires=ends)
    def grant(self, scope: str, grant: Grant, daily: bool, expires: int | None) -> None:
        window: Any = {"window": "daily", "timezone": "UTC"} if daily else {}
        self.set(scope, replace(grant, expires=expires, **window))

    def set(self, scope: str, grant: Grant) -> None:
        with self.act() as conn:
            grants.set_scope(conn, "health", scope, grant, actor="root")
        if scope in self.grants:
            self.renew(scope)
        before, self.grants[scope] = self.grants.get(scope), grant
        most = self.most.get(scope, (0, 0))
        self.most[scope] = max(most[0], grant.epsilon), max(most[1], grant.delta)
        if before is not None and before.window is not None and grant.window is None:
            self.looks_back.add(scope)
        self.counted.setdefault(scope, set())
        self.day[scope] = self.time // DAY
        if grant.window is None:
            self.counted[scope] = {each["id"] for each in self.charges.values() if scope in each["scopes"]}
        self.done()

    @rule(hours=st.sampled_from([-30, -1, 1, 11, 25, 80]))
    def jump(self, hours: int) -> None:
        self.now = max(BEGUN, self.now + hours * DAY // 24)

    @rule(scope=st.sampled_from(SCOPES), pause=st.booleans())
    def pause(self, scope: str, pause: bool) -> None:
        due: type[Exception] | None = NoGrant if scope not in self.grants else None
        if due is None and (scope in self.paused) == pause:
            due = NoChange
        if self.tried(grants.suspend if pause else grants.resume, due, scope):
            self.renew(scope)
            self.day[scope] = self.time // DAY
            (self.paused.add if pause else self.paused.discard)(scope)
            self.done()

    @rule(analyst=st.sampled_from(ANALYSTS), join=st.booleans())
    def member(self, analyst: str, join: bool) -> None:
        due: type[Exception] | None = NoGrant if PROJECT not in self.grants else None
        if due is None and (analyst in self.members) == join:
            due = NoChange
        if self.tried(grants.join if join else grants.leave, due, "study", analyst):
            (self.members.add if join else self.members.discard)(analyst)
            self.done()

    def tried(self, act: Any, due: type[Exception] | None, *what: str) -> bool:
        CLOCK.now = self.now
        with self.engine.connect() as conn, conn.begin() as transaction:
            if due is not None:
                with pytest.raises(due):
                    act(conn, "health", *what, actor="root")
                transaction.rollback()
                return False
            act(conn, "health", *what, actor="root")
        return True

    @rule(
        analyst=st.sampled_from(ANALYSTS),
        loss=losses,
        key=st.sampled_from([None, "k1", "k2"]),
        body=st.sampled_from(["same", "same", "other"]),
        process=st.sampled_from(PROCESSES),
    )
    def charge(self, analyst: str, loss: Loss, key: str | None, body: str, process: str) -> None:
        self.ask(analyst, loss, key, body, process)

    @rule(index=st.integers(0, 5), process=st.sampled_from(PROCESSES))
    def ask_again(self, index: int, process: str) -> None:
        charge = self.pick(index)
        if charge is not None:
            self.ask(charge["analyst"], charge["loss"], charge["key"], charge["body"], process)

    def ask(self, analyst: str, loss: Loss, key: str | None, body: str, process: str) -> None:
        asked = request(loss, analyst, idempotency_key=key, body=body, process=process)
        expected = self.expected(analyst, loss, key, body)
        CLOCK.now = self.now
        with self.engine.connect() as conn, conn.begin() as transaction:
            if isinstance(expected, type):
                with pytest.raises(expected):
                    ledger.charge(conn, asked)
                transaction.rollback()
                return
            receipt = ledger.charge(conn, asked)
        assert receipt.replayed == (expected is not None)
        assert receipt.record.charge.id == (expected or asked.id)
        if expected is None:
            for scope in self.scopes(analyst):
                self.renew(scope)
                self.counted[scope].add(asked.id)
            self.done()
            self.charges[asked.id] = {
                "id": asked.id,
                "scopes": self.scopes(analyst),
                "analyst": analyst,
                "loss": loss,
                "key": key,
                "body": body,
                "process": process,
                "retaken": None,
                "status": None,
                "payload": None,
                "source": None,
            }

    @rule(index=st.integers(0, 5), analyst=st.sampled_from(ANALYSTS))
    def buy(self, index: int, analyst: str) -> None:
        """An answer of the last charges, bought by somebody: who has paid for it pays nothing again."""
        source = self.pick(index)
        if source is None:
            return
        holds = [source, *(each for each in self.charges.values() if each["source"] == source["id"])]
        paid = frozenset(scope for each in holds for scope in each["scopes"])
        asked = request(source["loss"], analyst, source=source["id"], process=PROCESSES[1])
        due = self.due(source, analyst, paid)
        CLOCK.now = self.now
        with self.engine.connect() as conn, conn.begin() as transaction:
            if due is not None:
                with pytest.raises(due):
                    ledger.charge(conn, asked)
                transaction.rollback()
                return
            receipt = ledger.charge(conn, asked)
        mine = [each for each in holds if each["analyst"] == analyst]
        assert receipt.replayed == bool(mine)
        if mine:
            assert receipt.record.charge.id == mine[0]["id"]
            return
        payers = [scope for scope in self.scopes(analyst) if scope not in paid]
        for scope in payers:
            self.renew(scope)
            self.counted[scope].add(asked.id)
        self.done()
        same = {"loss": source["loss"], "payload": source["payload"], "status": "answered", "source": source["id"]}
        fresh = {"key": None, "body": "same", "process": PROCESSES[1], "retaken": None}
        self.charges[asked.id] = {"id": asked.id, "scopes": payers, "analyst": analyst, **same, **fresh}

    def due(self, source: dict[str, Any], analyst: str, paid: frozenset[str]) -> type[Exception] | None:
        """The error that is due when somebody buys an answer."""
        scopes = self.scopes(analyst)
        if any(scope not in self.grants for scope in scopes):
            return NoGrant
        if analyst in self.suspended:
            return Suspended
        if source["source"] or source["status"] != "answered" or source["analyst"] in self.suspended:
            return NotForSale
        if f"analyst:{analyst}" in paid:
            return None
        for scope in scopes:
            if scope in self.paused:
                return GrantPaused
            if (self.grants[scope].expires or self.time + 1) <= self.time:
                return GrantExpired
        payers = [scope for scope in scopes if scope not in paid]
        if source["loss"].epsilon is None and not all(self.grants[scope].gaussian for scope in payers):
            return GaussianRefused
        return None if all(self.fits(scope, source["loss"]) for scope in payers) else BudgetExhausted

    def pick(self, index: int) -> dict[str, Any] | None:
        held = list(self.charges.values())[::-1]
        return held[index % len(held)] if held else None

    @rule(index=st.integers(0, 5), status=st.sampled_from(["answered", "failed"]), payload=st.binary(max_size=3))
    def settle(self, index: int, status: Any, payload: bytes) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        with self.act() as conn:
            settlement = ledger.settle(conn, charge["id"], status, payload)
        assert settlement.won == (charge["status"] is None)
        assert settlement.withheld == (charge["analyst"] in self.suspended)
        if settlement.won:
            self.done()
            charge["status"], charge["payload"] = status, payload
        assert (settlement.outcome.status, settlement.outcome.payload) == (charge["status"], charge["payload"])

    @rule(index=st.integers(0, 5), process=st.sampled_from([None, *PROCESSES]))
    def void(self, index: int, process: str | None) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        process = process or charge["process"]
        due = charge["status"] is None and charge["retaken"] is None and charge["process"] == process
        CLOCK.now = self.now
        with self.engine.connect() as conn, conn.begin() as transaction:
            if not due:
                with pytest.raises(NotRefundable):
                    ledger.void(conn, charge["id"], process=process, reason="model")
                transaction.rollback()
                return
            ledger.void(conn, charge["id"], process=process, reason="model")
        charge["status"], charge["payload"] = "void", b""
        self.done()

    @rule(analyst=st.sampled_from(ANALYSTS))
    def ask_tomorrow(self, analyst: str) -> None:
        self.now += DAY
        self.ask(analyst, pure(EPSILON // 100), None, "same", PROCESSES[1])

    @rule()
    def void_what_a_window_no_longer_counts(self) -> None:
        for index, charge in enumerate(list(self.charges.values())[::-1]):
            late = any(charge["id"] not in self.counted[scope] for scope in charge["scopes"])
            if late and charge["status"] is charge["retaken"] is None:
                self.void(index, None)
                return

    @rule(process=st.sampled_from(PROCESSES))
    def die(self, process: str) -> None:
        self.dead.add(process)

    @rule(index=st.integers(0, 5), process=st.sampled_from(PROCESSES))
    def retry(self, index: int, process: str) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        with self.act() as conn:
            turn = ledger.claim_retry(conn, charge["id"], process=process, is_dead=self.dead.__contains__).turn
        if charge["status"] is not None:
            assert turn == "settled"
        elif (charge["retaken"] or charge["process"]) not in self.dead:
            assert turn == "running"
        elif charge["retaken"] is not None:
            assert turn == "lost"
        else:
            assert turn == "taken"
            charge["retaken"] = process
            self.done()

    @rule(
        analyst=st.sampled_from(ANALYSTS),
        action=st.sampled_from([suspensions.clear, suspensions.clear, suspensions.suspend]),
    )
    def suspension(self, analyst: str, action: Any) -> None:
        clearing = action is suspensions.clear
        due: type[Exception] | None = None
        if f"analyst:{analyst}" not in self.grants:
            due = NoGrant
        elif clearing and analyst not in self.suspended:
            due = NotSuspended
        if self.tried(action, due, analyst):
            self.done()
            (self.suspended.discard if clearing else self.suspended.add)(analyst)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "engine"):
            return
        with self.act() as conn:
            held = {each.scope: each for _, each in balance.all_of(conn, "health")}
            assert held.keys() == self.grants.keys()
            for scope, standing in held.items():
                paid = [each["loss"] for each in self.paying(scope)]
                assert standing.spent_epsilon == sum(each.epsilon or 0 for each in paid)
                assert standing.gaussians == sum(each.epsilon is None for each in paid)
                assert standing.spent_rho == sum(each.rho for each in paid)
                assert standing.spent_delta == sum(each.delta for each in paid)
                if scope not in self.looks_back:
                    assert kept(standing, *self.most[scope]), "more than was ever promised"
                ever = [each["loss"] for each in self.ever(scope)]
                assert standing.life.epsilon == sum(each.epsilon or 0 for each in ever)
                assert standing.life.rho == sum(each.rho for each in ever)
                assert standing.paused == (scope in self.paused)
                assert standing.grant == self.grants[scope]
                assert standing.suspended == (scope.removeprefix("analyst:") in self.suspended)
            if self.charges:
                last = list(self.charges.values())[-1]
                record = records.get(conn, last["id"])
                assert (record.outcome and record.outcome.status) == last["status"]
                assert record.retaken_by == last["retaken"]


def kept(standing: Standing, epsilon: int, delta: int) -> bool:
    """Whether what a window counts is within one grant of the largest terms that were ever in force."""
    pure_sum = not standing.gaussians and standing.spent_epsilon <= epsilon
    return standing.spent_delta <= delta - delta // 2 and (
        pure_sum or standing.spent_rho <= rho_of_epsilon(epsilon, delta // 2)
    )


def at_the_model_s_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the model's clock in the place of the database's."""
    CLOCK.stand_in(monkeypatch)


def test_the_ledger_and_the_model_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    at_the_model_s_time(monkeypatch)
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
