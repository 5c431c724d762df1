"""The signed head: what it shows that verifying cannot, and a gateway that refuses to serve behind it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, delete, update

from budget import balance, chain, entries, grants, ledger, schema, triggers
from budget.grants import Grant
from budget.verify import verify
from gateway import admin
from gateway.auth import keys
from gateway.auth.keys import SigningKey
from gateway.errors import Conflict, RequestInvalid
from gateway.service import open_service
from gateway.settings import Settings
from gateway.store.engine import control_engine
from gateway.watch import heads, readiness
from tests.budget.ledgers import EPSILON, grant_all, request


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(home=tmp_path / "home")
    admin.init(found)
    return found


def faults(settings: Settings) -> tuple[str, ...]:
    made = open_service(settings)
    made.close()
    return made.faults


def spend(settings: Settings, times: int = 3) -> None:
    engine = control_engine(settings.database_url)
    grant_all(engine)
    for _ in range(times):
        with engine.begin() as conn:
            ledger.charge(conn, request(EPSILON // 10))
    engine.dispose()


def cut(conn: Connection) -> None:
    """Cut the last fact together with its balances and its head: what is left is consistent."""
    names = {table.name: triggers.keys(table) for table in schema.FACTS.values()}
    triggers.drop(conn, list(names))
    (last,) = entries.entries(conn, "health", after=4, limit=1)
    before = entries.entries(conn, "health", after=3, limit=1)[0]
    conn.execute(delete(schema.charge).where(schema.charge.c.seq == last.seq))
    conn.execute(update(schema.head).values(seq=before.seq, at=before.at, hash=before.hash))
    for scope in ("analyst:ann", "cap"):
        held = schema.scope.c
        loss = request(EPSILON // 10).loss
        conn.execute(
            update(schema.scope)
            .where(held.scope == scope)
            .values(
                seq=before.seq,
                spent_epsilon=held.spent_epsilon - loss.epsilon,
                life_epsilon=held.life_epsilon - loss.epsilon,
                spent_rho=held.spent_rho - loss.rho,
                life_rho=held.life_rho - loss.rho,
            )
        )
    triggers.create(conn, names)


def test_a_gateway_keeps_the_head_and_serves_a_ledger_that_went_on(settings: Settings) -> None:
    assert faults(settings) == ()
    spend(settings)
    assert faults(settings) == ()
    kept = json.loads(settings.ledger_head_file.read_text())
    assert [(each["dataset"], each["seq"]) for each in kept["heads"]] == [("health", 5)]
    assert settings.ledger_head_file.stat().st_mode & 0o077 == 0
    spend(settings)
    assert faults(settings) == ()


def test_a_gateway_that_is_killed_leaves_a_recent_head(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was spent since the start is signed while it serves, not only when it stops."""
    monkeypatch.setattr(heads.Keeper.__init__, "__defaults__", (0.01,))
    signed, real = Event(), heads.write

    def write(path: Path, found: heads.SignedHeads) -> None:
        real(path, found)
        if any(each.seq == 5 for each in found.heads):
            signed.set()

    monkeypatch.setattr(heads, "write", write)
    service = open_service(settings)
    spend(settings)
    assert signed.wait(60)
    killed = json.loads(settings.ledger_head_file.read_text())  # the file as a kill would leave it
    service.close()
    assert killed["heads"][0]["seq"] == 5


def test_a_tail_cut_together_with_its_balances(settings: Settings) -> None:
    spend(settings)
    assert faults(settings) == ()
    engine = control_engine(settings.database_url)
    with engine.begin() as conn:
        cut(conn)
        assert verify(conn).ok  # nothing within the ledger shows it
    engine.dispose()
    (fault,) = faults(settings)
    assert "has 4 facts, and 5 were signed" in fault
    assert "acknowledge" in fault
    assert json.loads(settings.ledger_head_file.read_text())["heads"][0]["seq"] == 5  # not signed over


def test_an_older_copy_restored_is_served_only_after_it_is_acknowledged(settings: Settings, tmp_path: Path) -> None:
    spend(settings)
    control, copy = settings.home / "control.sqlite", tmp_path / "copy.sqlite"
    shutil.copy(control, copy)
    spend(settings)
    assert faults(settings) == ()
    shutil.copy(copy, control)
    (fault,) = faults(settings)
    assert "has 5 facts, and 10 were signed" in fault
    engine, key = control_engine(settings.database_url), keys.load(settings.signing_key_file)
    with pytest.raises(RequestInvalid):
        admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="")
    with pytest.raises(Conflict):
        admin.acknowledge_ledger(engine, settings, key, "other", actor="root", reason="no")
    told = admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="restored")
    assert "10 were signed" in told
    with pytest.raises(Conflict):
        admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="again")
    with engine.connect() as conn:
        last = entries.entries(conn, "health", after=5)[-1]
        assert (last.kind, last.says["signed_seq"], last.says["reason"]) == ("acknowledgement", 10, "restored")
        assert verify(conn).ok
    engine.dispose()
    assert faults(settings) == ()
    assert json.loads(settings.ledger_head_file.read_text())["heads"][0]["seq"] == 6


