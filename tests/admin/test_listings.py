"""What public tables hold is listed with the policy, shown to analysts, and listed anew when the data changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gateway import admin
from gateway.admin import datasets
from gateway.auth.principal import Principal
from gateway.policy.model import Dataset, Listings
from gateway.query import answer
from gateway.service import Service, open_service
from gateway.settings import Settings
from gateway.wire import QueryRequest, QueryResponse

POLICY = """
dataset: shop
engine: duckdb:///shop.duckdb
privacy_unit: {key: buyer}
tables:
  sale: {owner: buyer, max_rows_per_unit: 3, columns: {buyer: {type: integer}, item: {type: integer}}}
  item: {public: true, key: item}
  code: {public: true}
  rate: {public: true, columns: {step: {type: integer}, since: {type: date}, note: {type: text}, share: {type: number}}}
budget: {epsilon: 100, delta: 1e-6}
per_query: {max_epsilon: 50, delta: 1e-9}
"""
BY_AREA = "SELECT area, COUNT(*) AS n FROM sale JOIN item USING (item) GROUP BY area"


def run(folder: Path, *statements: str) -> None:
    with duckdb.connect(str(folder / "shop.duckdb")) as conn:
        for statement in statements:
            conn.execute(statement)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    run(
        tmp_path,
        "CREATE TABLE sale (buyer INTEGER, item INTEGER)",
        "INSERT INTO sale SELECT i, i % 4 FROM range(400) t(i)",
        "CREATE TABLE item (item INTEGER PRIMARY KEY, area VARCHAR, price DOUBLE)",
        "INSERT INTO item VALUES (0, 'west', 1.5), (1, 'east', 2), (2, 'east', NULL)",
        "CREATE TABLE code (code HUGEINT, wide BOOLEAN)",
        "INSERT INTO code VALUES (1, false), (9223372036854775808, true)",
        "CREATE TABLE rate (step INTEGER, since DATE, note VARCHAR, share DOUBLE)",
        "INSERT INTO rate SELECT i, DATE '2020-01-01' + (i % 3)::INTEGER, repeat('x', 201), i FROM range(2000) t(i)",
    )
    found = Settings(home=tmp_path / "home", latency_quantum_ms=0)
    admin.init(found)
    opened = open_service(found)
    try:
        admin.apply_dataset(opened.control, found, POLICY, actor="test", folder=tmp_path)
        admin.add_analyst(opened.control, "ann", actor="test")
        admin.set_budget(opened.control, "shop", "ann", epsilon=100, delta=1e-6, actor="test")
        yield opened
    finally:
        opened.close()


def dataset(service: Service) -> Dataset:
    with service.reads.connect() as conn:
        return service.catalogue.current(conn, "shop")


def asked(service: Service, sql: str) -> QueryResponse:
    return answer(service, Principal("ann", "analyst"), QueryRequest(dataset="shop", sql=sql, epsilon=20), None)


def test_small_tables_are_listed_whole_and_long_ones_by_their_columns_of_few_values(service: Service) -> None:
    sale, item, code, rate = dataset(service).tables
    assert sale.listings == ()
    assert [(each.columns, each.rows) for each in item.listings] == [
        (("item", "area"), ((0, "west"), (1, "east"), (2, "east")))
    ]
    assert [each.columns for each in code.listings] == [("wide",)], "numbers that are shown as NULL are in no list"
    days = tuple((date(2020, 1, day),) for day in (1, 2, 3))
    assert [(each.columns, each.rows) for each in rate.listings] == [(("since",), days)]
    info = admin.show_dataset(service.control, "shop").info
    shown = {(table.name, column.name): column.values for table in info.tables for column in table.columns}
    assert shown["item", "area"] == ["west", "east"]
    assert shown["rate", "since"] == ["2020-01-01", "2020-01-02", "2020-01-03"]
    assert shown["rate", "step"] is shown["item", "price"] is shown["sale", "item"] is None


def ends(service: Service, place: int) -> dict[str, tuple[object, object]]:
    return {each.column: (each.lower, each.upper) for each in dataset(service).tables[place].ends}


def refresh(service: Service) -> None:
    admin.bump_data_version(service.control, "shop", actor="test", settings=service.settings)


SPENT = "SELECT SUM(price) FROM sale JOIN item USING (item)"


def test_what_nobody_bounded_is_computed_with_between_the_ends_that_it_had(service: Service) -> None:
    assert ends(service, 0) == {}
    assert ends(service, 1) == {"item": (0, 2), "price": (1.5, 2)}
    assert ends(service, 2) == {}, "no number that is shown as NULL is an end"
    assert ends(service, 3) == {
        "step": (0, 1999),
        "since": (date(2020, 1, 1), date(2020, 1, 3)),
        "share": (0, 1999),
    }
    [[found]] = asked(service, SPENT).rows
    assert isinstance(found, float)
    assert abs(found - 350) < 20


def test_ends_hold_until_the_data_change_by_an_admins_word(service: Service, tmp_path: Path) -> None:
    run(tmp_path, "INSERT INTO item VALUES (3, 'north', 1000.25), (4, 'south', 'nan'), (5, 'south', 'inf')")
    refresh(service)
    assert ends(service, 1) == {"item": (0, 5)}, "infinity bounds nothing"
    run(tmp_path, "DELETE FROM item WHERE item >= 4")
    refresh(service)
    assert ends(service, 1) == {"item": (0, 3), "price": (1.5, 1000.25)}
    run(tmp_path, "UPDATE item SET price = 20000 WHERE item = 3")
    [[found]] = asked(service, SPENT).rows
    assert isinstance(found, float)
    assert abs(found - 100_375) < 10_000, "what is new lies beyond the ends, and counts as the nearest"


def test_groups_of_a_public_table_all_appear_and_cost_no_delta(service: Service) -> None:
    found = asked(service, BY_AREA)
    assert [row[0] for row in found.rows] == ["west", "east"]
    assert [abs(float(row[1]) - meant) < 20 for row, meant in zip(found.rows, (100, 200), strict=True)] == [True, True]  # type: ignore[arg-type]
    assert found.cost.delta == 0
    assert found.plan is not None
    assert [key.domain for key in found.plan.releases[0].keys] == ["public"]


def test_a_new_data_version_lists_them_anew(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = dataset(service)
    run(tmp_path, "INSERT INTO item VALUES (3, 'north', 0)")
    assert [row[0] for row in asked(service, BY_AREA).rows] == ["west", "east"]
    admin.bump_data_version(service.control, "shop", actor="test", settings=service.settings)
    after = dataset(service)
    assert (after.version, after.data_version) == (before.version + 1, before.data_version + 1)
    assert [row[0] for row in asked(service, BY_AREA).rows] == ["west", "east", "north"]
    admin.bump_data_version(service.control, "shop", actor="test", settings=service.settings)
    assert dataset(service).version == after.version, "the same lists make no new version"
    assert "could not be read" not in caplog.text
    (tmp_path / "shop.duckdb").rename(tmp_path / "gone.duckdb")
    admin.bump_data_version(service.control, "shop", actor="test", settings=service.settings)
    assert "dataset shop: what its public tables hold could not be read anew" in caplog.text
    assert dataset(service).tables[1].listings == after.tables[1].listings, "what cannot be read stays as it was"


def test_groups_that_stand_together_are_added_up(service: Service) -> None:
    kinds = "SELECT item.item, area, {}COUNT(*) AS n FROM sale JOIN item USING (item) GROUP BY item.item, area{}"
    fine = asked(service, kinds.format("CASE WHEN buyer > 5 THEN 'new' ELSE 'old' END AS who, ", ", who"))
    assert len(fine.rows) == 6
    again = asked(service, kinds.format("", ""))
    assert [row[:2] for row in again.rows] == [[0, "west"], [1, "east"], [2, "east"]]
    assert again.cached


def test_lists_of_an_earlier_policy_are_not_those_of_one_applied_meanwhile(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, settings = datasets._read_lists, service.settings
    without = POLICY.replace("  item: {public: true, key: item}\n", "")

    def slow(*given: Any) -> Listings:
        monkeypatch.setattr(datasets, "_read_lists", honest)
        found = honest(*given)
        admin.apply_dataset(service.control, settings, without, actor="another", folder=tmp_path)
        return found

    monkeypatch.setattr(datasets, "_read_lists", slow)
    run(tmp_path, "INSERT INTO item VALUES (3, 'north', 0)")
    admin.bump_data_version(service.control, "shop", actor="test", settings=settings)
    assert [table.name for table in dataset(service).tables if table.listings] == ["code", "rate"]
