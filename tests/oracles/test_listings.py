"""Groups that a public table names: bounded and right whatever the table holds by now, on each engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Ends, Listing
from gateway.sandbox import Sandbox
from gateway.sql.algebra import Constant, Ref
from gateway.sql.inference.known import Known
from gateway.sql.planning.groups import every
from gateway.sql.planning.keys import keyed
from tests.oracles import neighbours
from tests.oracles.clinic import CLINIC, KEYED_CLINIC, tidy
from tests.oracles.databases import Bases, Database, duckdb_dataset
from tests.oracles.questions import Mechanism, plan, written
from tests.oracles.test_composed import neighbour
from tests.oracles.test_infinite import shown
from tests.oracles.worlds import Data, Row, generate, shuffled

JOINED = "FROM visit v JOIN site s ON v.site_id = s.site_id"

QUESTIONS = (
    f"SELECT s.site_id, s.region, COUNT(DISTINCT v.person_id) AS n {JOINED} WHERE s.beds = 5 AND s.region = 'north'"
    " OR s.beds = 9 AND s.site_id < 3 GROUP BY s.site_id, s.region",
    f"SELECT v.site_id, s.beds, COUNT(*) AS n, SUM(v.cost) AS c {JOINED} WHERE s.region <> 'south' AND s.beds > 0"
    " AND NOT (s.site_id = 2 AND s.beds = 5) GROUP BY v.site_id, s.beds",
    "SELECT s.site_id, s.region, s.beds, COUNT(DISTINCT v.person_id) AS n, COUNT(DISTINCT v.kind) AS k FROM visit v"
    " LEFT JOIN site s ON v.site_id = s.site_id AND s.beds <> 0 GROUP BY s.site_id, s.region, s.beds",
    "SELECT a, b, COUNT(DISTINCT person_id) AS n FROM (SELECT v.person_id, s.region AS a, s.beds AS b"
    f" {JOINED} WHERE s.region = 'north' AND s.beds < 9 OR s.region = 'south' AND s.beds = 0) AS t GROUP BY a, b",
    "SELECT s.region, t.region AS other, s.beds, COUNT(*) AS n FROM visit v JOIN site s ON v.site_id = s.site_id JOIN"
    " site t ON t.site_id = v.site_id WHERE s.beds = 0 AND s.region = 'north' OR s.beds = 5 AND s.region = 'south'"
    " GROUP BY s.region, t.region, s.beds",
    f"SELECT s.site_id, s.region, MEDIAN(v.cost) AS m {JOINED} WHERE s.site_id = 1 AND s.region = 'north' OR"
    " s.site_id = 2 AND s.region = 'south' GROUP BY s.site_id, s.region",
)


def widened(data: Data, random: Random) -> Data:
    """The data with sites that no list has: the table has changed since the policy was applied."""
    more = [(site, random.choice(("north", "south", "east", None)), random.choice((0, 5, 9, 4))) for site in (11, 12)]
    visits = [(*visit[:2], random.choice((1, 2, 3, 11, 12)), *visit[3:]) for visit in data["visit"]]
    return {**data, "site": [*data["site"], *more], "visit": visits}


def compared(dataset: Dataset, bases: tuple[Database, Database], sql: str, seed: int, sandbox: Sandbox) -> None:
    random = Random(seed)  # noqa: S311 - fixed examples, not noise
    data = widened(generate(KEYED_CLINIC, random, 12, dirty=seed % 4 > 0, heavy=seed % 3 * 6), random)
    one, two = bases
    one.fill(data)
    two.fill(shuffled(neighbour(KEYED_CLINIC, data, random), random))
    mechanisms: tuple[Mechanism, ...] = ("laplace", "gaussian")
    for mechanism in mechanisms:
        planned = plan(written(sql, mechanism), dataset, "duckdb")
        assert planned.releases[0].public
        assert neighbours.compare(planned, one.fetch, two.fetch, dataset) == []
        neighbours.answered(planned, one.fetch, sandbox, dataset)


@pytest.mark.parametrize("sql", QUESTIONS)
def test_neighbours_on_duckdb(duckdbs: Bases, sandbox: Sandbox, sql: str) -> None:
    for seed in range(6):
        compared(*duckdbs[KEYED_CLINIC], sql, seed, sandbox)


@pytest.mark.parametrize("sql", QUESTIONS)
def test_neighbours_on_postgres(postgreses: Bases, sandbox: Sandbox, sql: str) -> None:
    for seed in range(3):
        compared(*postgreses[KEYED_CLINIC], sql, seed, sandbox)


@pytest.mark.parametrize("sql", QUESTIONS)
def test_neighbours_on_sqlite(sqlites: Bases, sandbox: Sandbox, sql: str) -> None:
    for seed in range(3):
        compared(*sqlites[KEYED_CLINIC], sql, seed, sandbox)


def test_that_only_listed_groups_leave_is_what_bounds_them(duckdbs: Bases) -> None:
    """Two pairs are listed; the table has come to hold four, all of which one person reaches."""
    bare, (one, two) = duckdbs[CLINIC]
    listing = Listing(("site_id", "region"), ((1, "south"), (2, "north")))
    tables = tuple(replace(each, listings=(listing,)) if each.name == "site" else each for each in bare.tables)
    dataset = replace(bare, tables=tables)
    people = f"SELECT s.site_id, s.region, COUNT(DISTINCT v.person_id) AS n {JOINED} GROUP BY s.site_id, s.region"
    planned = plan(written(people), dataset)
    [release] = planned.releases
    assert release.blocks[0].l1 == len(release.joint[0].rows) == 2
    sites: list[Row] = [(site, region, 5) for site in (1, 2) for region in ("north", "south")]
    visits: list[Row] = [(at, 1, site, None, None, None, None, None) for at, site in enumerate((1, 2))]
    data: Data = {"person": [], "visit": visits, "item": [], "site": sites, "tariff": []}
    one.fill(data)
    two.fill({**data, "visit": []})
    assert neighbours.compare(planned, one.fetch, two.fetch, dataset) == []
    unheld = replace(planned, releases=(replace(release, sql=release.sql.partition(" HAVING ")[0]),))
    assert neighbours.compare(unheld, one.fetch, two.fetch, dataset)


@pytest.mark.parametrize("engine", ["duckdbs", "postgreses", "sqlites"])
@pytest.mark.parametrize("question", ["SUM(s.site_id * v.cost), AVG(s.site_id)", "SUM(s.site_id)"])
def test_ends_of_public_numbers_are_enforced(request: pytest.FixtureRequest, engine: str, question: str) -> None:
    """Sites have come to be numbered far above what they were when the policy was applied."""
    bare, (one, two) = request.getfixturevalue(engine)[CLINIC]
    tables = (
        replace(
            each,
            ends=(Ends("site_id", Fraction(1), Fraction(3)),),
        )
        for each in bare.tables
    )
    bounded = tuple(new if new.name == "site" else old for new, old in zip(tables, bare.tables, strict=True))
    dataset = replace(bare, tables=bounded)
    sql = f"SELECT {question} {JOINED}"
    with pytest.raises(SqlRefused, match="bounds"):
        plan(written(sql), bare)
    sites: list[Row] = [(site, "south", 5) for site in (2, 3, 2**40, -7)]
    cost = Decimal("99.50")
    visits: list[Row] = [(at, 1, site[0], cost, None, None, None, None) for at, site in enumerate(sites[1:])]
    others: list[Row] = [(9, 2, 2, cost, None, None, None, None)]
    data: Data = {"person": [], "visit": [*visits, *others], "item": [], "site": sites, "tariff": []}
    one.fill(data)
    two.fill({**data, "visit": others})
    mechanisms: tuple[Mechanism, ...] = ("laplace", "gaussian")
    for mechanism in mechanisms:
        planned = plan(written(sql, mechanism), dataset)
        assert neighbours.compare(planned, one.fetch, two.fetch, dataset) == []


@pytest.mark.parametrize("engine", ["duckdbs", "sqlites"])
def test_the_longest_list_is_read_by_engines(request: pytest.FixtureRequest, engine: str) -> None:
    """SQLite refused a chain of a thousand ORs, after the charge; DuckDB took seconds over it."""
    bare, (one, _) = request.getfixturevalue(engine)[CLINIC]
    listed = [(site, f"r{site}") for site in range(998)] + [(None, "none"), (5, None)]
    listing = Listing(("site_id", "region"), tuple(listed))
    tables = tuple(replace(each, listings=(listing,)) if each.name == "site" else each for each in bare.tables)
    question = written(f"SELECT s.site_id, s.region, COUNT(*) AS n {JOINED} GROUP BY s.site_id, s.region")
    planned = plan(question, replace(bare, tables=tables))
    sites: list[Row] = [(5, "r5", 5), (6, "r5", 5), (7, "r7", 5), (8, None, 5), (9, "r9", 5), (5, None, 5)]
    visits: list[Row] = [(at, 1, at, None, None, None, None, None) for at in (5, 6, 7, 8)]
    one.fill({"person": [], "visit": visits, "item": [], "site": sites, "tariff": []})
    [release] = planned.releases
    assert set(neighbours.exact(release, one.fetch(release.sent))) == {(5, "r5"), (5, None), (7, "r7")}


@pytest.mark.parametrize("asked", [{"bounding": "above_threshold"}, {"bounding": "exponential"}, {"counted": True}])
@pytest.mark.parametrize("counted", ["COUNT(*) AS n", "COUNT(*) AS n, COUNT(DISTINCT v.person_id) AS p"])
@pytest.mark.parametrize("engine", ["duckdbs", "postgreses", "sqlites"])
def test_numbers_of_units_over_all_groups_do_not_leave_with_the_last_group_shown(
    request: pytest.FixtureRequest, engine: str, counted: str, asked: dict[str, Any]
) -> None:
    """Who is alone in the only listed pair left would take the number of all heavy units away with it."""
    bare, (one, two) = request.getfixturevalue(engine)[CLINIC]
    listing = Listing(("site_id", "region"), ((1, "south"), (2, "north")))
    tables = tuple(replace(each, listings=(listing,)) if each.name == "site" else each for each in bare.tables)
    dataset = replace(bare, tables=tables)
    question = f"SELECT s.site_id, s.region, {counted} {JOINED} GROUP BY s.site_id, s.region"
    planned = plan(replace(written(question), **asked), dataset)
    assert planned.releases[0].joint
    sites: list[Row] = [(site, "south", 5) for site in (1, 2)]
    others: list[Row] = [(at, 2 + at % 20, 2, None, None, None, None, None) for at in range(1000)]
    mine: list[Row] = [(1000 + at, 1, 1, None, None, None, None, None) for at in range(50)]
    data: Data = {"person": [], "visit": [*others, *mine], "item": [], "site": sites, "tariff": []}
    one.fill(data)
    two.fill({**data, "visit": others})
    assert neighbours.compare(planned, one.fetch, two.fetch, dataset) == []


@pytest.mark.parametrize("sql", [QUESTIONS[0], QUESTIONS[3]])
def test_without_noise_the_groups_are_those_of_the_public_rows(
    duckdbs: Bases, sandbox: Sandbox, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours.quiet(monkeypatch)
    dataset, (base, _) = duckdbs[KEYED_CLINIC]
    data = tidy(KEYED_CLINIC, Random(3), 25)  # noqa: S311 - fixed examples, not noise
    base.fill(data)
    planned = plan(replace(written(sql), groups=1000), dataset)
    sites = {site: (region, beds) for site, region, beds in data["site"]}
    exact: dict[tuple[object, ...], set[object]] = {}
    for _, person, site, *_ in data["visit"]:
        region, beds = sites.get(site, (None, None))
        first = (beds == 5 and region == "north") or (beds == 9 and isinstance(site, int) and site < 3)
        second = (region == "north" and beds in (0, 5)) or (region == "south" and beds == 0)
        if site in sites and person is not None and (first if sql == QUESTIONS[0] else second):
            exact.setdefault((site, region) if sql == QUESTIONS[0] else (region, beds), set()).add(person)
    got = {(row[0], row[1]): row[2] for row in shown(planned, base.fetch, sandbox, dataset)}
    assert set(exact) <= set(got)
    assert got == {key: len(exact.get(key, ())) for key in got}
    assert len(got) == (5 if sql == QUESTIONS[0] else 3)


def test_what_is_listed_decides_which_groups_there_are() -> None:
    dataset = duckdb_dataset(KEYED_CLINIC)

    def groups(sql: str) -> Sequence[tuple[object, ...]] | None:
        [release, *_] = plan(written(sql), dataset).releases
        return every(release.keys, release.joint) if release.public else None

    count = f"COUNT(*) AS n {JOINED}"
    assert groups(f"SELECT s.region, {count} GROUP BY s.region") == [("north",), ("south",)]
    assert groups(f"SELECT v.site_id, {count} WHERE s.site_id > 1 GROUP BY v.site_id") == [(2,), (3,)]
    assert groups(f"SELECT s.region, {count} WHERE s.beds = 7 OR v.cost > 3 GROUP BY s.region") is not None
    assert groups("SELECT site_id, COUNT(*) AS n FROM visit GROUP BY site_id") is None
    upper = groups(f"SELECT UPPER(s.region) AS r, {count} GROUP BY UPPER(s.region)")
    assert upper is not None
    assert ("NORTH",) in upper
    left = "FROM visit v LEFT JOIN site s ON v.site_id = s.site_id"
    assert groups(f"SELECT s.region, COUNT(*) AS n {left} GROUP BY s.region") == [("north",), ("south",), (None,)]


def test_no_key_is_called_what_another_one_is_in_the_bounded_sql() -> None:
    columns = {f"{name}#0": Known("integer", origin=("t", name)) for name in ("k1", "K0")}
    named = (("k0", Ref("k1#0", "integer")), ("k1", Ref("K0#0", "integer")), ("k2", Constant(1, "integer")))
    keys, _ = keyed(named, columns, (), duckdb_dataset(CLINIC), 10, 10)
    assert [key.label for key in keys] == ["k1_k0", "K0_k1", "k2"]


def test_more_groups_than_a_release_may_have_are_private() -> None:
    dataset = duckdb_dataset(KEYED_CLINIC)
    sql = "SELECT s.site_id, s.region, COUNT(*) AS n FROM visit v JOIN site s USING (site_id) GROUP BY ALL"
    assert plan(written(sql), dataset).releases[0].public
    planned = plan(written(sql), dataset, public=2)
    assert not planned.releases[0].public
    assert planned.releases[0].threshold is not None
