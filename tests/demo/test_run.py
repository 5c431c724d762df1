"""The demo as people run it: once, again in the same folder, and serving."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SCRIPT = Path(sys.executable).parent / "discreet"


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DISCREET_")}
    return {**kept, "PYTHONWARNINGS": "error", **settings}


def run(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *words],
        cwd=folder,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_runs_and_runs_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = run(tmp_path, "demo", "--once")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        shown = done.stdout
        assert "\x1b" not in shown, "colours in a log"
        assert "remaining on health: ε = 2.9 of 3" in shown
        assert len(re.findall(r"^── \d ──", shown, re.MULTILINE)) == 7
        assert shown.count("[for the data owner's eyes only]") == 5
        assert re.search(r"people\s+is exactly 5,912", shown)
        assert "[aggregate-unsupported]" in shown
        assert "[budget-exhausted]" in shown
        assert "required ε = 1.5, remaining ε = 0.9" in shown
        assert shown.count("charged nothing, this answer was paid for") == 1
        first, again = re.findall(r"^  people\n  ─+\n   *([0-9,]+) ±", shown, re.MULTILINE)
        assert first == again

    homes = sorted((tmp_path / ".demo").glob("run-*"))
    assert len(homes) == 2, "each run has a ledger of its own, and none is deleted"
    verified = run(tmp_path, "ledger", "verify", DISCREET_HOME=str(homes[0]))
    assert verified.returncode == 0, verified.stderr
    assert "health: " in verified.stdout


@pytest.mark.audit
def test_the_demo_leaves_a_real_control_database_alone(tmp_path: Path) -> None:
    real = tmp_path / "real"
    assert run(tmp_path, "init", DISCREET_HOME=str(real)).returncode == 0
    before = (real / "control.sqlite").read_bytes()
    settings = {
        "DISCREET_HOME": str(real),
        "DISCREET_DATABASE": f"sqlite:///{real / 'control.sqlite'}",
        "DISCREET_SIGNING_KEY": str(real / "signing.pem"),
    }
    assert run(tmp_path, "demo", "--once", **settings).returncode == 0
    assert (real / "control.sqlite").read_bytes() == before


@pytest.mark.audit
def test_the_demo_serves_what_it_says(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [SCRIPT, "demo", "--port", "0"],
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Stop with"):
                break
        told = dict(re.findall(r"^export (DISCREET_URL|DISCREET_TOKEN)=(\S+)$", "".join(lines), re.MULTILINE))
        health = httpx.get(f"{told['DISCREET_URL']}/readyz", timeout=30, trust_env=False)
        assert health.status_code == 200
        ask = ("query", "SELECT COUNT(*) AS years FROM year", "--dataset", "health", "--epsilon", "0.05")
        free = run(tmp_path, *ask, **told)
        assert "remaining on health: ε = 0.9 of 3" in free.stdout  # rolled up from what the demo has asked
        asked = run(tmp_path, *ask, "--no-cache", **told)
        assert asked.returncode == 0, asked.stderr
        assert "remaining on health: ε = 0.85 of 3" in asked.stdout
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
