"""Whatever text comes: a plan or a refusal with a place inside the text, soon, and nothing else."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sql.reading.grammar import DIALECTS
from tests.sql.fuzz import outcome, run, text

FUZZED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("block", [*range(2), *(pytest.param(at, marks=pytest.mark.audit) for at in range(2, 10))])
def test_ten_thousand_texts(block: int) -> None:
    """The same ones each time: 1,000 a block."""
    found = run(range(block * 1_000, (block + 1) * 1_000))
    assert found.total() == 1_000
    assert found["planned"] >= 5
    assert len(found) >= 20, "the texts reach few rules"


@settings(FUZZED, max_examples=80)
@given(st.randoms(use_true_random=False), st.sampled_from(DIALECTS))
def test_sentences_that_shrink(random: Random, dialect: str) -> None:
    outcome(text(random), dialect)


@settings(FUZZED, max_examples=80)
@given(st.text(max_size=60), st.sampled_from(DIALECTS))
def test_any_characters(said: str, dialect: str) -> None:
    assert outcome(said, dialect) != "planned"
