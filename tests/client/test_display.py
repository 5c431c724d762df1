"""Answers, plans and errors as people see them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pandas as pd
import pytest

from gateway.client.caret import caret, visible
from gateway.client.display import number
from gateway.client.result import Explanation, Result
from gateway.wire import QueryResponse
from tests.client.answers import BUDGET, answer


def result(**changes: Any) -> Result:
    return Result(QueryResponse.model_validate(answer(**changes)), "SELECT 1")


def test_the_table_in_plain_text() -> None:
    assert repr(result(warnings=["Read with care."])).splitlines() == [
        "plan      n       spent",
        "────────────────────────────────────",
        "A     1,234 ± 30   70.1 [69.0, 74.0]",
        "NULL     40 ± 30   80.5",
        "cost: ε = 0.5",
        "remaining on health: ε = 4.5 of 5 (with Gaussian noise: 3.1)",
        "warning: Read with care.",
    ]


def test_digits_without_an_interval_are_few_in_the_display_alone() -> None:
    derived = result(columns=[{"name": "ratio", "type": "number", "role": "derived"}], rows=[[3.36441]], intervals={})
    assert "3.364\n" in repr(derived)
    assert derived.scalar() == 3.36441


def test_an_answer_given_again_costs_nothing() -> None:
    assert "cost: nothing, an answer already paid for (ε = 0.5)" in repr(result(cached=True))


def test_a_suspension_shows() -> None:
    assert "suspended until an administrator clears it" in repr(result(budget=BUDGET | {"suspended": True}))


def test_long_answers_are_cut_in_the_display_alone() -> None:
    rows = [["x" * 100, index, 0.5] for index in range(100)]
    long = result(rows=rows, intervals={})
    assert "… 40 more rows" in repr(long)
    assert "x" * 60 not in repr(long)
    assert len(long.rows) == 100
    assert long.rows[0][0] == "x" * 100


def test_no_rows() -> None:
    assert "no rows" in repr(result(rows=[], intervals={}))


HOSTILE = '<script>alert("x")</script>&\x1b[31m\u202e'


def test_html_escapes_everything() -> None:
    page = result(
        columns=[{"name": HOSTILE, "type": "text", "role": "key"}],
        rows=[[HOSTILE]],
        intervals={},
        warnings=[HOSTILE],
        budget=BUDGET | {"dataset": HOSTILE},
    )._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;") == 4
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_plain_text_carries_no_control_characters() -> None:
    shown = repr(result(rows=[[HOSTILE + "\nremaining: everything", 1, 2.0]], intervals={}, warnings=["\x07a\nb"]))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert len(shown.splitlines()) == 6


def test_html_shows_values_intervals_cost_and_budget() -> None:
    page = result()._repr_html_()
    for expected in ("1,234", "± 30", "[69.0, 74.0]", "ε = 0.5", "ε = 4.5 of 5", "NULL"):
        assert expected in page


def test_a_plan_says_price_error_noise_and_sql() -> None:
    explained = Explanation(QueryResponse.model_validate(answer(dry_run=True, rows=[], intervals={})), "SELECT 1")
    shown = repr(explained)
    for expected in (
        "plan p-1",
        "price: ε = 0.5",
        "± 29.96",
        "at most 5 rows a person are used",
        "key plan: public, every group appears (NULL, v0, v1, v2, v3, v4, v5, v6 and 4 more)",
        "key town: private, groups below the threshold do not appear",
        "groups appear from a noisy count of 140 on, δ = 1e-09",
        "laplace noise of scale 10 on n, s (l1 = 5, l2 = 5)",
        "    SELECT plan AS k0,",
        "  SELECT k0, n FROM r0",
        "note: Rows of other plans are left out.",
    ):
        assert expected in shown
    assert explained._repr_html_().startswith("<pre>plan p-1")
    assert repr(Result(explained.response, "SELECT 1")) == shown


def test_to_pandas_has_nullable_types() -> None:
    frame = result().to_pandas(intervals=True)
    assert list(frame.columns) == ["plan", "n", "n_low", "n_high", "spent", "spent_low", "spent_high"]
    assert frame["n"].tolist() == [1234, 40]
    assert str(frame["n"].dtype) == "Int64"
    assert frame["n_low"].tolist() == [1204.0, 10.0]
    assert pd.isna(frame["plan"][1])
    assert pd.isna(frame["spent_high"][1])


def test_dates_and_great_integers_survive() -> None:
    typed = result(
        columns=[
            {"name": "day", "type": "date", "role": "key"},
            {"name": "at", "type": "timestamp", "role": "key"},
            {"name": "ok", "type": "boolean", "role": "key"},
            {"name": "n", "type": "integer", "role": "noisy"},
        ],
        rows=[["2021-02-03", "2021-02-03T04:05:06", True, 2**70], [None, None, None, None]],
        intervals={},
    )
    assert typed.rows[0] == (date(2021, 2, 3), datetime(2021, 2, 3, 4, 5, 6), True, 2**70)  # noqa: DTZ001
    frame = typed.to_pandas()
    assert frame["day"][0] == pd.Timestamp("2021-02-03")
    assert pd.isna(frame["day"][1])
    assert frame["at"][0] == pd.Timestamp("2021-02-03 04:05:06")
    assert frame["n"][0] == 2**70


def test_columns_of_an_interval_take_no_other_columns_name() -> None:
    columns = [{"name": "n", "type": "integer", "role": "noisy"}, {"name": "n_low", "type": "integer", "role": "noisy"}]
    frame = result(columns=columns, rows=[[1, 2]], intervals={"n": [[0, 2]]}).to_pandas(intervals=True)
    assert frame["n_low"].tolist() == [0.0]
    assert frame["n_low_"].tolist() == [2]


def test_scalar() -> None:
    assert result(columns=[{"name": "n", "type": "integer", "role": "noisy"}], rows=[[7]], intervals={}).scalar() == 7
    with pytest.raises(ValueError, match="2 rows and 3 columns"):
        result().scalar()


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1234567, None, "1,234,567"),
        (0.1, None, "0.1"),
        (3.0, None, "3"),
        (1e-9, None, "1e-09"),
        (123.456, 2.5, "123.5"),
        (123.456, 25.0, "123"),
        (0.001234, 0.00001, "0.001234"),
        (float("inf"), None, "inf"),
        (1.5, float("inf"), "1.5"),
        (1.5, 0.0, "1.5"),
        (1e300, 1e290, f"{1e300:,.0f}"),
    ],
)
def test_numbers(value: float, error: float | None, shown: str) -> None:
    assert number(value, error) == shown


@pytest.mark.parametrize(
    ("sql", "line", "column", "shown"),
    [
        ("SELECT a", 1, 8, "SELECT a\n       ^"),
        ("SELECT\n\ta, b\r\nFROM t", 2, 2, " a, b\n ^"),
        ("SELECT '日本', x", 1, 14, "SELECT '日本', x\n               ^"),
        ("SELECT '日本', x", 1, 16, None),
        ("SELECT a", 1, 9, "SELECT a\n        ^"),
        ("SELECT a", 2, 1, None),
        ("SELECT a", 0, 1, None),
        ("SELECT a", 1, 0, None),
        ("", 1, 1, "\n^"),
    ],
)
def test_carets(sql: str, line: int, column: int, shown: str | None) -> None:
    assert caret(sql, line, column) == shown


def test_a_caret_in_a_long_line_stays_near() -> None:
    shown = caret("x" * 500 + "y" + "x" * 500, 1, 501)
    assert shown is not None
    line, mark = shown.split("\n")
    assert len(line) == 102
    assert line[mark.index("^")] == "y"


def test_visible() -> None:
    assert visible("a\x00\x1b[1mb\tc\u2028d é日") == "a\ufffd\ufffd[1mb c\ufffdd é日"
