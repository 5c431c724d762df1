"""Opening a gateway: its canary, its pool of engines, its datasets."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from sqlalchemy import text

from gateway import admin
from gateway.engines.base import Engine, EngineUnavailable, Limits
from gateway.errors import NotFound
from gateway.service import EnginePool, Service, open_service
from gateway.settings import Settings
from gateway.store.engine import control_engine
from mechanisms import noise
from tests.http.world import POLICY, make_data


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path / "home")
    admin.init(found)
    return found


@pytest.fixture
def applied(settings: Settings, tmp_path: Path) -> Settings:
    make_data(tmp_path)
    control = control_engine(settings.database_url)
    admin.apply_dataset(control, settings, POLICY, actor="test", folder=tmp_path)
    control.dispose()
    return settings


@pytest.fixture
def service(applied: Settings) -> Iterator[Service]:
    made = open_service(applied)
    yield made
    made.close()


def faults(settings: Settings) -> tuple[str, ...]:
    made = open_service(settings)
    made.close()
    return made.faults


def test_data_engines_have_the_memory_of_the_settings(applied: Settings) -> None:
    made = open_service(applied.model_copy(update={"engine_memory": 100 << 20}))
    try:
        with made.reads.connect() as conn:
            dataset = made.catalogue.current(conn, "health")
        with made.engine(dataset).session(Limits(30)) as session:
            [limit] = session.fetch("SELECT current_setting('memory_limit') AS m").column("m").to_pylist()
    finally:
        made.close()
    assert limit == "100.0 MiB"


def test_nothing_is_wrong(applied: Settings) -> None:
    assert faults(applied) == ()


def test_a_missing_trigger_is_found(applied: Settings) -> None:
    engine = control_engine(applied.database_url)
    with engine.begin() as conn:
        conn.execute(text("DROP TRIGGER ledger_charge_no_update"))
    engine.dispose()
    (fault,) = faults(applied)
    assert "ledger_charge_no_update" in fault


def test_a_noise_source_that_is_stuck_is_found(applied: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "draw", lambda _noise, count: [7] * count)
    (fault,) = faults(applied)
    assert fault.startswith("noise")


def test_an_open_sandbox_is_found(applied: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway import sandbox

    monkeypatch.setattr(sandbox, "_instance", lambda _memory: duckdb.connect(":memory:"))
    found = faults(applied)
    assert any(fault.startswith("sandbox") for fault in found)


def test_an_engine_that_could_write_is_found(applied: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.engines.duckdb import DuckdbEngine

    monkeypatch.setattr(DuckdbEngine, "read_only", lambda _self: False)
    made = open_service(applied)
    try:
        with made.reads.connect() as conn, pytest.raises(EngineUnavailable, match="read-only"):
            made.engine(made.catalogue.current(conn, "health"))
        assert any("read-only" in fault for fault in made.faults)
    finally:
        made.close()


def test_an_engine_out_of_reach_is_no_fault(applied: Settings, tmp_path: Path) -> None:
    (tmp_path / "health.duckdb").unlink()
    assert faults(applied) == ()


def test_a_policy_that_todays_rules_refuse_is_a_fault(applied: Settings) -> None:
    engine = control_engine(applied.database_url)
    with engine.begin() as conn:
        conn.execute(text("UPDATE control_policy SET document = replace(document, '\"age\"', '\"rage\"')"))
    engine.dispose()
    (fault,) = faults(applied)
    assert "health" in fault


def test_a_dataset_is_rebuilt_without_its_engine(service: Service, tmp_path: Path) -> None:
    (tmp_path / "health.duckdb").unlink()
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, "health")
        assert service.catalogue.current(conn, "health") is dataset
        assert dataset.engine == f"duckdb:///{tmp_path}/health.duckdb"
        assert [column.name for column in dataset.tables[0].columns] == ["person_id", "sex", "age", "income"]


def test_datasets_by_version(service: Service, tmp_path: Path) -> None:
    wider = POLICY.replace("upper: 110", "upper: 120")
    admin.apply_dataset(
        service.control, service.settings, wider, actor="test", folder=tmp_path, opener=service.engines.get
    )
    admin.bump_data_version(service.control, "health", actor="test")
    with service.reads.connect() as conn:
        now = service.catalogue.current(conn, "health")
        before = service.catalogue.at(conn, "health", 1, 1)
        ages = [dataset.tables[0].column("age") for dataset in (before, now)]
        assert [age.upper for age in ages if age is not None] == [110, 120]
        assert [(each.version, each.data_version) for each in (before, now)] == [(1, 1), (2, 2)]
        for missing in ("wealth", "a\0b"):
            with pytest.raises(NotFound):
                service.catalogue.current(conn, missing)
        with pytest.raises(NotFound):
            service.catalogue.at(conn, "health", 9, 1)


def people(service: Service) -> int:
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, "health")
    with service.engine(dataset).session(Limits(30)) as session:
        return int(session.fetch("SELECT COUNT(*) AS n FROM person").column("n")[0].as_py())


def test_a_file_that_takes_the_place_of_another_is_read_when_an_admin_says_so(service: Service, tmp_path: Path) -> None:
    before = people(service)
    for more in (1, 2):
        shutil.copy(tmp_path / "health.duckdb", tmp_path / "next.duckdb")
        with duckdb.connect(str(tmp_path / "next.duckdb")) as connection:
            connection.execute("INSERT INTO person (person_id) SELECT max(person_id) + 1 FROM person")
        (tmp_path / "next.duckdb").replace(tmp_path / "health.duckdb")
        assert people(service) == before + more - 1
        if more == 1:
            admin.bump_data_version(service.control, "health", actor="test")
        else:
            wider = POLICY.replace("upper: 110", "upper: 120")
            admin.apply_dataset(service.control, service.settings, wider, actor="test", folder=tmp_path)
        assert people(service) == before + more


class Fake:
    """An engine that counts its closings."""

    def __init__(self, *, read_only: bool | Exception = True) -> None:
        self.closed = 0
        self._read_only = read_only

    def read_only(self) -> bool:
        if isinstance(self._read_only, Exception):
            raise self._read_only
        return self._read_only

    def close(self) -> None:
        self.closed += 1


def pool(*engines: Fake) -> EnginePool:
    left = list(engines)
    return EnginePool(lambda _url: cast("Engine", left.pop(0)))


def test_an_engine_is_opened_once_and_closed_with_the_pool() -> None:
    fake = Fake()
    made = pool(fake)
    assert made.get("a") is made.get("a")
    made.close()
    assert fake.closed == 1


@pytest.mark.parametrize("bad", [False, EngineUnavailable("away")], ids=str)
def test_an_engine_that_is_not_safe_is_closed_and_tried_anew(bad: Any) -> None:
    first, second = Fake(read_only=bad), Fake()
    made = pool(first, second)
    with pytest.raises(EngineUnavailable):
        made.get("a")
    assert first.closed == 1
    assert cast("Any", made.get("a")) is second
    made.close()


def test_a_database_that_does_not_answer_holds_up_no_other() -> None:
    begun, release = threading.Event(), threading.Event()

    def opener(url: str) -> Engine:
        if url == "slow":
            begun.set()
            assert release.wait(30)
        return cast("Engine", Fake())

    made = EnginePool(opener)
    thread = threading.Thread(target=made.get, args=("slow",))
    thread.start()
    assert begun.wait(30)
    made.get("quick")
    release.set()
    thread.join()
    made.close()