def test_a_running_gateway_sees_that_it_was_acknowledged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    spend(settings)
    assert faults(settings) == ()
    engine, key = control_engine(settings.database_url), keys.load(settings.signing_key_file)
    with engine.begin() as conn:
        cut(conn)
    running = open_service(settings)
    assert "signed" in running.faults[0]
    assert running.readiness.look() == running.faults
    admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="the backup of Monday")
    assert running.readiness.look() != (), "what was found holds for a moment"
    monkeypatch.setattr(readiness, "AGAIN_SECONDS", 0)
    assert running.readiness.look() == running.faults == ()
    assert json.loads(settings.ledger_head_file.read_text())["heads"][0]["seq"] == 5  # and signed the head anew
    with engine.begin() as conn:
        assert heads.behind(conn, settings.ledger_head_file, key.public) == ()
        triggers.drop(conn, [table.name for table in schema.FACTS.values()])
    assert running.readiness.look() == (), "one that may answer is not looked at again"
    running.close()
    engine.dispose()


def test_a_running_gateway_stops_answering_when_its_ledger_falls_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spend(settings)
    monkeypatch.setattr(heads.Keeper.__init__, "__defaults__", (0.01, *heads.Keeper.__init__.__defaults__[1:]))  # type: ignore[index]
    running = open_service(settings)
    assert running.readiness.look() == ()
    engine, key = control_engine(settings.database_url), keys.load(settings.signing_key_file)
    with engine.begin() as conn:
        cut(conn)
    until = time.monotonic() + 60
    while not running.faults:
        assert time.monotonic() < until, "it goes on granting what was spent"
        time.sleep(0.01)
    assert "has 4 facts, and 5 were signed" in running.faults[0]
    admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="the backup of Monday")
    monkeypatch.setattr(readiness, "AGAIN_SECONDS", 0)
    assert running.readiness.look() == ()
    running.close()
    engine.dispose()


def test_nobody_waits_while_another_looks() -> None:
    looked, entered, go = [], Event(), Event()

    def check() -> tuple[str, ...]:
        looked.append(1)
        if len(looked) == 2:
            entered.set()
            assert go.wait(20)
            return ()
        return ("noise: stuck",)

    found = readiness.Readiness()
    found.begin(check)
    found._looked -= readiness.AGAIN_SECONDS
    thread = Thread(target=found.look)
    thread.start()
    assert entered.wait(20)
    assert found.look() == ("noise: stuck",)
    go.set()
    thread.join(20)
    assert found.look() == ()
    assert len(looked) == 2


def test_a_ledger_lost_as_a_whole(settings: Settings) -> None:
    spend(settings)
    assert faults(settings) == ()
    (settings.home / "control.sqlite").unlink()
    admin.init(settings)
    (fault,) = faults(settings)
    assert "has 0 facts, and 5 were signed" in fault
    engine, key = control_engine(settings.database_url), keys.load(settings.signing_key_file)
    admin.acknowledge_ledger(engine, settings, key, "health", actor="root", reason="lost")
    engine.dispose()
    assert faults(settings) == ()


def test_a_chain_rewritten_as_a_whole(settings: Settings) -> None:
    spend(settings)
    assert faults(settings) == ()
    (settings.home / "control.sqlite").unlink()
    admin.init(settings)
    spend(settings, times=4)
    (fault,) = faults(settings)
    assert "another fact number 5" in fault


def test_a_head_that_was_altered_or_signed_by_another(settings: Settings) -> None:
    spend(settings)
    assert faults(settings) == ()
    path = settings.ledger_head_file
    said = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [
        {"at": said["at"] + 1},
        {"heads": []},
        {"signature": "00" * 64},
        {"heads": 3},
        {"key": "none"},
    ]
    for bad in (said | change for change in changes):
        path.write_text(json.dumps(bad))
        (fault,) = faults(settings)
        assert "altered" in fault or "no signed head" in fault
    path.write_bytes(b"\xff\xfe")
    assert "no signed head" in faults(settings)[0]
    engine, other = control_engine(settings.database_url), SigningKey(Ed25519PrivateKey.generate())
    with pytest.raises(Conflict):
        admin.acknowledge_ledger(engine, settings, other, "health", actor="root", reason="why")
    heads.write(path, admin.sign_head(engine, other))
    engine.dispose()
    assert "another key" in faults(settings)[0]


def test_a_head_is_signed_over_this_text(settings: Settings) -> None:
    spend(settings)
    engine, key = control_engine(settings.database_url), keys.load(settings.signing_key_file)
    signed = admin.sign_head(engine, key)
    (head,) = signed.heads
    said = f'discreet ledger heads 1\n[{signed.at},[["health",5,{head.at},"{head.hash.hex()}"]]]'
    key.public.verify(signed.signature, said.encode())
    assert heads.from_json(json.dumps(heads.to_json(signed))) == signed
    assert admin.compare_head(engine, signed) == []
    engine.dispose()


def test_a_window_that_begins_moves_the_head_on(settings: Settings) -> None:
    """Every act moves the head: none can be taken back unseen."""
    engine = control_engine(settings.database_url)
    grant_all(engine)
    seen: set[bytes] = set()

    def moved(engine: Engine) -> None:
        with engine.connect() as conn:
            head = chain.lock(conn, "health")
            assert head is not None
            assert head.hash not in seen
            seen.add(head.hash)

    moved(engine)
    with engine.begin() as conn:
        grants.set_project(conn, "health", "p", Grant(1), actor="root")
    moved(engine)
    with engine.begin() as conn:
        grants.join(conn, "health", "p", "ann", actor="root")
        assert balance.of(conn, "health", "ann").remaining("laplace") == 1
    moved(engine)
    engine.dispose()
