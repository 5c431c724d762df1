"""The same question again: whatever its words, at no price to who holds the answer, at its own to others."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from budget.records import Record
from gateway import admin
from gateway import execution as executing
from gateway import query as asking
from gateway.errors import BudgetExhausted, Conflict, Forbidden
from gateway.execution import Execution, Settled
from gateway.noisy import NoisyTable, decode
from gateway.quantum import pause
from gateway.reuse.reading import seal
from gateway.service import EnginePool, Service
from gateway.sql.planning.plan import Plan
from tests.reuse.world import World, world

GROUPED = "SELECT sex, COUNT(*) AS n, AVG(income) AS pay FROM person WHERE age > 30 GROUP BY sex"

SAME = [
    GROUPED,
    "SELECT AVG(p.income) AS a, p.sex AS s, COUNT(*) AS c FROM person AS p WHERE p.age > 30 GROUP BY p.sex",
    "SELECT sex, COUNT(*) AS n FROM person WHERE age > 30 GROUP BY 1 HAVING AVG(income) > 0 ORDER BY n DESC LIMIT 1",
    "SELECT sex, AVG(income) / 12 AS monthly FROM person WHERE age > 30 GROUP BY sex HAVING COUNT(*) > 10",
    "SELECT MAX(n) - MIN(n), MAX(p) FROM (SELECT sex, COUNT(*) AS n, AVG(income) AS p FROM person WHERE age > 30"
    " GROUP BY sex) AS g",
]


def test_words_order_and_post_processing_do_not_matter(here: World) -> None:
    first = here.ask(GROUPED)
    assert (first.cached, first.cost.epsilon, here.spent()) == (False, 1.0, 1.0)
    counts: dict[Any, Any] = {row[0]: row[1] for row in first.rows}
    for text in SAME:
        again = here.ask(text)
        assert again.cached, text
        assert (again.cost.epsilon, again.query_id) == (0.0, first.query_id)
    assert here.ask(SAME[0]).rows == first.rows
    assert {row[1]: row[2] for row in here.ask(SAME[1]).rows} == counts
    assert here.ask(SAME[2]).rows == [sorted(([s, n] for s, n in counts.items()), key=lambda row: -row[1])[0]]
    assert here.ask(SAME[4]).rows[0][0] == max(counts.values()) - min(counts.values())
    wide = here.ask(GROUPED, confidence=0.999)
    assert wide.cached
    for narrow, broad in zip(first.intervals["n"], wide.intervals["n"], strict=True):
        assert narrow is not None
        assert broad is not None
        assert broad[0] < narrow[0] < narrow[1] < broad[1]
    assert here.spent() == 1.0


def test_what_is_free_is_made_of_what_is_held_alone(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No free answer, no roll-up and no purchase goes to the data: with the database out of reach they are the same."""
    here.ask("SELECT sex, site, COUNT(*) AS n, AVG(age) AS a FROM person GROUP BY sex, site")
    here.ask("SELECT COUNT(*) AS n FROM person WHERE income > (SELECT AVG(income) FROM person)")
    asked: list[tuple[str, str]] = [
        ("SELECT site, sex, COUNT(*) AS n, AVG(age) AS a FROM person GROUP BY sex, site", "ann"),
        ("SELECT sex, AVG(age) AS a FROM person GROUP BY sex ORDER BY a DESC", "ann"),
        ("SELECT COUNT(*) AS n FROM person WHERE income > (SELECT AVG(income) FROM person)", "bob"),
        ("SELECT COUNT(*) AS n FROM person WHERE income > (SELECT AVG(income) FROM person)", "bob"),
    ]
    reached = []
    monkeypatch.setattr(EnginePool, "get", lambda _, url: reached.append(url))
    found = [here.ask(text, 1.0, analyst) for text, analyst in asked]
    assert all(each.cached for each in found)
    assert reached == []
    again = [here.ask(text, 1.0, analyst).rows for text, analyst in asked]
    assert again == [each.rows for each in found]


@pytest.mark.parametrize(
    "other",
    [
        "SELECT sex, COUNT(*) AS n, AVG(income) AS pay FROM person WHERE age > 31 GROUP BY sex",
        "SELECT sex, COUNT(*) AS n, SUM(income) AS pay FROM person WHERE age > 30 GROUP BY sex",
        "SELECT site, COUNT(*) AS n FROM person WHERE age > 30 GROUP BY site",
        "SELECT sex, COUNT(*) AS n FROM person WHERE age > 30 AND sex = 'F' GROUP BY sex",
    ],
)
def test_another_question_is_another(here: World, other: str) -> None:
    here.ask(GROUPED, 0.5)
    assert not here.ask(other, 0.5).cached


