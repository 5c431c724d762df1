"""The wheel built from the tree works elsewhere, migrations included; and so does an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command away from the tree, with nothing of this process's Python or settings in its environment."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DISCREET_", "VIRTUAL_ENV"))
    }
    if home is not None:
        environment["DISCREET_HOME"] = str(home)
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ".", cwd=ROOT)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("discreet-*.whl")
    return found


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts folder of a fresh environment that holds the wheel, and its dependencies from this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    installed = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    # A .pth line adds a folder without obeying the .pth files in it, so the editable install of the tree stays unseen.
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_carries_its_migrations_and_no_top_level_alembic(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    revisions = {path.name for path in (ROOT / "alembic" / "versions").glob("*.py")}
    assert revisions
    assert {f"gateway/migrations/versions/{name}" for name in revisions} <= set(names)
    assert {name.split("/")[0] for name in names if not name.startswith("discreet-")} == {
        "budget",
        "gateway",
        "mechanisms",
    }
    assert "gateway/demo/health.yaml" in names


@pytest.mark.audit
def test_the_wheel_works_elsewhere(elsewhere: Path, tmp_path: Path) -> None:
    where = run(elsewhere / "python", "-c", "import gateway.cli; print(gateway.cli.__file__)", cwd=tmp_path)
    assert where.stdout.startswith(str(elsewhere.parent)), where.stdout + where.stderr

    home = tmp_path / "home"
    for command in (["init"], ["analyst", "add", "ada"], ["dataset", "list", "--json"], ["ledger", "verify"]):
        done = run(elsewhere / "discreet", *command, cwd=tmp_path, home=home)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert not done.stderr
    shown = run(elsewhere / "discreet", "demo", "--once", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "people is exactly 5,912" in shown.stdout.replace("\n ", "")
    assert (home / "control.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.audit
def test_an_editable_install_works_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    script = Path(sys.executable).parent / "discreet"
    for command in (["init"], ["dataset", "list", "--json"]):
        done = run(script, *command, cwd=tmp_path, home=home)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_the_migrations_folder_is_no_package() -> None:
    """One ``__init__.py`` there would hide the library of the same name from the project's root."""
    assert not (ROOT / "alembic" / "__init__.py").exists()
    found = run(sys.executable, "-c", "import alembic.command; print(alembic.__file__)", cwd=ROOT)
    assert found.stdout.startswith(sysconfig.get_path("purelib")), found.stdout + found.stderr
