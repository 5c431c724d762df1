"""Making a home, and opening it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway import admin
from gateway.auth import keys
from gateway.control import open_control
from gateway.settings import Settings
from gateway.store import migrate
from gateway.store.engine import ControlDatabaseError, control_engine


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_is_its_owners_alone(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a" / "home")
    made = admin.init(settings)
    assert made.key_made
    assert made.schema == migrate.head()
    assert mode(settings.home) == 0o700
    found = {path.name: mode(path) for path in settings.home.iterdir()}
    assert found.keys() >= {"control.sqlite", "signing.pem"}
    assert set(found.values()) == {0o600}


def test_an_existing_folder_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    admin.init(Settings(home=tmp_path))
    assert mode(tmp_path) == 0o700


def test_done_again_it_keeps_key_and_ledger(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    admin.init(settings)
    before = (tmp_path / "signing.pem").read_bytes()
    control = open_control(settings)
    admin.add_analyst(control, "ada", actor="test")
    again = admin.init(settings)
    assert not again.key_made
    assert (tmp_path / "signing.pem").read_bytes() == before
    assert [each.name for each in admin.list_analysts(control)] == ["ada"]
    control.dispose()


def test_a_missing_database_is_not_made_by_opening(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ControlDatabaseError, match="init"):
        open_control(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_database_without_the_schema_is_not_opened(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    control_engine(settings.database_url, create=True).dispose()
    with pytest.raises(ControlDatabaseError, match="init"):
        open_control(settings)


def test_a_database_of_another_version_is_not_opened(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    admin.init(settings)
    engine = control_engine(settings.database_url)
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ControlDatabaseError, match="9999"):
        open_control(settings)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    (tmp_path / "control.sqlite").write_bytes(b"nonsense " * 1000)
    with pytest.raises(ControlDatabaseError, match="cannot be read"):
        open_control(settings)


def test_a_signing_key_open_to_others_is_not_used(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    admin.init(settings)
    settings.signing_key_file.chmod(0o644)
    with pytest.raises(keys.KeyFileError):
        admin.init(settings)
