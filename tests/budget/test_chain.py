"""The canonical encoding and the chain: what is hashed, byte for byte, for good."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from budget import chain, schema
from budget.standing import Grant, terms
from tests.budget.ledgers import append, grant_all

FACT = {
    "dataset": "health",
    "seq": 7,
    "at": 1,
    "hash": b"any",
    "charge": "c" * 32,
    "status": "answered",
    "digest": sha256(b"rows").digest(),
    "reason": None,
}


def test_what_a_fact_says_is_hashed_as_this_text() -> None:
    rows = sha256(b"rows").hexdigest()
    said = f'["outcome","{"c" * 32}","answered","{rows}"]'
    assert chain.content("outcome", FACT) == sha256(said.encode()).digest()


def test_flags_nulls_and_bytes_in_the_middle_keep_their_place() -> None:
    grant = {"scope": "cap", "epsilon": 1, "delta": 0, "gaussian": True, "paused": False, "actor": "root"}
    said = '["grant","cap",1,0,1,0,null,null,null,null,null,null,"root"]'
    assert chain.content("grant", grant) == sha256(said.encode()).digest()
    signed = {"signed_seq": 1, "signed_at": 2, "signed_hash": b"h" * 32, "actor": "root", "reason": "why"}
    said = f'["acknowledgement",1,2,"{(b"h" * 32).hex()}","root","why"]'
    assert chain.content("acknowledgement", signed) == sha256(said.encode()).digest()


def test_a_link_is_hashed_as_these_bytes() -> None:
    begun = chain.beginning("health")
    assert begun == sha256(b"discreet ledger 1\nhealth").digest()
    content = chain.content("outcome", FACT)
    assert chain.link(begun, content, 7, 1) == sha256(begun + content + b"7:1").digest()


def test_a_column_added_later_changes_no_old_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chain.content("outcome", FACT)
    monkeypatch.setitem(chain._SAID, "outcome", (*chain._SAID["outcome"], "later"))
    assert chain.content("outcome", FACT) == before
    assert chain.content("outcome", FACT | {"later": 0}) != before


@settings(deadline=None)
@given(
    st.lists(st.none() | st.integers() | st.text(max_size=5), max_size=4),
    st.lists(st.none() | st.integers() | st.text(max_size=5), max_size=4),
)
def test_two_facts_have_one_digest_only_if_they_say_the_same(one: list[object], other: list[object]) -> None:
    def plain(said: list[object]) -> list[object]:
        while said and said[-1] is None:
            said = said[:-1]
        return said

    # Renewals have neither flags nor bytes, whose kinds a position fixes.
    same = chain.digest("renewal", list(one)) == chain.digest("renewal", list(other))
    assert same == (plain(one) == plain(other))
    assert chain.digest("renewal", list(one)) != chain.digest("attempt", list(one))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_has_no_canonical_text(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        chain.canonical_json(value)


def test_time_is_the_database_s_and_never_runs_back(engine: Engine) -> None:
    grant_all(engine)
    with engine.begin() as conn:
        begun = chain.now(conn)
        head = chain.lock(conn, "health")
        assert head is not None
        assert 0 <= begun - head.at < 60_000_000
        ahead = chain.Head(head.dataset, head.seq, begun + 10**12, head.hash)
        fact = {"scope": "cap", **terms(Grant(1), None, paused=False), "actor": "root"}
        assert append(conn, ahead, "grant", fact).at == ahead.at
        assert conn.execute(select(schema.head.c.at)).scalar_one() == ahead.at


@given(st.lists(st.none() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False), max_size=9))
def test_facts_are_written_as_canonical_json(said: list[object]) -> None:
    assert "".join(chain._encoded(list(said), 0)) == chain.canonical_json(said)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_no_fact_holds_is_not_written(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        "".join(chain._encoded(["charge", value], 0))
