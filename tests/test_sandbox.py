"""The sandbox: it computes, it holds, it stops, and it forgets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from gateway import sandbox as module
from gateway.sandbox import Sandbox, SandboxFailed, SandboxOpen

NOISY = pa.table({"k": ["a", "b", None], "n": [10, -3, 7]})


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(memory=200_000_000, seconds=10, rows=1_000)
    yield sandbox
    sandbox.close()


def test_computes_in_order(sandbox: Sandbox) -> None:
    rows = sandbox.run("SELECT k, n * 2 AS m FROM r0 WHERE n > 0 ORDER BY n DESC", {"r0": NOISY})
    assert rows.to_pylist() == [{"k": "a", "m": 20}, {"k": None, "m": 14}]


def test_empty_result_keeps_its_columns(sandbox: Sandbox) -> None:
    rows = sandbox.run("SELECT k, n FROM r0 WHERE false", {"r0": NOISY})
    assert (rows.num_rows, rows.schema.names) == (0, ["k", "n"])


def test_several_tables(sandbox: Sandbox) -> None:
    sql = "SELECT a.n - b.n AS d FROM r0 AS a JOIN r1 AS b ON a.k = b.k ORDER BY d"
    assert sandbox.run(sql, {"r0": NOISY, "r1": NOISY}).to_pylist() == [{"d": 0}, {"d": 0}]


def test_forgets(sandbox: Sandbox) -> None:
    sandbox.run("SELECT * FROM r0", {"r0": NOISY})
    assert len(sandbox._pool) == 1
    with pytest.raises(SandboxFailed, match="does not exist"):
        sandbox.run("SELECT * FROM r0", {})


def test_python_variables_are_no_tables(sandbox: Sandbox) -> None:
    hidden = NOISY
    with pytest.raises(SandboxFailed, match="does not exist"):
        sandbox.run("SELECT * FROM hidden", {})
    assert hidden.num_rows == 3


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.duckdb' AS other",
        "ATTACH ':memory:' AS other",
        "SELECT * FROM read_csv('{folder}/in.csv')",
        "SELECT * FROM read_text('{folder}/in.csv')",
        "SELECT * FROM read_blob('{folder}/in.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{folder}/in.csv'",
        "SELECT * FROM duckdb_secrets()",
        "SELECT getenv('HOME')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPORT DATABASE '{folder}/out'",
        "SET memory_limit = '100GB'",
        "SET VARIABLE x = 1",
        "RESET threads",
        "PRAGMA threads = 4",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE MACRO f() AS 1",
        "INSERT INTO r0 VALUES ('c', 1)",
        "PREPARE p AS SELECT 1",
        "EXPLAIN SELECT 1",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT n FROM r0 WHERE",
        "",
    ],
)
def test_escapes_are_refused(sandbox: Sandbox, tmp_path: Path, sql: str) -> None:
    (tmp_path / "in.csv").write_text("a\n1\n")
    with pytest.raises(SandboxFailed):
        sandbox.run(sql.format(folder=tmp_path), {"r0": NOISY})
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    # what failed is not used again
    assert sandbox._pool == []
    assert sandbox.run("SELECT count(*) AS c FROM r0", {"r0": NOISY}).to_pylist() == [{"c": 3}]


def test_an_instance_that_holds_something_is_not_used_again(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1 AS a", {})
    [instance] = sandbox._pool
    instance.execute("CREATE TABLE leftover AS SELECT 1")
    sandbox.run("SELECT 1 AS a", {})
    assert sandbox._pool == []


def test_deadline() -> None:
    sandbox = Sandbox(memory=200_000_000, seconds=0.3)
    start = time.monotonic()
    with pytest.raises(SandboxFailed, match=r"more than 0\.3 seconds"):
        sandbox.run(
            "SELECT count(*) FROM range(1000000) AS a, range(1000000) AS b WHERE (a.range * b.range) % 7 = 3", {}
        )
    assert time.monotonic() - start < 5
    sandbox.close()


def test_memory_limit(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFailed, match=r"(?i)memory"):
        sandbox.run("SELECT list(repeat('x', 1000) || range) AS l FROM range(1000000)", {})


def test_row_limit(sandbox: Sandbox) -> None:
    assert sandbox.run("SELECT range FROM range(1000)", {}).num_rows == 1_000
    with pytest.raises(SandboxFailed, match="more than 1000 rows"):
        sandbox.run("SELECT range FROM range(10000000)", {})


def test_threads_share_the_pool(sandbox: Sandbox) -> None:
    seen: list[object] = []

    def ask(number: int) -> None:
        table = pa.table({"n": [number]})
        seen.extend(sandbox.run("SELECT n FROM r0", {"r0": table}).to_pylist()[0]["n"] for _ in range(5))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(seen) == dict.fromkeys(range(6), 5)
    assert 1 <= len(sandbox._pool) <= 4


def test_closed(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1 AS a", {})
    sandbox.close()
    with pytest.raises(SandboxFailed, match="closed"):
        sandbox.run("SELECT 1 AS a", {})


def test_canary_is_content(sandbox: Sandbox) -> None:
    sandbox.canary()


@pytest.mark.parametrize("missing", ["enable_external_access = false", "lock_configuration = true"])
def test_canary_finds_an_open_door(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(module, "_SETTINGS", tuple(one for one in module._SETTINGS if one != missing))
    with pytest.raises(SandboxOpen):
        sandbox.canary()


def test_canary_s_statements_work_where_nothing_is_locked(tmp_path: Path) -> None:
    readable = tmp_path / "text.csv"
    readable.write_text("some text\n")
    refused = []
    for name, sql in module._escapes(readable, tmp_path):
        if name in {"INSTALL", "resetting"}:
            continue
        with duckdb.connect(":memory:") as connection:
            try:
                connection.execute(sql)
            except duckdb.Error:
                refused.append(name)
    # external access is on by itself and cannot be turned on again while a database runs
    assert set(refused) <= {"external access"}


def test_a_select_that_writes_is_refused(sandbox: Sandbox) -> None:
    sandbox.run("SELECT 1 AS a", {})
    [instance] = sandbox._pool
    instance.execute("CREATE TABLE leftover AS SELECT 1 AS a")
    with pytest.raises(SandboxFailed, match="read-only"):
        sandbox.run("WITH x AS (INSERT INTO leftover VALUES (2) RETURNING a) SELECT a FROM x", {})


def test_nothing_spills_to_disk(sandbox: Sandbox) -> None:
    rows = sandbox.run("SELECT current_setting('temp_directory') AS folder", {})
    assert rows.to_pylist() == [{"folder": ""}]
