"""Coarser groups from finer ones that are held: free, right, with the noise of all of them."""

from __future__ import annotations

import math

import pytest

from tests.reuse.world import PEOPLE, World

FINE = "SELECT sex, site, COUNT(*) AS n, SUM(age) AS years, AVG(age) AS a FROM person GROUP BY sex, site"


def test_a_coarser_grouping_is_rolled_up_free(here: World) -> None:
    fine = here.ask(FINE)
    coarse = here.ask("SELECT site AS s, COUNT(*) AS c FROM person GROUP BY site")
    assert (coarse.cached, coarse.cost.epsilon, here.spent()) == (True, 0.0, 1.0)
    sums: dict[object, int] = {}
    for _, site, count, _, _ in fine.rows:
        sums[site] = sums.get(site, 0) + int(count)  # type: ignore[arg-type]
    for site, count in coarse.rows:
        assert abs(int(count) - sums[site]) <= 1, "each fine count is rounded by itself"  # type: ignore[arg-type]
    total = here.ask("SELECT COUNT(*) AS n, AVG(age) AS a FROM person")
    assert total.cached
    assert any("Rolled up from 6 groups" in warning for warning in total.warnings)
    assert abs(float(total.rows[0][0]) - PEOPLE) < 60  # type: ignore[arg-type]
    assert abs(float(total.rows[0][1]) - sum(20 + i % 60 for i in range(PEOPLE)) / PEOPLE) < 2  # type: ignore[arg-type]


def test_the_interval_is_that_of_the_sum_of_the_noises(here: World) -> None:
    fine, coarse = here.ask(FINE), here.ask("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex")
    [low, high], [wide, wider] = fine.intervals["n"][0] or (0, 0), coarse.intervals["n"][0] or (0, 0)
    ratio = (wider - wide) / (high - low)
    assert 1.4 < ratio < math.sqrt(3) * 1.05  # three independent noises: about the root of three, less heavy a tail


def test_the_rows_of_a_unit_count_alike_however_they_are_grouped(here: World) -> None:
    here.ask("SELECT kind, COUNT(*) AS n, SUM(cost) AS c FROM visit GROUP BY kind")
    total = here.ask("SELECT SUM(cost) AS c, COUNT(*) AS n FROM visit")
    assert total.cached
    assert abs(float(total.rows[0][1]) - 3000) < 150  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        # units stand in both groups
        (
            "SELECT kind, COUNT(DISTINCT person_id) AS n FROM visit GROUP BY kind",
            "SELECT COUNT(DISTINCT person_id) AS n FROM visit",
        ),
        # groups below the threshold are hidden
        ("SELECT town, COUNT(*) AS n FROM person GROUP BY town", "SELECT COUNT(*) AS n FROM person"),
        # quantiles and different values add up to nothing
        ("SELECT sex, MEDIAN(age) AS m FROM person GROUP BY sex", "SELECT MEDIAN(age) AS m FROM person"),
        (
            "SELECT sex, COUNT(DISTINCT site) AS d, COUNT(*) AS n FROM person GROUP BY sex",
            "SELECT COUNT(DISTINCT site) AS d FROM person",
        ),
        # other rows, other groups
        ("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", "SELECT COUNT(*) AS n FROM person WHERE sex = 'F'"),
        ("SELECT sex, COUNT(*) AS n FROM person GROUP BY sex", "SELECT site, COUNT(*) AS n FROM person GROUP BY site"),
        ("SELECT COUNT(*) AS n FROM person", "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"),
    ],
)
def test_what_is_never_rolled_up(here: World, fine: str, coarse: str) -> None:
    here.ask(fine, 1.0)
    assert not here.ask(coarse, 0.5).cached
    assert here.spent() == 1.5


def test_at_a_higher_price_than_it_cost_a_roll_up_is_offered_only(here: World) -> None:
    here.ask(FINE, 0.5)
    text = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"
    [offer] = here.ask(text, 1.0, dry_run=True).offers
    assert (offer.held, offer.unasked, offer.epsilon) == (True, False, 0.0)
    assert not here.ask(text, 1.0).cached
    assert here.ask(text, 1.0).cached
    assert here.ask("SELECT COUNT(*) AS n FROM person", 0.5).cached
    assert here.spent() == 1.5
    assert not here.ask("SELECT COUNT(*) AS n FROM person", 0.5, "bob").cached  # nothing is rolled up for sale


def test_units_are_added_up_where_the_database_enforces_one_row_each(here: World) -> None:
    here.ask("SELECT sex, COUNT(DISTINCT person_id) AS n FROM person GROUP BY sex")
    total = here.ask("SELECT COUNT(DISTINCT person_id) AS n FROM person", 0.5)
    assert total.cached
    assert abs(float(total.rows[0][0]) - PEOPLE) < 60  # type: ignore[arg-type]
