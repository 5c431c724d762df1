"""The form of a policy file: what YAML may say, exactly, and each problem with its place."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal

import pytest

from gateway.policy.document import MAX_DEPTH, MAX_TEXT, PolicyInvalid, exact, load
from tests.policy.health import POLICY


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(PolicyInvalid) as caught:
        load(text)
    assert str(caught.value)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_numbers_are_exact_and_dates_are_dates() -> None:
    columns = load(POLICY).tables["visit"].columns
    assert columns is not None
    assert columns["cost"].lower == Decimal("-0.10")
    assert columns["day"].lower == date(2020, 1, 1)
    assert columns["at"].upper == datetime.fromisoformat("2025-12-31T23:59:59+00:00")
    assert load(POLICY).budget.delta == Decimal("1e-6")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no", "no"),
        ("on", "on"),
        ("017", "017"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("1", 1),
        ("-0", 0),
        ("0.1", Decimal("0.1")),
        ("1e3", Decimal(1000)),
        ("true", True),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_mean_what_they_look_like(written: str, read: object) -> None:
    text = POLICY.replace("values: [F, M]", f"values: [{written}]")
    columns = load(text).tables["person"].columns
    assert columns is not None
    assert columns["sex"].values == [read]
    assert type((columns["sex"].values or [None])[0]) is type(read)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("dataset: health", "", ("dataset", "missing")),
        ("dataset: health", "dataset: Health!", ("dataset", "String should match pattern '^[a-z][a-z0-9_-]{0,62}$'")),
        ("{table: person, key: person_id}", "rows", ("privacy_unit", "Input should be 'row'")),
        ("{table: person, key: person_id}", "{table: person}", ("privacy_unit.key", "missing")),
        ("upper: 110", "uper: 110", ("tables.person.columns.age.uper", "unknown key")),
        (
            "upper: 110",
            "upper: [1]",
            ("tables.person.columns.age.upper", "a number, text, boolean or date is needed here"),
        ),
        (
            "type: boolean",
            "type: bool",
            (
                "tables.visit.columns.urgent.type",
                "Input should be 'integer', 'number', 'text', 'boolean', 'date' or 'timestamp'",
            ),
        ),
        (
            "[F, M]",
            "[]",
            ("tables.person.columns.sex.values", "List should have at least 1 item after validation, not 0"),
        ),
        (
            "per_unit: 40",
            "per_unit: 0",
            ("tables.visit.max_rows_per_unit", "Input should be greater than or equal to 1"),
        ),
        ("per_unit: 40", "per_unit: 1.5", ("tables.visit.max_rows_per_unit", "Input should be a valid integer")),
        ("per_unit: 40", "per_unit: true", ("tables.visit.max_rows_per_unit", "Input should be a valid integer")),
        ("public: true", "public: yes", ("tables.site.public", "Input should be a valid boolean")),
        ("epsilon: 20", "epsilon: .nan", ("budget.epsilon", "a finite number is needed here")),
        ("epsilon: 20", "epsilon: .inf", ("budget.epsilon", "a finite number is needed here")),
        ("epsilon: 20", "epsilon: much", ("budget.epsilon", "a finite number is needed here")),
        ("epsilon: 20", "epsilon: true", ("budget.epsilon", "a finite number is needed here")),
        ("epsilon: 20", "epsilon: 1e999999999", ("budget.epsilon", "a finite number is needed here")),
        ("epsilon: 20", "epsilon: 20, epsilon: 21", ("line 25, column 23", "'epsilon' stands here twice")),
        ("upper: 110", "upper: 2020-13-40", ("line 10, column 45", "not a date: month must be in 1..12")),
        ("upper: 110", "upper: &a 110", ("line 10, column 45", "anchors and aliases are not allowed")),
        ("upper: 110", "upper: *a", ("line 10, column 45", "anchors and aliases are not allowed")),
        ("[F, M]", "!!python/name:os.system [F]", None),
        ("  person:\n", "  12:\n", ("line 6, column 3", "keys are text (quote them)")),
        ("budget:", "<<: {a: 1}\nbudget:", ("<<", "unknown key")),
        ("{person_id: person.person_id}", "[a]", None),
        ("upper: 110", "upper: " + "9" * 5000, None),
        ("max_epsilon: 2", "max_epsilon: [", None),
        ("sex:", "se\tx\x07:", ("", "not YAML text")),
    ],
)
def test_bad_form(old: str, new: str, expected: tuple[str, str] | None) -> None:
    assert old in POLICY
    found = problems(POLICY.replace(old, new, 1))
    assert len(found) == 1
    if expected is not None:
        assert found == [expected]


def test_all_problems_at_once() -> None:
    text = POLICY.replace("upper: 110", "uper: 110").replace("public: true", "public: 3").replace("dataset:", "data:")
    assert {path for path, _ in problems(text)} == {
        "tables.person.columns.age.uper",
        "tables.site.public",
        "dataset",
        "data",
    }


@pytest.mark.parametrize("text", ["", "- a", "3", "null", "a: b: c", "%YAML 9.9\n---\n", "--- a\n--- b\n", "\ud800"])
def test_no_mapping_at_all(text: str) -> None:
    assert len(problems(text)) >= 1


def test_size_and_depth_are_limited() -> None:
    start = time.monotonic()
    assert "longer than" in problems(POLICY + "#" * MAX_TEXT)[0][1]
    nested = "[" * 5_000 + "]" * 5_000
    assert problems(POLICY + f"max_groups_contributed: {nested}")[0][1] == "nested too deeply"
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(9)
    )
    assert problems(bomb)[0][1] == "anchors and aliases are not allowed"
    assert time.monotonic() - start < 10
    assert MAX_DEPTH >= 8


def test_exact_refuses_what_would_not_fit_in_memory() -> None:
    assert exact("1e-5") == Decimal("0.00001")
    assert exact(Decimal("1e5")) == 100000
    for scalar in (
        "1e9999",
        Decimal("1e999999999"),
        Decimal("-1e-999999999"),
        10**70,
        True,
        "0x1",
        "nan",
        "١",
        None,
        1.5,
    ):
        assert exact(scalar) is None
