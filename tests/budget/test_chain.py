"""The canonical encoding and the chain: what is hashed, byte for byte, for good."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from budget import chain, schema
from tests.budget.ledgers import EPSILON, grant_all

FACT = {
    "dataset": "health",
    "seq": 7,
    "at": 1,
    "hash": b"any",
    "scope": "analyst:ann",
    "epsilon": EPSILON,
    "gaussian": False,
    "reason": None,
    "payload": b"rows",
}


def test_what_a_fact_says_is_hashed_as_this_text() -> None:
    rows = sha256(b"rows").hexdigest()
    said = f'["grant",{{"epsilon":1000000000,"gaussian":false,"payload":"{rows}","scope":"analyst:ann"}}]'
    assert chain.content("grant", FACT) == sha256(said.encode()).digest()


def test_a_link_is_hashed_as_these_bytes() -> None:
    begun = chain.beginning("health")
    assert begun == sha256(b"discreet ledger 1\nhealth").digest()
    content = chain.content("grant", FACT)
    assert chain.link(begun, content, 7, 1) == sha256(begun + content + b"7:1").digest()


def test_a_column_added_later_changes_no_old_hash() -> None:
    assert chain.content("grant", FACT | {"window": None}) == chain.content("grant", FACT)
    assert chain.content("grant", FACT | {"window": "daily"}) != chain.content("grant", FACT)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=5), max_size=4)
)
def test_the_order_of_columns_is_no_matter(values: dict[str, object]) -> None:
    turned = dict(reversed(list(values.items())))
    assert chain.content("grant", values) == chain.content("grant", turned)
    assert chain.content("grant", values) != chain.content("charge", values)


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
        fact = {"scope": "cap", "epsilon": 1, "delta": 0, "gaussian": False, "actor": "root"}
        assert chain.append(conn, ahead, "grant", fact).at == ahead.at
        assert conn.execute(select(schema.head.c.at)).scalar_one() == ahead.at
