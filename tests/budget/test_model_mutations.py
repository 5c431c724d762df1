"""Each rule of renewal and refund broken on purpose is found by the model, on one short history.

What `verify` cannot find, since it folds with the same rules, the model must: it adds up lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from budget import sales, suspensions
from budget.book import Book
from budget.grants import Grant
from budget.records import Record
from budget.standing import Standing
from mechanisms.loss import Loss
from tests.budget.ledgers import DELTA, EPSILON, pure
from tests.budget.test_model import DAY, PROCESSES, LedgerMachine, at_the_model_s_time

ANN = "analyst:ann"
DAILY = Grant(8 * EPSILON, DELTA, gaussian=True, window="daily", timezone="UTC")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerMachine]:
    at_the_model_s_time(monkeypatch)
    made = LedgerMachine()
    made.open()
    yield made
    made.engine.dispose()
    made.folder.cleanup()


def ask(machine: LedgerMachine, epsilon: int) -> None:
    machine.ask("ann", pure(epsilon), None, "same", PROCESSES[1])


def void_after_renewal(machine: LedgerMachine) -> None:
    """What was charged yesterday is taken back today: today's sums never held it."""
    ask(machine, EPSILON // 100)
    machine.now += DAY
    ask(machine, EPSILON // 2)
    machine.void(1, None)


def life_grant(machine: LedgerMachine) -> None:
    """A grant for life looks back over all windows."""
    ask(machine, EPSILON // 2)
    machine.now += DAY
    ask(machine, EPSILON // 100)
    machine.set(ANN, replace(DAILY, window=None, timezone=None))


def grant_after_midnight(machine: LedgerMachine) -> None:
    """A grant that is set when a window has begun finds it renewed, and not yesterday's sums."""
    ask(machine, EPSILON // 2)
    machine.now += DAY
    machine.set(ANN, replace(DAILY, epsilon=3 * EPSILON))


def grant_within_a_window(machine: LedgerMachine) -> None:
    """A new grant never gives back what the window in force has spent."""
    ask(machine, EPSILON // 2)
    machine.set(ANN, replace(DAILY, epsilon=3 * EPSILON))


def clock_set_back(machine: LedgerMachine) -> None:
    """A clock that is set back and goes on again renews nothing twice."""
    ask(machine, EPSILON // 2)
    machine.now += DAY
    ask(machine, EPSILON // 100)
    machine.now -= DAY
    ask(machine, EPSILON // 100)
    machine.now += DAY
    ask(machine, EPSILON // 100)


def suspended_and_set(machine: LedgerMachine) -> None:
    """A grant that is set while it is suspended stays suspended."""
    machine.pause(ANN, pause=True)
    machine.set(ANN, replace(DAILY, epsilon=3 * EPSILON))
    ask(machine, EPSILON // 100)


def bought_twice(machine: LedgerMachine) -> None:
    """Two members of a project buy one answer: the cap and the project pay for it once."""
    machine.set("project:study", Grant(8 * EPSILON))
    machine.member("bob", join=True)
    ask(machine, EPSILON // 2)
    machine.settle(0, "answered", b"r")
    machine.buy(0, "bob")
    machine.buy(1, "bob")


def bought_from_the_suspended(machine: LedgerMachine) -> None:
    """Nothing of an analyst who is suspended is for sale."""
    ask(machine, EPSILON // 2)
    machine.settle(0, "answered", b"r")
    machine.suspension("ann", suspensions.suspend)
    machine.buy(0, "bob")


HISTORIES = (
    void_after_renewal,
    life_grant,
    grant_after_midnight,
    grant_within_a_window,
    clock_set_back,
    suspended_and_set,
    bought_twice,
    bought_from_the_suspended,
)


def refunds_into_the_window_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    def refunding(self: Standing, loss: Loss, charged: int, seq: int) -> Standing:
        return replace(self, seq=seq, totals=self.totals.adding(loss, -1), life=self.life.adding(loss, -1))

    monkeypatch.setattr(Standing, "refunding", refunding)


def forgets_the_life_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def granted(self: Standing, seq: int, grant: Grant, span: Any, *, paused: bool) -> Standing:
        return replace(self, seq=seq, grant=grant, span=span, paused=paused)

    monkeypatch.setattr(Standing, "granted", granted)


def renews_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    def renew(_: Book, standing: Standing) -> Standing:
        return standing

    monkeypatch.setattr(Book, "renew", renew)


def begins_anew_with_each_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    def granted(self: Standing, seq: int, grant: Grant, span: Any, *, paused: bool) -> Standing:
        return Standing(self.scope, seq, grant, span, life=self.life, paused=paused)

    monkeypatch.setattr(Standing, "granted", granted)


def believes_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def due(self: Standing, at: int) -> tuple[int, int] | None:
        if self.span is None or self.span[0] <= at < self.span[1]:
            return None
        return at - at % DAY, at - at % DAY + DAY

    monkeypatch.setattr(Standing, "due", due)
    monkeypatch.setattr(Book, "at", property(lambda book: book.now))


def resumes_with_each_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = Standing.granted

    def resumed(self: Standing, seq: int, grant: Grant, span: Any, *, paused: bool) -> Standing:
        return granted(self, seq, grant, span, paused=paused and grant == self.grant)

    monkeypatch.setattr(Standing, "granted", resumed)


def charges_everybody_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: Connection, source: Record) -> sales.Sale:
        return sales.Sale(source, frozenset(), ((source.charge.analyst, source.charge.id),))

    monkeypatch.setattr(sales, "find", find)


def sells_whatever_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_sale(book: Book, source: str) -> sales.Sale:
        return sales.find(book.conn, book.charge(source))

    monkeypatch.setattr(sales, "open_sale", open_sale)


MUTANTS: dict[Callable[[LedgerMachine], None], Callable[[pytest.MonkeyPatch], None]] = {
    void_after_renewal: refunds_into_the_window_in_force,
    life_grant: forgets_the_life_before,
    grant_after_midnight: renews_no_window,
    grant_within_a_window: begins_anew_with_each_grant,
    clock_set_back: believes_the_clock,
    suspended_and_set: resumes_with_each_grant,
    bought_twice: charges_everybody_again,
    bought_from_the_suspended: sells_whatever_is_answered,
}


def agree(machine: LedgerMachine, history: Callable[[LedgerMachine], None]) -> None:
    history(machine)
    machine.same()


@pytest.mark.parametrize("history", HISTORIES)
def test_the_rules_as_they_are_agree_with_the_model(
    machine: LedgerMachine, history: Callable[[LedgerMachine], None]
) -> None:
    agree(machine, history)


@pytest.mark.parametrize("history", HISTORIES)
def test_a_broken_rule_is_found(
    machine: LedgerMachine, monkeypatch: pytest.MonkeyPatch, history: Callable[[LedgerMachine], None]
) -> None:
    MUTANTS[history](monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        agree(machine, history)
