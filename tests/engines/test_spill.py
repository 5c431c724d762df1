"""Folders of spilled rows: gone with who uses them, also where that was killed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.engines import spill
from gateway.engines.spill import PREFIX, Spill

HOLDER = """
import sys, tempfile
from gateway.engines.spill import Spill
tempfile.tempdir = sys.argv[1]
held = Spill()
(held.path / "rows").write_bytes(b"rows")
print(held.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_ones_own_and_goes_with_the_last_who_refers_to_it() -> None:
    made = Spill()
    path = made.path
    (path / "rows").write_bytes(b"rows")
    assert path.stat().st_mode & 0o077 == 0
    again = spill.at(str(path))
    assert again is made
    del made
    gc.collect()
    assert path.is_dir()
    del again
    gc.collect()
    assert not path.exists()
    assert spill.at(str(path)) is None


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(temporary: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(temporary)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        left = Path(holder.stdout.readline().strip())
        mine = Spill()
        assert (left / "rows").is_file()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert (left / "rows").is_file()
        other = Spill()
    assert not left.exists()
    assert mine.path.is_dir()
    assert other.path.is_dir()


def test_a_link_is_not_followed(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere, target_is_directory=True)
    Spill()
    assert elsewhere.is_dir()
