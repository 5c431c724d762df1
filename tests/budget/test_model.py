"""The ledger beside a small reference model, driven by hypothesis: they never differ."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine

from budget import balance, grants, ledger, records, suspensions
from budget.errors import BudgetExhausted, GaussianRefused, KeyReused, NoGrant, NotRefundable, NotSuspended, Suspended
from budget.grants import Grant
from budget.verify import verify
from gateway.store import migrate
from gateway.store.engine import control_engine
from mechanisms.accounting import rho_of_epsilon
from mechanisms.loss import Loss
from tests.budget.ledgers import DELTA, EPSILON, pure, request

ANALYSTS = ("ann", "bob", "eve")
PROCESSES = ("a" * 32, "b" * 32, "c" * 32)
SCOPES = ("cap", "analyst:ann", "analyst:bob", "analyst:eve")

amounts = st.sampled_from([EPSILON // 100, 1, 0, EPSILON // 2, EPSILON, 2 * EPSILON])
grant_values = st.builds(
    Grant,
    st.sampled_from([20 * EPSILON, 5 * EPSILON, 2 * EPSILON, EPSILON, 1, 0]),
    st.sampled_from([DELTA, 0]),
    st.booleans(),
)
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


class LedgerMachine(RuleBasedStateMachine):
    """The model keeps lists of what stands and adds them up anew for each question."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.grants: dict[str, Grant] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.suspended: set[str] = set()
        self.dead = {PROCESSES[0]}

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "control.sqlite"
        path.write_bytes(_migrated())
        self.engine = control_engine(f"sqlite:///{path}")
        # Eve begins without a grant; the others can charge from the start, so that there is something to settle.
        self.set("cap", Grant(20 * EPSILON, DELTA, gaussian=True))
        self.set("analyst:ann", Grant(8 * EPSILON, DELTA, gaussian=True))
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
        if sum(each.delta for each in paid) > grant.delta - grant.delta // 2:
            return False
        is_pure = all(each.epsilon is not None for each in paid)
        if is_pure and sum(each.epsilon or 0 for each in paid) <= grant.epsilon:
            return True
        return sum(each.rho for each in paid) <= rho_of_epsilon(grant.epsilon, grant.delta // 2)

    def paying(self, scope: str) -> list[dict[str, Any]]:
        return [
            each
            for each in self.charges.values()
            if each["status"] != "void" and scope in ("cap", f"analyst:{each['analyst']}")
        ]

    def expected(self, analyst: str, loss: Loss, key: str | None, body: str) -> Any:
        """The error that is due, the id of the charge to be given again, or None for a fresh charge."""
        scopes = (f"analyst:{analyst}", "cap")
        mine = [each for each in self.charges.values() if key and (each["analyst"], each["key"]) == (analyst, key)]
        if mine and mine[-1]["body"] != body:
            return KeyReused
        if mine and mine[-1]["status"] != "void":
            return Suspended if analyst in self.suspended and mine[-1]["status"] != "failed" else mine[-1]["id"]
        if any(scope not in self.grants for scope in scopes):
            return NoGrant
        if analyst in self.suspended:
            return Suspended
        if loss.epsilon is None and not all(self.grants[scope].gaussian for scope in scopes):
            return GaussianRefused
        return None if all(self.fits(scope, loss) for scope in scopes) else BudgetExhausted

    @rule(scope=st.sampled_from(SCOPES), grant=grant_values)
    def grant(self, scope: str, grant: Grant) -> None:
        self.set(scope, grant)

    def set(self, scope: str, grant: Grant) -> None:
        with self.engine.begin() as conn:
            if scope == "cap":
                grants.set_cap(conn, "health", grant, actor="root")
            else:
                grants.set_grant(conn, "health", scope.removeprefix("analyst:"), grant, actor="root")
        self.grants[scope] = grant

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
            self.charges[asked.id] = {
                "id": asked.id,
                "analyst": analyst,
                "loss": loss,
                "key": key,
                "body": body,
                "process": process,
                "retaken": None,
                "status": None,
                "payload": None,
            }

    def pick(self, index: int) -> dict[str, Any] | None:
        held = list(self.charges.values())[::-1]
        return held[index % len(held)] if held else None

    @rule(index=st.integers(0, 5), status=st.sampled_from(["answered", "failed"]), payload=st.binary(max_size=3))
    def settle(self, index: int, status: Any, payload: bytes) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        with self.engine.begin() as conn:
            settlement = ledger.settle(conn, charge["id"], status, payload)
        assert settlement.won == (charge["status"] is None)
        assert settlement.withheld == (charge["analyst"] in self.suspended)
        if settlement.won:
            charge["status"], charge["payload"] = status, payload
        assert (settlement.outcome.status, settlement.outcome.payload) == (charge["status"], charge["payload"])

    @rule(index=st.integers(0, 5), process=st.sampled_from([None, *PROCESSES]))
    def void(self, index: int, process: str | None) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        process = process or charge["process"]
        due = charge["status"] is None and charge["retaken"] is None and charge["process"] == process
        with self.engine.connect() as conn, conn.begin() as transaction:
            if not due:
                with pytest.raises(NotRefundable):
                    ledger.void(conn, charge["id"], process=process, reason="model")
                transaction.rollback()
                return
            ledger.void(conn, charge["id"], process=process, reason="model")
        charge["status"], charge["payload"] = "void", b""

    @rule(process=st.sampled_from(PROCESSES))
    def die(self, process: str) -> None:
        self.dead.add(process)

    @rule(index=st.integers(0, 5), process=st.sampled_from(PROCESSES))
    def retry(self, index: int, process: str) -> None:
        charge = self.pick(index)
        if charge is None:
            return
        with self.engine.begin() as conn:
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
        with self.engine.connect() as conn, conn.begin() as transaction:
            if due is not None:
                with pytest.raises(due):
                    action(conn, "health", analyst, actor="root")
                transaction.rollback()
                return
            action(conn, "health", analyst, actor="root")
        (self.suspended.discard if clearing else self.suspended.add)(analyst)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "engine"):
            return
        with self.engine.begin() as conn:
            held = {each.scope: each for _, each in balance.all_of(conn, "health")}
            assert held.keys() == self.grants.keys()
            for scope, standing in held.items():
                paid = [each["loss"] for each in self.paying(scope)]
                assert standing.spent_epsilon == sum(each.epsilon or 0 for each in paid)
                assert standing.gaussians == sum(each.epsilon is None for each in paid)
                assert standing.spent_rho == sum(each.rho for each in paid)
                assert standing.spent_delta == sum(each.delta for each in paid)
                assert standing.suspended == (scope.removeprefix("analyst:") in self.suspended)
            if self.charges:
                last = list(self.charges.values())[-1]
                record = records.get(conn, last["id"])
                assert (record.outcome and record.outcome.status) == last["status"]
                assert record.retaken_by == last["retaken"]


def test_the_ledger_and_the_model_agree() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
