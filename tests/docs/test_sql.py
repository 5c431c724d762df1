"""Every statement of docs/sql.md is planned as the page says, on the tables of the policy page."""

from __future__ import annotations

import re

import duckdb
import pytest

from gateway.engines.base import Limits
from gateway.engines.open import open_engine
from gateway.errors import SqlRefused
from gateway.policy.document import load
from gateway.policy.model import Dataset
from gateway.policy.resolve import resolve
from mechanisms.loss import FREE
from tests.docs.pages import ROOT
from tests.oracles.questions import plan, written

_BLOCK = re.compile(r"```sql(?: refused=(?P<code>[a-z-]+)| (?P<public>public))?\n(?P<sql>.*?)```", re.DOTALL)
STATEMENTS = [
    (found["sql"], found["public"] or found["code"])
    for found in _BLOCK.finditer((ROOT / "docs" / "sql.md").read_text())
]
POLICY = re.search(r"```yaml\n(dataset: .*?)```", (ROOT / "docs" / "policy.md").read_text(), re.DOTALL)
TABLES = (
    "CREATE TABLE person(person_id BIGINT, sex VARCHAR, age INTEGER, income DOUBLE)",
    "CREATE TABLE visit(visit_id BIGINT, person_id BIGINT, cost DOUBLE, day DATE, site_id INTEGER)",
    "CREATE TABLE site(site_id INTEGER PRIMARY KEY, city VARCHAR)",
)


@pytest.fixture(scope="module")
def health(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("sql") / "health.duckdb"
    with duckdb.connect(str(path)) as connection:
        for statement in TABLES:
            connection.execute(statement)
    engine = open_engine(f"duckdb:///{path}")
    assert POLICY is not None
    try:
        with engine.session(Limits(20)) as session:
            return resolve(load(POLICY[1]), session.schema(("person", "visit", "site")), "duckdb", 1)
    finally:
        engine.close()


def test_the_page_has_both_kinds() -> None:
    assert sum(code is None for _, code in STATEMENTS) >= 10
    assert sum(code is not None for _, code in STATEMENTS) >= 4


@pytest.mark.parametrize(("sql", "code"), STATEMENTS)
def test_each_statement_is_as_the_page_says(sql: str, code: str | None, health: Dataset) -> None:
    if code is None:
        assert plan(written(sql), health).releases
        return
    if code == "public":
        found = plan(written(sql), health)
        assert (found.releases, found.price, found.loss) == ((), 0, FREE)
        return
    with pytest.raises(SqlRefused) as refused:
        plan(written(sql), health)
    assert refused.value.code == code
