"""What changes without anybody asking: scheduled data versions, old answers, and files that an admin is told of."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection, select

from budget import chain, payloads, schema
from gateway import admin
from gateway.admin.answers import RETENTION
from gateway.cli import shown
from gateway.engines.fingerprint import fingerprint
from gateway.store.policies import current
from gateway.versions import SCHEDULE
from gateway.watch import upkeep
from gateway.watch.upkeep import Upkeep
from tests.reuse.world import POLICY, World, world

COUNT = "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex"
DAY = 86_400_000_000
DAILY = 'data_version: {every: day, at: "03:00"}\n'


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


class Clock:
    """The control database's clock: it stands at the next noon, and a test moves it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead, noon = 0, (time.time_ns() // 1000 // DAY + 1) * DAY + DAY // 2
        patch.setattr(chain, "now", lambda _: noon + self.ahead)
        patch.setattr(chain, "time", self.time)

    def time(self, conn: Connection, dataset: str) -> int:
        """Return what ``chain.time`` says: never before the last fact."""
        last = conn.execute(select(schema.head.c.at).where(schema.head.c.dataset == dataset)).scalar_one_or_none()
        return max(chain.now(conn), last or 0)


def apply(here: World, more: str = "") -> None:
    settings = here.service.settings
    admin.apply_dataset(
        here.service.control,
        settings,
        POLICY + more,
        actor="root",
        opener=here.service.engines.get,
        folder=settings.home.parent,
    )


def looking(here: World) -> Upkeep:
    assert here.service.upkeep is not None
    return here.service.upkeep


def version(here: World) -> int:
    return admin.show_dataset(here.service.control, "health").data_version


def recorded(here: World) -> int:
    with here.service.reads.connect() as conn:
        found = current(conn, "health")
    assert found is not None
    return found[1]


def test_a_schedule_ends_stored_answers_at_its_instants_alone(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    apply(here, DAILY)
    shown_to_all = admin.show_dataset(here.service.control, "health").info
    assert (shown_to_all.data_version, shown_to_all.data_version_changes) == (1, "day 03:00 UTC")
    first = here.ask(COUNT)
    assert here.ask(COUNT).cached
    clock.ahead = DAY
    assert version(here) == 2
    assert recorded(here) == 1  # it holds although nobody has recorded it
    again = here.ask(COUNT)
    assert not again.cached
    assert again.query_id != first.query_id
    looking(here).look()
    assert recorded(here) == version(here) == 2
    with here.service.reads.connect() as conn:
        rows = conn.exec_driver_sql("SELECT version, at, actor FROM control_data_version ORDER BY version").all()
    assert [(row[0], row[2]) for row in rows[1:]] == [(2, SCHEDULE)]
    assert rows[1][1] % DAY == 3 * DAY // 24
    looking(here).look()
    assert recorded(here) == 2
    assert here.ask(COUNT).cached
    clock.ahead = 5 * DAY
    assert version(here) == 6
    assert admin.bump_data_version(here.service.control, "health", actor="root") == 7
    clock.ahead = 0  # behind what was charged: no version is taken back
    assert version(here) == 7
    assert here.sound()


def test_versions_are_the_same_whether_or_not_anybody_recorded_them(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    apply(here, DAILY)
    clock.ahead = 2 * DAY
    apply(here, "data_version: {every: month}\n")  # what the old schedule opened stays
    assert recorded(here) == version(here) == 3
    clock.ahead = 2 * DAY + 1
    assert version(here) == 3
    clock.ahead = 400 * DAY
    assert version(here) in (16, 17)
    before = version(here)
    apply(here)
    clock.ahead = 800 * DAY
    assert version(here) == recorded(here) == before


def test_old_answers_go_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path, answers_days=1) as here:
        here.ask(COUNT)
        looking(here).look()
        looking(here)._swept -= upkeep.SWEEP_SECONDS
        looking(here).look()  # not old enough
        with here.service.reads.connect() as conn:
            kept = payloads.kept(conn, "health")
        assert len(kept) == 1
        later = time.time_ns() + 2 * DAY * 1000
        monkeypatch.setattr("gateway.admin.answers.time", SimpleNamespace(time_ns=lambda: later))
        looking(here)._swept -= upkeep.SWEEP_SECONDS
        looking(here).look()
        with here.service.reads.connect() as conn:
            assert payloads.kept(conn, "health") == []
        (act,) = [act for act in admin.list_acts(here.service.control) if act.act == "answers-delete"]
        assert act.actor == RETENTION


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


def test_changed_files_alarm_the_admin_and_nobody_else(
    here: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("discreet"), "propagate", True)
    control, file = here.service.control, tmp_path / "health.duckdb"
    apply(here)
    looking(here).look()
    assert looking(here).changed == {"health": False}
    assert admin.show_dataset(control, "health").files_changed is False
    first = here.ask(COUNT)
    before = admin.show_dataset(control, "health").info
    with caplog.at_level(logging.WARNING, "discreet.upkeep"):
        touch(file)
        looking(here).look()
        looking(here).look()
    assert [record.name for record in caplog.records] == ["discreet.upkeep"]  # told once
    assert looking(here).changed == {"health": True}
    assert admin.show_dataset(control, "health").files_changed is True
    # nothing that analysts see moved
    assert admin.show_dataset(control, "health").info == before
    again = here.ask(COUNT)
    assert again.cached
    assert again.rows == first.rows
    admin.bump_data_version(control, "health", actor="root")
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "discreet.upkeep"):
        patch.setattr(upkeep, "data_changed", lambda *_: 1 / 0)
        looking(here).look()
    assert "tried again" in caplog.text
    looking(here).look()
    assert looking(here).changed == {"health": False}
    record = admin.show_dataset(control, "health")
    assert json.loads(shown.dataset(record).model_dump_json())["files_changed"] is False


def test_fingerprints(tmp_path: Path) -> None:
    file = tmp_path / "a b.duckdb"
    file.write_bytes(b"1")
    url = f"duckdb:///{tmp_path}/a%20b.duckdb"
    first = fingerprint(url)
    assert first == fingerprint(url)
    log = tmp_path / "a b.duckdb.wal"
    log.touch()
    assert fingerprint(url) == first  # an empty log says nothing
    log.write_bytes(b"2")
    second = fingerprint(url)
    assert second != first
    replaced = tmp_path / "other"
    stat = file.stat()
    replaced.write_bytes(b"3")
    os.utime(replaced, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    replaced.replace(file)
    assert fingerprint(url) != second  # of the same size and time, but another file
    folder = tmp_path / "folder"
    (folder / "visit").mkdir(parents=True)
    (folder / "visit" / "1.parquet").touch()
    whole = fingerprint(f"parquet:///{folder}")
    (folder / "visit" / "2.parquet").touch()
    found = {whole, fingerprint(f"parquet:///{folder}")}
    (folder / "visit" / "2020" / "7").mkdir(parents=True)
    (folder / "visit" / "2020" / "7" / "1.PARQUET").touch()  # the engine reads it too
    assert len(found | {fingerprint(f"parquet:///{folder}")}) == 3
    assert fingerprint("postgresql://u@h/d") is None
    with pytest.raises(OSError, match="nowhere"):
        fingerprint(f"sqlite:///{tmp_path}/nowhere")
