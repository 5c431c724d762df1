"""The command that makes a bounded copy: what it shows, and what it says on the way."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Call


def test_a_copy_is_made_shown_and_removed(call: Call, clinic: Path) -> None:
    assert call("init").exit_code == 0
    assert call("dataset", "apply", str(clinic)).exit_code == 0
    made = call("dataset", "prepare", "clinic")
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines()[2].split() == ["person", "400", "400", "400", "400", "1"]
    assert made.stdout.endswith("clinic: plans read the copy of data version 1 from now on\n")
    assert made.stderr.splitlines()[:2] == ["[1/1] person: 400 rows", "[1/1] person: copying"]
    assert "plans read a prepared copy" in call("dataset", "show", "clinic").stdout
    assert "read already" in call("dataset", "prepare", "clinic").stdout
    assert call("dataset", "prepare", "clinic", "--drop").stdout == "clinic: 1 copies are removed\n"
    again = json.loads(call("dataset", "prepare", "clinic", "--json").stdout)
    assert again["made"]
    assert again["tables"][0]["kept"] == 400
    assert json.loads(call("dataset", "prepare", "clinic", "--drop", "--json").stdout)["dropped"] == 1


def test_a_dataset_that_is_not_there(call: Call) -> None:
    assert call("init").exit_code == 0
    refused = call("dataset", "prepare", "nowhere")
    assert refused.exit_code == 1
    assert "dataset-unknown" in refused.stderr
