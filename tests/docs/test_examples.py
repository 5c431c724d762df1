"""The examples run as they stand."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.demo.data import load
from gateway.policy import document
from tests.docs.pages import ROOT, blocks, page

NOTEBOOK = ROOT / "examples" / "first_questions.ipynb"


def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DISCREET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DISCREET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    read = notebook()
    NotebookClient(read, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = str([cell.get("outputs") for cell in read.cells])
    for expected in ("± ", "bounded SQL:", "[aggregate-unsupported]", "[budget-exhausted]", "mean_spending_low"):
        assert expected in shown


def test_the_notebook_is_kept_without_outputs() -> None:
    read = notebook()
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in read.cells)


def test_the_policy_of_the_examples_is_the_demos() -> None:
    shown, demo = (document.load(page(name)) for name in ("examples/health.yaml", "gateway/demo/health.yaml"))
    assert shown.model_copy(update={"engine": demo.engine}) == demo


def test_the_steps_of_the_examples_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path / ".demo" / "health.duckdb")
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "health.yaml", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISCREET_HOME", str(tmp_path / "home"))
    (steps,) = blocks(page("examples/README.md"), "sh")
    for line in steps.splitlines():
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    assert "remaining on health: ε = 2.5 of 3" in done.stdout
