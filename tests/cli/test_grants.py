"""Grants with all their terms, projects, and the ledger's head and export, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Call


@pytest.fixture
def ready(call: Call, clinic: Path) -> Call:
    for words in (
        ("init",),
        ("dataset", "apply", str(clinic)),
        ("analyst", "add", "ada"),
        ("budget", "set", "--dataset", "clinic", "--analyst", "ada", "--epsilon", "3"),
    ):
        assert call(*words).exit_code == 0
    return call


def told(call: Call, *words: str) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_project_is_granted_joined_suspended_and_left(ready: Call) -> None:
    of_project = ("--dataset", "clinic", "--project", "cohort")
    scope = told(ready, "budget", "set", *of_project, "--epsilon", "2", "--max-epsilon", "0.5", "--reason", "why")
    assert (scope["kind"], scope["name"], scope["epsilon_granted"], scope["max_epsilon"]) == (
        "project",
        "cohort",
        2,
        0.5,
    )
    member = ("project", "join", "cohort", "--dataset", "clinic", "--analyst", "ada")
    assert "is in project" in ready(*member).stdout
    again = ready(*member)
    assert (again.exit_code, "no-change" in again.stderr) == (1, True)
    (budget,) = told(ready, "budget", "show")
    assert budget["epsilon_remaining"] == 0.5
    assert told(ready, "budget", "suspend", *of_project, "--reason", "an inquiry")["paused"] is True
    assert told(ready, "budget", "show")[0]["epsilon_remaining"] == 0
    assert told(ready, "budget", "resume", *of_project)["paused"] is False
    assert ready("project", "leave", "cohort", "--dataset", "clinic", "--analyst", "ada").exit_code == 0
    assert told(ready, "budget", "show")[0]["epsilon_remaining"] == 3
    listed = told(ready, "budget", "list", "--dataset", "clinic")
    assert [each["kind"] for each in listed] == ["analyst", "cap", "project"]
    assert "project cohort" in ready("budget", "list").stdout
    assert ready("ledger", "verify").exit_code == 0


def test_a_grant_that_renews_and_expires(ready: Call) -> None:
    words = ("budget", "set", "--dataset", "clinic", "--epsilon", "1", "--window", "monthly")
    ada = told(ready, *words, "--analyst", "ada", "--timezone", "Europe/Berlin", "--expires", "2099-01-01T00:00+01:00")
    assert ada["epsilon_granted"] == 1
    scope = told(ready, "budget", "list")[0]
    assert (scope["window"], scope["timezone"], scope["windows"]) == ("monthly", "Europe/Berlin", 1)
    assert scope["expires"] == "2098-12-31T23:00:00Z"
    cap = told(ready, *words, "--cap")
    assert (cap["kind"], cap["timezone"], cap["gaussian"]) == ("cap", "UTC", False)


@pytest.mark.parametrize(
    "words",
    [
        ("--analyst", "ada", "--timezone", "UTC"),
        ("--analyst", "ada", "--window", "daily", "--timezone", "Nowhere"),
        ("--analyst", "ada", "--expires", "tomorrow"),
        ("--analyst", "ada", "--max-epsilon", "nan"),
        ("--project", " x"),
    ],
)
def test_bad_terms_are_refused(ready: Call, words: tuple[str, ...]) -> None:
    result = ready("budget", "set", "--dataset", "clinic", "--epsilon", "1", *words)
    assert result.exit_code == 1
    assert "-invalid]" in result.stderr


def test_whose_grant_must_be_said(ready: Call) -> None:
    for whose in ((), ("--analyst", "ada", "--cap")):
        for act in (("set", "--epsilon", "1"), ("suspend",), ("resume",)):
            assert ready("budget", *act, "--dataset", "clinic", *whose).exit_code == 2
    nobody = ready("budget", "suspend", "--dataset", "clinic", "--analyst", "eve")
    assert (nobody.exit_code, "grant-unknown" in nobody.stderr) == (1, True)


def test_the_head_is_kept_compared_and_acknowledged(ready: Call, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text(ready("ledger", "head").stdout)
    assert "continues" in ready("ledger", "head", "--check", str(kept)).stdout
    home = tmp_path / "home"
    (home / "ledger-head.json").write_bytes(kept.read_bytes())
    (home / "control.sqlite").unlink()
    assert ready("init").exit_code == 0
    behind = ready("ledger", "head", "--check", str(kept))
    assert (behind.exit_code, "ledger-behind" in behind.stderr) == (1, True)
    acknowledge = ("ledger", "acknowledge", "--dataset", "clinic", "--reason", "lost")
    assert "were signed" in ready(*acknowledge).stdout
    assert ready(*acknowledge).exit_code == 1
    assert ready("ledger", "head", "--check", str(kept)).exit_code == 0
    kept.write_text("{}")
    assert "head-invalid" in ready("ledger", "head", "--check", str(kept)).stderr
    assert ready("ledger", "head", "--check", str(tmp_path / "none")).exit_code == 2


def test_the_ledger_is_exported(ready: Call, tmp_path: Path) -> None:
    for form in ("csv", "jsonl", "parquet"):
        assert "2 facts" in ready("ledger", "export", str(tmp_path / f"ledger.{form}")).stdout
    again = ready("ledger", "export", str(tmp_path / "ledger.csv"))
    assert again.exit_code == 1
    assert "[file-exists]" in again.stderr
    assert ready("ledger", "export", str(tmp_path / "ledger.xls")).exit_code == 2
    assert ready("ledger", "export", str(tmp_path / "any"), "--format", "csv", "--dataset", "clinic").exit_code == 0
    assert told(ready, "ledger", "public", "--dataset", "clinic") == []
    assert ready("ledger", "public", "--dataset", "clinic").exit_code == 0