def test_the_keys_may_stand_in_any_order(here: World) -> None:
    first = here.ask("SELECT sex, site, COUNT(*) AS n FROM person GROUP BY sex, site")
    again = here.ask("SELECT site, sex, COUNT(*) AS n FROM person GROUP BY site, sex")
    assert again.cached
    assert {(row[1], row[0]): row[2] for row in again.rows} == {(row[0], row[1]): row[2] for row in first.rows}
    assert [row[:2] for row in again.rows] == sorted(row[:2] for row in again.rows)


def test_a_weaker_request_is_answered_by_what_is_held_a_stronger_one_is_not(here: World) -> None:
    first = here.ask(GROUPED, 1.0)
    weaker = here.ask(GROUPED, 0.2)
    assert (weaker.cached, weaker.rows, weaker.intervals) == (True, first.rows, first.intervals)
    assert weaker.plan.releases[0].blocks == first.plan.releases[0].blocks  # it says with which noise it was drawn
    stronger = here.ask(GROUPED, 2.0)
    assert not stronger.cached
    assert here.ask(GROUPED, 0.5).rows == stronger.rows  # the last of what is strong enough
    assert here.spent() == 3.0


def test_a_column_less_is_no_other_question_but_not_at_a_larger_error(here: World) -> None:
    """Five statistics share a price of 1, so that the count alone at 1 is better than it was drawn."""
    here.ask("SELECT COUNT(*) AS n, AVG(age) AS a, AVG(income) AS i, VAR_POP(age) AS v FROM person", 1.0)
    dry = here.ask("SELECT COUNT(*) AS n FROM person", 1.0, dry_run=True)
    [offer] = dry.offers
    assert (offer.held, offer.unasked, offer.epsilon) == (True, False, 0.0)
    [held], [fresh] = [[c for c in columns if c.role == "noisy"] for columns in (offer.columns, dry.plan.columns)]
    assert (held.expected_error or 0) > (fresh.expected_error or 0) > 0
    taken = here.ask("SELECT COUNT(*) AS n FROM person", 1.0, plan_id=offer.plan_id)
    assert (taken.cached, taken.cost.epsilon) == (True, 0.0)
    assert here.ask("SELECT COUNT(*) AS n FROM person", 0.1).cached
    assert not here.ask("SELECT COUNT(*) AS n FROM person", 1.0).cached
    assert here.spent() == 2.0


def test_the_mechanism_that_is_named_is_kept_to(here: World) -> None:
    here.ask(GROUPED, 1.0, mechanism="laplace")
    assert here.ask(GROUPED, 0.5, mechanism="auto").cached
    gaussian = here.ask(GROUPED, 0.2, mechanism="gaussian")
    assert not gaussian.cached
    assert here.ask(GROUPED, 0.2, mechanism="gaussian").rows == gaussian.rows
    assert here.ask(GROUPED, 0.2, mechanism="laplace").cached


def test_a_fresh_answer_is_one_word_away(here: World) -> None:
    first = here.ask(GROUPED)
    assert not here.ask(GROUPED, use_cache=False).cached
    assert here.spent() == 2.0
    assert here.ask(GROUPED).rows != first.rows  # the last one, of the same strength


def test_private_keys_that_passed_their_threshold_are_given_again(here: World) -> None:
    text = "SELECT town, COUNT(*) AS n FROM person GROUP BY town"
    first = here.ask(text, 2.0)
    assert len(first.rows) == 5
    weaker = here.ask("SELECT COUNT(*) AS n, town FROM person GROUP BY town", 1.0)
    assert weaker.cached
    assert [[row[1], row[0]] for row in weaker.rows] == first.rows
    assert weaker.plan.releases[0].threshold == first.plan.releases[0].threshold


def test_quantiles_and_different_values_are_given_again(here: World) -> None:
    text = "SELECT sex, MEDIAN(age) AS m, COUNT(DISTINCT site) AS d, COUNT(*) AS n FROM person GROUP BY sex"
    first = here.ask(text)
    again = here.ask("SELECT COUNT(DISTINCT site) AS d, sex, COUNT(*) AS n, MEDIAN(age) AS m FROM person GROUP BY sex")
    assert again.cached
    assert [[row[1], row[3], row[0], row[2]] for row in again.rows] == first.rows


