"""The third oracle: what is released loses no more than it costs, and the audit sees more than half of that."""

from __future__ import annotations

import pytest

from gateway.answers import compose as composing
from gateway.sandbox import Sandbox
from mechanisms.noise import draw
from tests.audit.cases import CASES, COMPOSED, Case, ask
from tests.audit.claims import breaches, sharpness
from tests.audit.outputs import answers, seen
from tests.oracles.databases import DuckdbDatabase


@pytest.mark.audit
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_release_loses_what_it_costs(case: Case, base: DuckdbDatabase) -> None:
    pair = ask(case, base)
    worlds = seen(pair, case.times)
    assert breaches(pair, worlds) == []
    proven, claim = sharpness(case, pair, worlds)
    assert claim / 2 < proven.loss, f"{proven} of {claim}"


@pytest.mark.audit
@pytest.mark.parametrize("case", COMPOSED, ids=str)
def test_a_composed_answer_loses_what_it_costs(
    case: Case, base: DuckdbDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They take as long as all the rest, are computed of what was released, and are not read here.
    monkeypatch.setattr(composing, "repeated_intervals", lambda *_, **__: {})
    sandbox = Sandbox(memory=2**28, seconds=20)
    try:
        pair = ask(case, base)
        worlds = answers(pair, case.times, sandbox)
    finally:
        sandbox.close()
    assert breaches(pair, worlds) == []
    proven, claim = sharpness(case, pair, worlds)
    assert claim / 2 < proven.loss, f"{proven} of {claim}"


@pytest.mark.audit
def test_a_count_drawn_anew_for_each_release_loses_what_it_costs(base: DuckdbDatabase) -> None:
    """The fast case: no pool stands between the release and its noise."""
    case = Case("count", "SELECT COUNT(*) FROM person", 2)
    pair = ask(case, base)
    worlds = seen(pair, 8_000, draw)
    assert breaches(pair, worlds) == []
    proven, claim = sharpness(case, pair, worlds)
    assert claim / 2 < proven.loss, f"{proven} of {claim}"
