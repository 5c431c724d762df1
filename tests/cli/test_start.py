"""How the command starts: quickly, and without a trace of Python when something unforeseen happens."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.cli.lifetime import seconds

HEAVY = {"opendp", "pandas", "numpy", "duckdb", "pyarrow", "sqlglot", "sqlalchemy", "fastapi", "uvicorn", "alembic"}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_imports_nothing_heavy() -> None:
    code = """
import json, sys
from gateway.cli import main
sys.argv = ["discreet", "--help"]
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code, sorted({name.split(".")[0] for name in sys.modules})]))
"""
    done = python(code)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert "Commands" in done.stdout
    assert HEAVY & set(modules) == set()


UNFORESEEN = """
import sys
import gateway.cli.commands as commands
from gateway.cli import main
def broken():
    raise KeyError("income of Ada")
commands.app.registered_commands.clear()
commands.app.command("broken")(broken)
sys.argv = ["discreet", *sys.argv[1:]]
main()
"""


def test_the_unforeseen_is_one_line() -> None:
    done = python(UNFORESEEN, "broken")
    assert done.returncode == 1
    assert done.stderr == "error: an unexpected KeyError; `discreet --trace …` shows where\n"


def test_the_unforeseen_is_traced_on_demand() -> None:
    done = python(UNFORESEEN, "--trace", "broken")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "income of Ada" in done.stderr


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("8h", 28800), (" 30d ", 2592000)])
def test_lifetimes(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "8", "h", "0h", "-1h", "1.5h", "8 h", "1y", "٣h", "9" * 12 + "h"])
def test_no_lifetimes(text: str) -> None:
    with pytest.raises(ValueError, match="a lifetime is"):
        seconds(text)