def test_releases_that_feed_others_are_given_again_together(here: World) -> None:
    text = "SELECT COUNT(*) AS n FROM person WHERE income > (SELECT AVG(income) FROM person)"
    inner = here.ask("SELECT AVG(income) AS a FROM person", 1.0)
    first = here.ask(text, 1.0)
    assert not first.cached  # the inner one that is held would need rows chosen by its own value
    assert here.ask(text.replace(" AS n", " AS m"), 0.5).rows == first.rows
    assert here.ask("SELECT AVG(income) AS b FROM person", 1.0).rows == inner.rows


def test_a_bound_that_was_chosen_is_the_bound_of_every_later_answer(here: World) -> None:
    text = "SELECT kind, COUNT(*) AS n FROM call GROUP BY kind"
    first = here.ask(text, 1.0)
    again = here.ask("SELECT COUNT(*) AS m, kind AS k FROM call GROUP BY kind", 0.5)
    assert again.cached
    assert [[row[1], row[0]] for row in again.rows] == first.rows
    assert [warning for warning in first.warnings if "chosen" in warning]
    assert again.warnings == first.warnings
    assert not here.ask("SELECT COUNT(*) AS n FROM call", 0.5).cached  # for other groups it would be another bound


def test_a_data_version_begins_anew(here: World) -> None:
    here.ask(GROUPED)
    admin.bump_data_version(here.service.control, "health", actor="root")
    assert not here.ask(GROUPED).cached
    assert here.ask(GROUPED).cached
    assert here.spent() == 2.0


def test_retries_find_their_own_answer(here: World) -> None:
    first = here.ask(GROUPED, key="one")
    better = here.ask(GROUPED, 2.0, key="two")
    assert here.ask(GROUPED, key="one").rows == first.rows
    assert here.ask(GROUPED, 2.0, key="two").rows == better.rows
    assert here.spent() == 3.0


def test_who_holds_none_buys_it_unasked_at_the_price_of_a_fresh_one(here: World) -> None:
    first = here.ask(GROUPED, 0.5)
    bought = here.ask(SAME[1], 0.5, "bob")
    assert (bought.cached, bought.cost.epsilon) == (True, 0.5)
    assert {row[1]: row[2] for row in bought.rows} == {row[0]: row[1] for row in first.rows}
    assert (here.spent("ann"), here.spent("bob"), here.scope("cap")) == (0.5, 0.5, 0.5)
    again = here.ask(SAME[0], 0.5, "bob")
    assert (again.cached, again.cost.epsilon, again.rows) == (True, 0.0, first.rows)
    assert not here.ask(GROUPED, 0.5, "eve", use_cache=False).cached
    assert (here.spent("eve"), here.scope("cap")) == (0.5, 1.0)


def test_at_another_price_a_stored_answer_is_offered_and_taken_by_its_id(here: World) -> None:
    first = here.ask(GROUPED, 2.0)
    dry = here.ask(GROUPED, 0.5, "bob", dry_run=True)
    [offer] = dry.offers
    assert (offer.held, offer.unasked, offer.epsilon) == (False, False, 2.0)
    assert not here.ask(GROUPED, 0.5, "eve").cached
    taken = here.ask(GROUPED, 0.5, "bob", plan_id=offer.plan_id, key="k")
    assert (taken.cached, taken.cost.epsilon, taken.rows) == (True, 2.0, first.rows)
    replayed = here.ask(GROUPED, 0.5, "bob", plan_id=offer.plan_id, key="k")
    assert replayed.rows == first.rows
    assert (here.spent("bob"), here.spent("eve"), here.scope("cap")) == (2.0, 0.5, 2.5)
    with pytest.raises(Conflict, match="no longer"):
        here.ask(GROUPED, 0.5, "bob", plan_id="0" * 32)


