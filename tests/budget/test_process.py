"""A process counts as dead only once it is, by whatever death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from budget.process import begin, is_dead

HOLD = """
import sys, time
from pathlib import Path
from budget.process import begin
process = begin(Path(sys.argv[1]))
print(process.id, flush=True)
time.sleep(60)
"""


def test_alive_until_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            identity = child.stdout.readline().strip()
            assert len(identity) == 32
            assert not is_dead(tmp_path, identity)
            assert not is_dead(tmp_path, identity)  # asking does not kill
        finally:
            child.kill()
            child.wait()
        assert is_dead(tmp_path, identity)
        assert is_dead(tmp_path, identity)


def test_alive_to_itself_until_closed(tmp_path: Path) -> None:
    process = begin(tmp_path / "processes")
    other = begin(tmp_path / "processes")
    assert process.id != other.id
    assert not is_dead(process.folder, process.id)
    assert not is_dead(process.folder, process.id)  # a look at one's own does not let go
    process.close()
    assert is_dead(process.folder, process.id)
    assert not is_dead(other.folder, other.id)
    other.close()


def test_a_lock_that_is_out_of_reach_proves_nothing(tmp_path: Path) -> None:
    process = begin(tmp_path)
    process.close()
    (tmp_path / process.id).unlink()
    assert not is_dead(tmp_path, process.id)
    assert not is_dead(tmp_path / "elsewhere", process.id)


@pytest.mark.parametrize("identity", ["", "../" + "a" * 29, "A" * 32, "a" * 31, "a" * 33])
def test_only_an_id_is_looked_up(tmp_path: Path, identity: str) -> None:
    (tmp_path / "file").touch()
    assert not is_dead(tmp_path, identity)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / ("a" * 32)).symlink_to(tmp_path / "file")
    assert not is_dead(tmp_path, "a" * 32)


def test_identities_are_private_files(tmp_path: Path) -> None:
    process = begin(tmp_path / "processes")
    assert (process.folder / process.id).stat().st_mode & 0o777 == 0o600
    assert process.folder.stat().st_mode & 0o777 == 0o700
    process.close()
