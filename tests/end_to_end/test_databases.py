"""Databases that are missing, locked, changed or failing, and policies that cannot stand: each told, nothing leaked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from tests.end_to_end.home import INNER, POLICY, SECRETS, Home, make_data, make_home, problem, serving

COUNT = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"
FAILING = "SELECT SUM(value) AS s FROM reading"
HOLD = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a data file open for writing in another process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


def change(path: Path, statement: str) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)


@dataclass
class Asking:
    """One analyst who asks over a bare connection."""

    home: Home
    http: httpx.Client
    analyst: str

    def __call__(self, sql: str, dataset: str = "health", key: str | None = None, **more: Any) -> httpx.Response:
        headers = self.home.bearer(self.analyst) | ({} if key is None else {"Idempotency-Key": key})
        body = {"sql": sql, "dataset": dataset, "epsilon": 0.5, **more}
        return self.http.post("/v1/query", json=body, headers=headers)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Return a home with five datasets, each in a file of its own that a test may spoil."""
    made = make_home(tmp_path_factory.mktemp("databases"))
    for name in ("missing", "locked", "altered", "dropped"):
        make_data(made.folder / f"{name}.duckdb")
        made.apply(POLICY.replace("dataset: health", f"dataset: {name}").replace("health.duckdb", f"{name}.duckdb"))
        made.grant("ada", 10, dataset=name)
    for name in ("fay", "gus"):
        made.grant(name, 10)
    change(made.folder / "altered.duckdb", "ALTER TABLE person ALTER age TYPE VARCHAR")
    change(made.folder / "dropped.duckdb", "DROP TABLE person")
    (made.folder / "missing.duckdb").rename(made.folder / "away.duckdb")
    return made


@pytest.fixture(scope="module")
def asking(home: Home) -> Iterator[Callable[[str], Asking]]:
    with locked(home.folder / "locked.duckdb"), serving(home), home.http() as http:
        yield lambda analyst: Asking(home, http, analyst)
    assert home.command("ledger", "verify").exit_code == 0


@pytest.mark.parametrize("name", ["missing", "locked", "altered", "dropped"])
def test_a_database_that_cannot_be_used(home: Home, asking: Callable[[str], Asking], name: str) -> None:
    ask = asking("ada")
    response = ask(COUNT, name, key="kept")
    problem(response, 503, "engine-unavailable")
    assert response.headers["retry-after"]
    problem(ask(COUNT, name), 503, "engine-unavailable")
    assert home.spent(dataset=name) == 0
    facts = [(fact["kind"], fact["says"].get("status")) for fact in home.facts(name)[-4:]]
    assert facts == [("charge", None), ("outcome", "void")] * 2, "charged first, and taken back since nothing was sent"
    assert ask(COUNT, name, dry_run=True).status_code == 200, "planning needs no database"
    assert ask(COUNT).status_code == 200, "other datasets are asked as ever"
    assert ask.http.get("/v1/budget", params={"dataset": name}, headers=home.bearer()).json()[0]["suspended"] is False


def test_a_database_that_comes_back_is_asked_under_the_same_key(home: Home, asking: Callable[[str], Asking]) -> None:
    ask = asking("ada")
    problem(ask(COUNT, "missing", key="patient"), 503, "engine-unavailable")
    (home.folder / "away.duckdb").rename(home.folder / "missing.duckdb")
    first, again = (ask(COUNT, "missing", key="patient").json() for _ in range(2))
    assert first["rows"] == again["rows"]
    assert first["query_id"] == again["query_id"]
    assert home.spent(dataset="missing") == 0.5