def test_what_is_held_is_told_of_at_multiples_of_the_quantum_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dry runs at no price, sent at many instants, told to the millisecond when a question had come to its answer."""
    now = time.time_ns
    with world(tmp_path, latency_quantum_ms=60_000) as here:
        first = here.ask(GROUPED, 2.0)
        assert here.ask(GROUPED, 0.5, dry_run=True).offers == []
        monkeypatch.setattr("gateway.quantum.time.time_ns", lambda: now() + 60 * 10**9)
        [offer] = here.ask(GROUPED, 0.5, dry_run=True).offers
        monkeypatch.undo()
        with pytest.raises(Conflict, match="no longer"):
            here.ask(GROUPED, 0.5, plan_id=offer.plan_id)
        monkeypatch.setattr("gateway.quantum.time.time_ns", lambda: now() + 60 * 10**9)
        taken = here.ask(GROUPED, 0.5, plan_id=offer.plan_id)
        assert (taken.cached, taken.cost.epsilon, taken.rows) == (True, 0.0, first.rows)


def test_a_retry_of_what_was_just_answered_finds_it(tmp_path: Path) -> None:
    """An answer is sent a moment before its charge is a multiple of the quantum old: a retry then waits that moment."""
    with world(tmp_path, latency_quantum_ms=300) as here:
        first = here.ask(GROUPED, 0.5, key="k")
        assert here.ask(GROUPED, 0.5, key="k").rows == first.rows


def test_what_another_execution_settled_first_is_what_everybody_is_told(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who drew second throws that away: were it told once, noise could be drawn until it is liked."""
    settle = executing._settle

    def second(service: Service, execution: Execution, payload: bytes) -> None:
        others = [
            replace(table, measures=tuple(tuple(number + 10**6 for number in row) for row in table.measures))
            for table in decode(execution.plan, payload)
        ]
        settle(service, execution, seal(execution.plan, others, execution.asked))
        settle(service, execution, payload)

    monkeypatch.setattr(executing, "_settle", second)
    told = here.ask("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", 0.5, key="k", use_cache=False)
    rows: list[list[Any]] = told.rows
    assert all(10**6 < number < 10**6 + 10**5 for _, number in rows)
    monkeypatch.undo()
    assert here.ask("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", 0.5, key="k", use_cache=False).rows == rows
    assert here.spent() == 0.5


def test_what_was_just_drawn_is_told_where_it_is_what_stands() -> None:
    plan = cast("Plan", SimpleNamespace())
    table = NoisyTable(((),), ((7,),))
    settled = Settled(b"drawn", (table,))

    def record(payload: bytes | None) -> Record:
        return cast("Record", SimpleNamespace(outcome=SimpleNamespace(payload=payload)))

    found = asking._just(plan, record(b"drawn"), settled)
    assert found is not None
    assert (found.plan, found.tables) == (plan, (table,))
    assert asking._just(plan, record(b"another's"), settled) is None
    assert asking._just(plan, record(None), settled) is None
    assert asking._just(plan, record(b"drawn"), None) is None
    assert asking._just(plan, cast("Record", SimpleNamespace(outcome=None)), settled) is None


