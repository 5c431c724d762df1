"""Groups that an earlier answer listed: public to who holds it, and to nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from budget import suspensions
from gateway import admin
from gateway.errors import Forbidden, RequestInvalid, SqlRefused
from gateway.wire import QueryResponse
from tests.reuse.world import World

TOWNS = "SELECT town, COUNT(*) AS n FROM person GROUP BY town"
COSTS = "SELECT p.town, COUNT(*) AS n FROM visit v JOIN person p ON p.person_id = v.person_id GROUP BY p.town"


def groups(answer: QueryResponse) -> list[Any]:
    return sorted(row[0] for row in answer.rows)


def counts(answer: QueryResponse) -> list[int]:
    return [row[1] for row in answer.rows if isinstance(row[1], int)]


def refused(here: World, keys_from: str | None, analyst: str = "ann", sql: str = COSTS) -> tuple[str, str]:
    with pytest.raises((RequestInvalid, SqlRefused)) as found:
        here.ask(sql, analyst=analyst, keys_from=keys_from)
    return found.value.code, str(found.value)


def test_what_was_listed_needs_no_threshold_again(here: World) -> None:
    listed = here.ask(TOWNS)
    assert groups(listed) == ["T0", "T1", "T2", "T3", "T4"]
    assert listed.plan.releases[0].threshold is not None
    assert listed.cost.delta > 0
    plain, kept = here.ask(COSTS, dry_run=True), here.ask(COSTS, keys_from=listed.query_id, dry_run=True)
    assert plain.plan.releases[0].threshold is not None
    [release] = kept.plan.releases
    assert (release.threshold, release.keys[0].domain, kept.cost.delta, kept.cost.pure) == (None, "public", 0.0, True)
    assert plain.plan.id != kept.plan.id
    answer = here.ask(COSTS, 5.0, keys_from=listed.query_id)
    assert groups(answer) == groups(listed)
    assert all(abs(count - 600) < 60 for count in counts(answer))  # noise of scale .8: beyond it once in e^75
    assert any("an earlier answer listed" in warning for warning in answer.warnings)
    assert here.spent() == 6.0


def test_what_was_not_listed_is_dropped(here: World) -> None:
    """As values are that are new in the data."""
    listed = here.ask(f"{TOWNS[: TOWNS.index(' GROUP')]} WHERE town < 'T3' GROUP BY town")
    answer = here.ask(TOWNS, 5.0, keys_from=listed.query_id)
    assert groups(answer) == groups(listed) == ["T0", "T1", "T2"]
    assert all(abs(count - 600) < 60 for count in counts(answer))


def test_keys_that_are_listed_together_stand_together(here: World) -> None:
    listed = here.ask("SELECT town, UPPER(SUBSTRING(town, 2, 1)) AS t, COUNT(*) AS n FROM person GROUP BY 1, 2")
    assert len(listed.rows) == 5
    both = "SELECT UPPER(SUBSTRING(p.town, 2, 1)), p.town, SUM(cost) FROM visit v JOIN person p USING (person_id)"
    answer = here.ask(f"{both} GROUP BY 1, 2", keys_from=listed.query_id)
    assert sorted(row[:2] for row in answer.rows) == [[f"{n}", f"T{n}"] for n in range(5)]
    assert answer.plan.releases[0].threshold is None
    # one list, and no condition for each row, all of which would compute the key anew
    assert "(k1, k0) IN (VALUES" in answer.plan.releases[0].sql or "(k0, k1) IN (VALUES" in answer.plan.releases[0].sql
    half = here.ask(f"{both} GROUP BY 1, 2", keys_from=here.ask(TOWNS).query_id, dry_run=True)
    assert [key.domain for key in half.plan.releases[0].keys] == ["private", "public"]
    assert len(here.ask("SELECT sex, town, COUNT(*) FROM person GROUP BY 1, 2", keys_from=listed.query_id).rows) == 10


def test_computed_keys_are_those_of_the_same_rows(here: World) -> None:
    visits = "SELECT n, {} FROM (SELECT person_id, COUNT(*) AS n FROM call {} GROUP BY person_id) AS f GROUP BY n"
    listed = here.ask(visits.format("COUNT(*)", ""), 5.0)
    assert (groups(listed), listed.plan.releases[0].threshold is None) == ([3], False)
    again = here.ask(visits.format("COUNT(DISTINCT person_id), COUNT(*)", ""), 5.0, keys_from=listed.query_id)
    assert (groups(again), again.plan.releases[0].threshold) == ([3], None)
    code, _ = refused(here, listed.query_id, sql=visits.format("COUNT(*)", "WHERE kind = 'in'"))
    assert code == "keys-unmatched"


def test_only_an_answer_of_ones_own_that_listed_groups(here: World) -> None:
    listed, total = here.ask(TOWNS).query_id, here.ask("SELECT COUNT(*) FROM person").query_id
    unknown = refused(here, "0" * 32)
    assert unknown[0] == "keys-unknown"
    assert refused(here, listed, "bob") == refused(here, total) == unknown
    assert refused(here, listed, sql="SELECT kind, SUM(cost) FROM visit GROUP BY kind")[0] == "keys-unmatched"
    assert refused(here, listed, sql="SELECT COUNT(*) FROM visit")[0] == "keys-unmatched"
    assert here.spent() == 2.0
    kept = here.ask(COSTS, keys_from=listed, key="k")
    with here.service.control.begin() as conn:
        suspensions.suspend(conn, "health", "ann", actor="gateway")
    for price in ({"epsilon": 1.0, "dry_run": True}, {"epsilon": None, "error_target": {"within": 50}}):
        with pytest.raises(Forbidden) as withheld:
            here.ask(COSTS, keys_from=listed, **price)
        assert withheld.value.code == "suspended"
    with here.service.control.begin() as conn:
        suspensions.clear(conn, "health", "ann", actor="root")
    assert here.ask(COSTS, keys_from=listed, key="k").rows == kept.rows
    assert groups(here.ask(COSTS, None, keys_from=listed, error_target={"within": 50})) == groups(kept)
    assert listed is not None
    assert admin.delete_answers(here.service.control, "health", actor="root", query=listed) == 1
    assert refused(here, listed) == unknown


def test_what_was_drawn_over_them_is_for_sale_with_them_alone(here: World) -> None:
    """DESIGN section 2. Whoever lists the same groups by an answer of their own is told nothing of another's."""
    listed = here.ask(TOWNS)
    kept = here.ask(COSTS, keys_from=listed.query_id)
    assert here.ask(COSTS, analyst="bob", dry_run=True).offers == []
    bought, spent = here.ask(TOWNS, analyst="bob"), here.scope("cap")
    assert (bought.cached, bought.query_id != listed.query_id) == (True, True)
    same = here.ask(COSTS, analyst="bob", keys_from=bought.query_id)
    assert (same.cached, same.rows, here.scope("cap")) == (True, kept.rows, spent)
    assert here.ask(COSTS, keys_from=listed.query_id).query_id == kept.query_id
    own = here.ask(TOWNS, analyst="eve", use_cache=False)
    assert groups(own) == groups(listed)
    assert here.ask(COSTS, analyst="eve", keys_from=own.query_id, dry_run=True).offers == []
    assert not here.ask(COSTS, analyst="eve", keys_from=own.query_id).cached


