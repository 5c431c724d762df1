"""Principals, tokens, policy versions and acts, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from gateway.store import acts, migrate, policies, principals, tables, tokens
from gateway.store.engine import control_engine


@pytest.fixture(params=["sqlite", "postgresql"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/c.sqlite"
    engine = control_engine(url, create=True)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


def issued(token_id: str, kind: tokens.Kind = "jwt") -> tokens.Issued:
    return tokens.Issued(token_id, kind, "ada", "analyst", 1_000_000, 2_000_000, "root")


def test_principals(control: Engine) -> None:
    with control.begin() as conn:
        added = principals.add(conn, "ada", "analyst")
        principals.add(conn, "root", "admin")
        assert principals.get(conn, "ada") == added
        assert principals.get(conn, "Ada") is None
        assert [each.name for each in principals.listed(conn)] == ["ada", "root"]
        assert principals.set_disabled(conn, "ada", disabled=True)
        assert principals.get(conn, "ada") == replace(added, disabled=True)
        assert not principals.set_disabled(conn, "nobody", disabled=True)
        assert added.created_at > 1_700_000_000_000_000
    with pytest.raises(IntegrityError), control.begin() as conn:
        principals.add(conn, "ada", "admin")


def test_tokens(control: Engine) -> None:
    digest = tokens.digest("dsc_secret")
    with control.begin() as conn:
        principals.add(conn, "ada", "analyst")
        tokens.record(conn, issued("a" * 32), None)
        tokens.record(conn, issued("b" * 32, "api"), digest)
        assert tokens.by_id(conn, "a" * 32) == replace(issued("a" * 32), held="analyst")
        assert tokens.by_digest(conn, digest) == replace(issued("b" * 32, "api"), held="analyst")
        assert tokens.by_digest(conn, tokens.digest("dsc_secreT")) is None
        assert not tokens.revoked(conn, tokens.OWN, "b" * 32)
        assert tokens.revoke(conn, tokens.OWN, "b" * 32, actor="root")
        assert not tokens.revoke(conn, tokens.OWN, "b" * 32, actor="root")
        found = tokens.by_digest(conn, digest)
        assert found is not None
        assert found.revoked
        assert not tokens.revoked(conn, "https://id.example.org", "b" * 32)
        assert {each.id: each.revoked for each in tokens.listed(conn, "ada")} == {"a" * 32: False, "b" * 32: True}
        assert tokens.listed(conn, "bob") == []


def test_only_the_digest_of_an_api_token_is_kept(control: Engine) -> None:
    assert tokens.digest("dsc_secret") == sha256(b"dsc_secret").digest()
    with control.begin() as conn:
        principals.add(conn, "ada", "analyst")
        tokens.record(conn, issued("b" * 32, "api"), tokens.digest("dsc_secret"))
        (row,) = conn.execute(select(tables.token))
        assert "secret" not in str(row)


@pytest.mark.parametrize(("kind", "digest"), [("api", None), ("jwt", bytes(32)), ("api", bytes(31)), ("pat", None)])
def test_tokens_of_no_known_form(control: Engine, kind: tokens.Kind, digest: bytes | None) -> None:
    with control.begin() as conn:
        principals.add(conn, "ada", "analyst")
    with pytest.raises(IntegrityError), control.begin() as conn:
        tokens.record(conn, issued("a" * 32, kind), digest)


def test_a_token_is_somebodys(control: Engine) -> None:
    with pytest.raises(IntegrityError), control.begin() as conn:
        tokens.record(conn, issued("a" * 32), None)


def test_policy_versions_are_added_and_never_changed(control: Engine) -> None:
    with control.begin() as conn:
        assert policies.current(conn, "health") is None
        assert policies.latest(conn, "health") is None
        made = [
            policies.append(conn, "health", source=text, document="{}", shapes="{}", dialect="duckdb", actor="root")
            for text in ("one", "two")
        ]
        assert [each.version for each in made] == [1, 2]
        assert policies.latest(conn, "health") == made[1]
        assert policies.get(conn, "health", 1) == made[0]
        assert policies.get(conn, "health", 3) is None
        assert policies.current(conn, "health") == (2, 1)
        assert policies.bump(conn, "health", actor="root") == 2
        policies.append(conn, "health", source="three", document="{}", shapes="{}", dialect="duckdb", actor="root")
        assert policies.current(conn, "health") == (3, 2)
        assert policies.names(conn) == ["health"]


def test_acts_newest_first(control: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([7_000, 7_000, 6_000])  # a clock of milliseconds that is set back
    monkeypatch.setattr("gateway.store.acts.chain.now", lambda _: next(clock))
    for number in range(3):
        with control.begin() as conn:
            acts.note(conn, "root", "analyst-add", f"a{number}", "x" * 2000 if number == 2 else None)
    with control.begin() as conn:
        found = acts.listed(conn, 2)
    assert [each.subject for each in found] == ["a2", "a1"]
    assert [each.at for each in found] == [7_002, 7_001]
    assert found[0].detail == "x" * 1000