@pytest.mark.parametrize(("age_ms", "settled", "waits"), [(20, None, 80), (130, 50, 0), (70, 50, 30), (130, 120, 70)])
def test_how_long_a_retry_waits(age_ms: int, settled: int | None, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the next multiple of the quantum since the charge, whether it is settled or not; then not at all."""
    outcome = None if settled is None else SimpleNamespace(at=settled * 1000)
    record = cast("Record", SimpleNamespace(charge=SimpleNamespace(at=0), outcome=outcome))
    monkeypatch.setattr("gateway.quantum.time.time_ns", lambda: age_ms * 1_000_000)
    assert pause(record, 100) == pytest.approx(waits / 1000)
    assert pause(record, 0) == 0


def test_a_purchase_that_does_not_fit_is_refused_and_nothing_is_shown(here: World) -> None:
    admin.set_budget(here.service.control, "health", "dan", epsilon=0.4, delta=0, actor="test")
    here.ask(GROUPED, 0.5)
    with pytest.raises(BudgetExhausted):
        here.ask(GROUPED, 0.5, "dan")
    assert here.spent("dan") == 0.0


def test_nothing_is_offered_of_or_to_who_is_suspended(here: World) -> None:
    from budget import suspensions

    here.ask(GROUPED, 0.5)
    with here.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway")
    assert here.ask(GROUPED, 0.5, "bob", dry_run=True).offers == []
    assert not here.ask(GROUPED, 0.5, "bob").cached
    assert here.ask(GROUPED, 0.5, "ann", dry_run=True).offers == []
    with pytest.raises(Forbidden):
        here.ask(GROUPED, 0.5)
    with here.service.control.begin() as conn:
        suspensions.clear(conn, "health", "ann", actor="root")
    assert here.ask(GROUPED, 0.5).cached


def test_who_is_suspended_learns_nothing_of_what_is_in_flight_by_naming_a_plan(here: World) -> None:
    """It was told that the plan is another, instead of the suspension, of what had not come to an answer."""
    from budget import suspensions

    here.ask(GROUPED, 0.5)
    with here.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway")
    told = []
    for text in (GROUPED, "SELECT COUNT(*) AS n FROM person WHERE age > 77"):  # answered, and not
        with pytest.raises(Forbidden) as refusal:
            here.ask(text, 0.5, plan_id="0" * 32)
        told.append((refusal.value.code, str(refusal.value)))
    assert told[0] == told[1]


def test_a_count_of_different_values_is_another_where_a_unit_adds_more_of_them(here: World) -> None:
    """What was counted of one value a unit stood, unasked, for what counts two."""
    text = "SELECT COUNT(DISTINCT kind) AS n FROM call"
    few = here.ask(text, 1.0, max_groups_contributed=1)
    assert here.ask(text, 1.0, max_groups_contributed=1).rows == few.rows
    many = here.ask(text, 1.0)
    assert not many.cached
    assert [each.plan.releases[0].blocks[0].l1 for each in (few, many)] == [1, 2]
    assert here.ask(text, 0.5).rows == many.rows


def test_a_count_of_who_is_weighted_down_is_given_again_with_its_answer(here: World) -> None:
    text = "SELECT COUNT(*) AS n FROM visit"
    first = here.ask(text, 2.0, clipped_count=True)
    again = here.ask(text, 2.0, clipped_count=True)
    assert again.cached
    assert (again.rows, again.clipped) == (first.rows, first.clipped)
    [told] = first.clipped
    assert told.interval[0] <= told.units <= told.interval[1]
    assert told.units < 200  # nobody has more than four visits: noise of scale 5
    plain = here.ask(text, 2.0)
    assert (plain.cached, plain.clipped) == (False, [])


def test_what_adds_up_does_so_again(here: World) -> None:
    text = "SELECT sex, GROUPING(sex) AS g, COUNT(*) AS n, SUM(age) AS s FROM person GROUP BY ROLLUP (sex)"
    first = here.ask(text)
    *groups, total = sorted(first.rows, key=lambda row: bool(row[1]))
    for place in (2, 3):
        assert sum(int(row[place] or 0) for row in groups) == total[place]
    again = here.ask(text)
    assert again.cached
    assert (again.rows, again.intervals) == (first.rows, first.intervals)
    alone = here.ask("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", 0.2)
    assert alone.cached, "as it was drawn, which other tables then put right"
    [narrow, wide] = [found.intervals["n"][0] for found in (first, alone)]
    assert narrow is not None
    assert wide is not None
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


def test_each_way_of_bounding_is_an_answer_of_its_own(here: World) -> None:
    text = "SELECT COUNT(*) AS n FROM visit"  # three of each of a thousand people; four are declared
    for bounding in ("declared", "above_threshold", "exponential", "r2t"):
        first = here.ask(text, 2.0, bounding=bounding)
        again = here.ask(text, 2.0, bounding=bounding)
        [[count]] = first.rows
        assert isinstance(count, int)
        assert 2_500 < count < 3_500  # the widest noise of all is of scale six
        [interval] = first.intervals["n"]
        assert interval is not None
        assert interval[0] <= count <= interval[1]
        assert (first.cached, again.cached) == (False, True)
        assert (again.rows, again.intervals, again.warnings) == (first.rows, first.intervals, first.warnings)
        assert first.cost.pure
        assert sum(item.epsilon or 0 for item in first.cost.items) == pytest.approx(2.0, abs=1e-6)


def test_tables_of_several_charges_are_given_as_they_were_drawn(here: World) -> None:
    """Their rows are of different moments, or of a copy beside the data: nothing says that they add up."""
    total = here.ask("SELECT COUNT(*) AS n, SUM(cost) AS s FROM visit WHERE kind = 'in' OR kind = 'out'", 0.05)
    rolled = "SELECT kind, COUNT(*) AS n, SUM(cost) AS s FROM visit WHERE kind = 'in' OR kind = 'out' GROUP BY kind"
    both = f"{rolled} UNION ALL SELECT 'all', COUNT(*), SUM(cost) FROM visit WHERE kind = 'in' OR kind = 'out'"
    held = here.ask(rolled, 0.05)
    again = here.ask(both, 0.05)
    assert again.cached, "all of it is held"
    assert again.rows == [*held.rows, ["all", *total.rows[0]]]
    fresh = here.ask(both, 0.05, use_cache=False).rows
    assert fresh[0][1] + fresh[1][1] == fresh[2][1]  # type: ignore[operator]