def test_a_statement_that_fails_in_the_engine(home: Home, asking: Callable[[str], Asking]) -> None:
    """The engine's message holds one person's value; it reaches the admin's log and nothing else."""
    ask = asking("fay")
    earlier = ask(COUNT, key="earlier").json()
    response = ask(FAILING, key="failing")
    found = problem(response, 500, "execution-failed")
    assert home.spent("fay") == 1.0, "what was charged before the failure stays spent"
    assert ask(FAILING, key="failing").json() == found, "asked again, it fails in the same words"
    problem(ask(FAILING), 403, "suspended")
    problem(ask(COUNT), 403, "suspended")
    problem(ask(COUNT, key="earlier"), 403, "suspended")
    summaries = ask.http.get("/v1/queries", headers=home.bearer("fay")).json()
    assert {each["status"] for each in summaries} == {"withheld"}
    assert ask.http.get("/v1/budget", headers=home.bearer("fay")).json()[0]["suspended"] is True
    assert home.spent("fay") == 1.0

    told = [line for line in home.lines("discreet.query") if found["query_id"] in line["message"]]
    assert any(SECRETS[0] in line["exception"] for line in told), "the admin finds the cause under the query's name"
    quiet = [str(line) for line in home.lines("discreet.access")]
    assert quiet
    assert not [line for line in quiet if any(word in line for word in (*SECRETS, *INNER, "SELECT"))]

    assert asking("gus")(COUNT).status_code == 200, "another analyst is not suspended"
    resumed = ask.http.post(
        "/v1/admin/analysts/fay/resume",
        json={"dataset": "health", "reason": "a broken view"},
        headers=home.bearer("root"),
    )
    assert (resumed.status_code, resumed.json()["suspended"]) == (200, False)
    assert ask(COUNT, key="earlier").json()["rows"] == earlier["rows"]
    cached = ask(COUNT).json()
    assert (cached["cached"], cached["rows"]) == (True, earlier["rows"])
    assert ask(FAILING, key="failing").json() == found, "a failure stands whatever is cleared"
    assert home.spent("fay") == 1.0


def test_the_part_of_a_failing_table_that_does_not_fail(home: Home, asking: Callable[[str], Asking]) -> None:
    """The view fails on its value alone: a count of its rows is answered like any other."""
    assert asking("gus")("SELECT COUNT(*) AS n FROM reading").status_code == 200


SPOILT = [
    ("upper: 110", "upper: -110", "tables.person.columns.age"),
    ("lower: 0, upper: 200000", "lower: .nan, upper: 200000", "tables.person.columns.income"),
    ("lower: 0, upper: 200000", "lower: 0, upper: .inf", "tables.person.columns.income"),
    ("lower: 2020-01-01, upper: 2025-12-31", "lower: 2025-01-01, upper: 2020-12-31", "tables.visit.columns.day"),
    ("owner: {visit_id: visit.visit_id}", "owner: {visit_id: nowhere.visit_id}", "tables.treatment.owner"),
    ("owner: {visit_id: visit.visit_id}", "owner: {no_column: visit.visit_id}", "tables.treatment.owner"),
    ("owner: {visit_id: visit.visit_id}", "owner: {visit_id: treatment.visit_id}", "tables.treatment.owner"),
    ("owner: {visit_id: visit.visit_id}", "owner: {visit_id: site.site_id}", "tables.treatment.owner"),
    ("    owner: {visit_id: visit.visit_id}\n", "", "tables.treatment"),
    ("{type: text}\n  visit", "{type: integer}\n  visit", "tables.person.columns.town"),
    ("  site: {", "  sight: {", "tables.sight"),
    ("max_epsilon: 10", "max_epsilon: -10", "per_query.max_epsilon"),
    ("key: person_id}", "key: nothing}", "tables.person.owner"),
]


@pytest.mark.parametrize(("old", "new", "path"), SPOILT, ids=lambda value: value.strip()[:40])
def test_a_policy_that_cannot_stand(home: Home, old: str, new: str, path: str) -> None:
    assert POLICY.count(old) == 1
    heads, spoilt = home.heads(), home.folder / "spoilt.yaml"
    spoilt.write_text(POLICY.replace("dataset: health", "dataset: spoilt").replace(old, new))
    done = home.command("dataset", "apply", str(spoilt))
    assert done.exit_code == 1
    assert "[policy-invalid]" in done.stderr
    assert path in done.stderr
    assert not [word for word in (*SECRETS, "Traceback", 'File "') if word in done.output]
    assert home.heads() == heads
    assert home.command("dataset", "show", "spoilt").exit_code == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [("tables: [", "policy-invalid"), ("", "policy-invalid"), ("!!python/object:os.system {}", "policy-invalid")],
)
def test_a_policy_that_is_none(home: Home, text: str, code: str) -> None:
    path = home.folder / "none.yaml"
    path.write_text(text)
    done = home.command("dataset", "apply", str(path))
    assert (done.exit_code, f"[{code}]" in done.stderr) == (1, True), done.output


def test_a_policy_whose_database_cannot_be_opened(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("dataset: health", "dataset: nowhere"))
    missing = home.command("dataset", "apply", str(path))
    assert missing.exit_code == 1
    assert "[engine-unavailable]" in missing.stderr
    make_data(tmp_path / "health.duckdb")
    with locked(tmp_path / "health.duckdb"):
        held = home.command("dataset", "apply", str(path))
    assert held.exit_code == 1
    assert "[engine-unavailable]" in held.stderr
    assert not (tmp_path / "nowhere.duckdb").exists()
    assert home.command("dataset", "apply", str(path)).exit_code == 0
