"""Asking on this machine, without a server: the same answers, prices and refusals as over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.client.client import Client
from tests.cli.conftest import Call

ASK = ("--dataset", "clinic", "--analyst", "ada")
COUNT = "SELECT COUNT(*) AS people FROM person"


@pytest.fixture
def ready(call: Call, clinic: Path) -> Call:
    """Return the command line of a home in which ada holds a grant of 3 on a clinic of 400 people."""
    for words in (
        ("init",),
        ("dataset", "apply", str(clinic)),
        ("analyst", "add", "ada"),
        ("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3", "--delta", "1e-6"),
    ):
        assert call(*words).exit_code == 0
    return call


def test_a_question_is_answered_and_charged(ready: Call) -> None:
    asked = ready("query", COUNT, *ASK, "--epsilon", "1", "--json")
    assert asked.exit_code == 0, asked.stderr
    answer = json.loads(asked.stdout)
    ((people,),) = answer["rows"]
    assert abs(people - 400) < 60
    assert answer["budget"]["epsilon_remaining"] == 2
    shown = ready("query", COUNT, *ASK, "--epsilon", "1")
    assert f"{people:,} ±" in shown.stdout
    assert "cost: nothing, an answer already paid for" in shown.stdout


def test_the_sql_may_come_from_standard_input(ready: Call) -> None:
    asked = ready("query", "-", *ASK, "--epsilon", "1", stdin=COUNT)
    assert asked.exit_code == 0, asked.stderr
    assert "people" in asked.stdout
    refused = ready("query", "-", *ASK, "--epsilon", "1", stdin="SELECT 1 " * 200_000)
    assert refused.exit_code == 1
    assert "[sql-too-long]" in refused.stderr


def test_one_key_is_charged_once(ready: Call) -> None:
    asked = [ready("query", COUNT, *ASK, "--epsilon", "1", "--idempotency-key", "k", "--no-cache") for _ in range(2)]
    assert asked[0].stdout == asked[1].stdout
    other = ready("query", COUNT, *ASK, "--epsilon", "0.5", "--idempotency-key", "k")
    assert other.exit_code == 1
    assert "[idempotency-key-reused]" in other.stderr
    (standing,) = json.loads(ready("budget", "show", "--json").stdout)
    assert standing["epsilon_spent"] == 1


def test_a_plan_costs_nothing(ready: Call) -> None:
    for words in (("explain", COUNT, *ASK, "--epsilon", "1"), ("query", COUNT, *ASK, "--epsilon", "1", "--dry-run")):
        planned = ready(*words)
        assert planned.exit_code == 0, planned.stderr
        assert "bounded SQL:" in planned.stdout
    (standing,) = json.loads(ready("budget", "show", "--analyst", "ada", "--json").stdout)
    assert standing["epsilon_spent"] == 0


def test_a_plan_can_be_pinned(ready: Call) -> None:
    plan = json.loads(ready("explain", COUNT, *ASK, "--epsilon", "1", "--json").stdout)["plan"]["id"]
    assert ready("query", COUNT, *ASK, "--epsilon", "1", "--plan-id", plan).exit_code == 0
    changed = ready("query", COUNT, *ASK, "--epsilon", "0.5", "--plan-id", plan)
    assert changed.exit_code == 1
    assert "[plan-changed]" in changed.stderr


def test_a_refusal_points_into_the_sql(ready: Call) -> None:
    refused = ready("query", "SELECT COUNT(*)\nFROM person\nWHERE agee > 3", *ASK, "--epsilon", "1")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    first, place, line, mark, *_ = refused.stderr.splitlines()
    assert first.startswith("error: ")
    assert first.endswith("[column-unknown]")
    assert (place, line, mark) == ("line 3, column 7:", "  WHERE agee > 3", "        ^")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--epsilon", "nan"), "price-invalid"),
        (("--epsilon", "inf"), "price-invalid"),
        (("--epsilon", "-1"), "price-invalid"),
        (("--epsilon", "0"), "price-invalid"),
        (("--epsilon", "1e300"), "price-invalid"),
        ((), "price-missing"),
        (("--epsilon", "1", "--rho", "1"), "price-conflict"),
        (("--epsilon", "2.5"), "price-too-high"),
        (("--epsilon", "1", "--dataset", "nowhere"), "dataset-unknown"),
        (("--epsilon", "1", "--analyst", "bob"), "analyst-unknown"),
        (("--epsilon", "1", "--dialect", "klingon"), "dialect-unknown"),
        (("--epsilon", "1", "--mechanism", "gaussian"), "gaussian-refused"),
    ],
)
@pytest.mark.audit
def test_refusals(ready: Call, words: tuple[str, ...], code: str) -> None:
    refused = ready("query", COUNT, *ASK, *words)
    assert refused.exit_code == 1, refused.stdout
    assert f"[{code}]" in refused.stderr.splitlines()[0]
    assert refused.stdout == ""
    (standing,) = json.loads(ready("budget", "show", "--json").stdout)
    assert standing["epsilon_spent"] == 0


def test_what_does_not_fit_is_refused_with_what_would(ready: Call) -> None:
    ready("query", COUNT, *ASK, "--epsilon", "2")
    refused = ready("query", "SELECT COUNT(*) AS f FROM person WHERE sex = 'F'", *ASK, "--epsilon", "1.5")
    assert refused.exit_code == 1
    assert "[budget-exhausted]" in refused.stderr
    assert "required ε = 1.5, remaining ε = 1" in refused.stderr


def test_a_disabled_analyst_asks_nothing(ready: Call) -> None:
    ready("analyst", "disable", "ada")
    refused = ready("query", COUNT, *ASK, "--epsilon", "1")
    assert refused.exit_code == 1
    assert "[principal-disabled]" in refused.stderr


def test_an_analyst_without_a_grant_learns_nothing(ready: Call) -> None:
    ready("analyst", "add", "bob")
    refused = ready("query", COUNT, "--dataset", "clinic", "--analyst", "bob", "--epsilon", "1")
    assert refused.exit_code == 1
    assert "[no-grant]" in refused.stderr


def test_data_that_is_gone_costs_nothing(ready: Call, clinic: Path) -> None:
    clinic.with_suffix(".duckdb").unlink()
    refused = ready("query", COUNT, *ASK, "--epsilon", "1")
    assert refused.exit_code == 1
    assert "[engine-unavailable]" in refused.stderr
    assert refused.stderr.splitlines()[1:] == ["hint: Nothing was charged."], "the cause is in the log"
    assert "could not be opened" in (clinic.parent / "home" / "discreet.log").read_text()
    (standing,) = json.loads(ready("budget", "show", "--json").stdout)
    assert standing["epsilon_spent"] == 0


def test_interrupted_it_says_how_to_ask_again_unpaid(ready: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.query.answer", interrupted)
    stopped = ready("query", COUNT, *ASK, "--epsilon", "1", "--idempotency-key", "mine")
    assert stopped.exit_code == 1
    assert "--idempotency-key mine" in stopped.stderr


def test_out_of_reach_it_says_how_to_ask_again_unpaid(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "_wait", lambda *_: None)
    lost = call("query", COUNT, "--dataset", "d", "--epsilon", "1", "--url", "http://127.0.0.1:1", "--token", "t")
    assert lost.exit_code == 1
    assert "[gateway-unreachable]" in lost.stderr
    assert "--idempotency-key" in lost.stderr


def test_a_failure_after_the_charge_is_constant_and_suspends(
    ready: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the income of one person")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.execution.release", broken)
        failed = ready("query", COUNT, *ASK, "--epsilon", "1")
    assert failed.exit_code == 1
    assert "[execution-failed]" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "income" not in failed.stderr
    assert "the income of one person" in (tmp_path / "home" / "discreet.log").read_text()

    assert "[suspended]" in ready("query", COUNT, *ASK, "--epsilon", "1").stderr
    (standing,) = json.loads(ready("budget", "show", "--json").stdout)
    assert (standing["epsilon_spent"], standing["suspended"]) == (1, True)
    resumed = ready("analyst", "resume", "ada", "--dataset", "clinic", "--reason", "a test's own fault")
    assert resumed.exit_code == 0, resumed.stderr
    assert ready("query", COUNT, *ASK, "--epsilon", "1").exit_code == 0
    assert "suspension" in ready("ledger", "show").stdout
    assert ready("ledger", "verify").exit_code == 0