def test_what_was_drawn_over_them_adds_up_to_nothing_that_does_not_name_them(here: World) -> None:
    """A count of all rows was rolled up, unasked, from those of the listed towns."""
    listed = here.ask(f"{TOWNS[: TOWNS.index(' GROUP')]} WHERE town < 'T3' GROUP BY town")
    fine = here.ask("SELECT sex, town, COUNT(*) AS n FROM person GROUP BY 1, 2", 5.0, keys_from=listed.query_id)
    assert len(fine.rows) == 6
    coarse = here.ask("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", 5.0)
    assert not coarse.cached
    assert sum(counts(coarse)) > 2800  # of 3,000, where the listed towns have 1,800
    assert here.ask(TOWNS, 5.0, keys_from=listed.query_id).cached  # rolled up over what is named again


def test_two_keys_of_one_meaning_have_its_values_each(here: World) -> None:
    """Only the pairs of equal values were shown."""
    listed = here.ask(TOWNS)
    pairs = "SELECT a.town, b.town, COUNT(*) FROM person a JOIN person b ON b.person_id = a.person_id GROUP BY 1, 2"
    assert len(here.ask(pairs, keys_from=listed.query_id).rows) == 25


def test_totals_beside_them_are_of_the_same_rows(here: World) -> None:
    some = here.ask(f"{TOWNS[: TOWNS.index(' GROUP')]} WHERE town < 'T3' GROUP BY town")
    sql = "SELECT town, COUNT(*) AS n FROM person GROUP BY ROLLUP (town)"
    answer = here.ask(sql, 5.0, keys_from=some.query_id)
    assert [row[0] for row in answer.rows] == ["T0", "T1", "T2", None]
    *towns, total = counts(answer)
    assert (len(towns), total) == (3, sum(towns))


def test_pairs_of_one_meaning_are_those_that_were_listed(here: World) -> None:
    twice = "SELECT a.town, b.town AS t, COUNT(*) AS n FROM person a JOIN person b USING (person_id) GROUP BY 1, 2"
    listed = here.ask(twice, use_cache=False)
    assert len(listed.rows) == 5
    assert len(here.ask(f"{twice} ORDER BY n", keys_from=listed.query_id, use_cache=False).rows) == 5
    assert groups(here.ask(TOWNS, keys_from=listed.query_id)) == ["T0", "T1", "T2", "T3", "T4"]


def test_what_was_drawn_over_them_is_given_again_after_they_are_deleted(here: World) -> None:
    listed = here.ask("SELECT town, UPPER(SUBSTRING(town, 2, 1)) AS t, COUNT(*) AS n FROM person GROUP BY 1, 2")
    both = COSTS.replace("p.town,", "p.town, UPPER(SUBSTRING(p.town, 2, 1)) AS t,").replace("BY p.town", "BY 1, 2")
    asked = (("one", COSTS), ("both", both))
    first = [here.ask(sql, keys_from=listed.query_id, key=key) for key, sql in asked]
    assert listed.query_id is not None
    assert admin.delete_answers(here.service.control, "health", actor="root", query=listed.query_id) == 1
    spent = here.spent()
    again = [here.ask(sql, keys_from=listed.query_id, key=key) for key, sql in asked]
    assert [answer.rows for answer in again] == [answer.rows for answer in first]
    assert here.spent() == spent
    assert refused(here, listed.query_id)[0] == "keys-unknown"
