"""Weights in halves of the owners, written for DuckDB as for PostgreSQL, on the dirty examples of the mutations."""

from __future__ import annotations

import pytest

from gateway.sql.writing import halves, rewrite
from gateway.sql.writing.dialects.writer import Writer
from tests.oracles.databases import Bases
from tests.oracles.questions import plan
from tests.oracles.test_mutations import NEIGHBOURS, _examples, found_by_neighbours
from tests.oracles.worlds import DIRTY_PEOPLE


def test_halves_have_the_same_integers_as_owners_at_once(duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, (base, _) = duckdbs[DIRTY_PEOPLE]
    asked = NEIGHBOURS[DIRTY_PEOPLE]
    at_once = {each: plan(each, dataset) for each in asked}
    monkeypatch.setattr(Writer, "halves", True)
    halved = {each: plan(each, dataset) for each in asked}
    found = [each for each in asked if "discreet_h1" in str(halved[each])]
    assert len(found) >= 3
    [data, *_] = _examples(DIRTY_PEOPLE)
    base.fill(data)
    for each in found:
        for first, second in zip(at_once[each].releases, halved[each].releases, strict=True):
            one, other = (base.fetch(release.sql).to_pylist() for release in (first, second))
            assert sorted(map(str, one)) == sorted(map(str, other))


def test_an_owner_counted_in_the_other_half_is_found(duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = halves.in_halves
    monkeypatch.setattr(Writer, "halves", True)
    ours, other = "WHERE (o & 1) <> 1 GROUP BY o ", "WHERE (o & 1) <> 0 GROUP BY o "
    monkeypatch.setattr(rewrite, "in_halves", lambda *given: honest(*given).replace(ours, other))
    assert any("is declared" in found for found in found_by_neighbours(duckdbs))
