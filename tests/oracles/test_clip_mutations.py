"""The oracles bite on bounds that are chosen: with a rule of theirs broken on purpose, one of them fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from gateway.policy.model import Dataset
from gateway.sandbox import Sandbox
from gateway.sql import compile as compiling
from gateway.sql.planning.plan import Block, Clip, PlannedRelease
from gateway.sql.writing import rewrite
from gateway.sql.writing.dialects.writer import Writer
from tests.oracles import naive, neighbours
from tests.oracles.databases import Bases
from tests.oracles.questions import Aggregated, Asked, plan, written
from tests.oracles.test_infinite import differences, silence
from tests.oracles.worlds import LOOSE_PEOPLE, generate, units, without

pytestmark = pytest.mark.audit

NEIGHBOURS = (
    written("SELECT COUNT(*) FROM visit"),
    written("SELECT SUM(cost) FROM visit"),
    written("SELECT label, SUM(qty) FROM item GROUP BY label"),
    written("SELECT SUM(qty) FROM item WHERE qty < 0"),
    written("SELECT label, COUNT(*), AVG(price) FROM item GROUP BY label"),
    written("SELECT kind, COUNT(DISTINCT person_id), COUNT(*) FROM visit GROUP BY kind", groups=2),
    written("SELECT label, SUM(qty), AVG(price) FROM item GROUP BY label", "gaussian"),
)
ANSWERS = (
    Asked("visit", ("kind",), (Aggregated("COUNT"), Aggregated("SUM", "cost"))),
    Asked("visit", (), (Aggregated("SUM", "cost"),)),
    Asked("item", ("label",), (Aggregated("SUM", "qty"),)),
    Asked("log", (), (Aggregated("COUNT"),)),
)


def found_by_neighbours(duckdbs: Bases) -> list[str]:
    """What the first oracle says of dirty examples with a heavy owner."""
    found: list[str] = []
    dataset, (first, second) = duckdbs[LOOSE_PEOPLE]
    for seed in range(2):
        data = generate(LOOSE_PEOPLE, Random(seed), 40, dirty=True, heavy=60)  # noqa: S311 - fixed examples, not noise
        every = [without(LOOSE_PEOPLE, data, unit) for unit in units(LOOSE_PEOPLE, data)]
        for left in sorted(every, key=lambda left: sum(map(len, left.values())))[:2]:
            first.fill(data)
            second.fill({name: rows[::-1] for name, rows in left.items()})
            for asked in NEIGHBOURS:
                found += neighbours.compare(plan(asked, dataset), first.fetch, second.fetch)
    return found


def found_by_answers(duckdbs: Bases, sandbox: Sandbox) -> list[str]:
    """What the second oracle says of clean examples."""
    dataset, (base, _) = duckdbs[LOOSE_PEOPLE]
    found = []
    for seed in range(3):
        data = naive.clean(LOOSE_PEOPLE, Random(seed), 30)  # noqa: S311 - fixed examples, not noise
        base.fill(data)
        found += [
            differences(asked, LOOSE_PEOPLE, plan(asked, dataset), data, base.fetch, sandbox) for asked in ANSWERS
        ]
    return [difference for difference in found if difference]


def test_the_fixed_examples_pass(duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found_by_neighbours(duckdbs) == []
    silence(monkeypatch)
    assert found_by_answers(duckdbs, sandbox) == []


def rewritten(patch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> None:
    """Write the SQL of chosen bounds otherwise."""
    honest = rewrite.rewrite

    def written_otherwise(planned: PlannedRelease, dataset: Dataset) -> PlannedRelease:
        made = honest(planned, dataset)
        for old, new in changes:
            made = replace(made, sql=made.sql.replace(old, new))
        return made

    patch.setattr(compiling, "rewrite", written_otherwise)


def no_weights(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "weighted", lambda _self, amount, _total, _rows: amount)


def each_group_for_itself(patch: pytest.MonkeyPatch) -> None:
    """The norm is of one group's part, not of the owner's vector over all groups."""
    sizes = ("n", "ABS(m0)", "ABS(m1)")
    rewritten(patch, *((f"SUM({size}) OVER (PARTITION BY o) AS t", f"{size} AS t") for size in sizes))


def signed_norms(patch: pytest.MonkeyPatch) -> None:
    """A sum below zero is no larger than any bound."""
    patch.setattr(Writer, "magnitude", lambda _self, part: part)


def groups_counted_as_owners(patch: pytest.MonkeyPatch) -> None:
    rewritten(patch, ("(SELECT o, MAX(t) AS t FROM discreet_w GROUP BY o)", "(SELECT o, t FROM discreet_w)"))


def bounds_of_the_step_below(patch: pytest.MonkeyPatch) -> None:
    honest = Clip.block

    def block(self: Clip, found: Block, number: int, place: int) -> Block:
        return honest(self, found, number, max(place - 2, 0))

    patch.setattr(Clip, "block", block)


Mutation = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("mutation", "said"),
    [
        (no_weights, "is declared"),
        (each_group_for_itself, "is declared"),
        (signed_norms, "is declared"),
        (groups_counted_as_owners, "units above the candidates"),
        (bounds_of_the_step_below, "is declared"),
    ],
)
def test_neighbours_find(mutation: Mutation, said: str, duckdbs: Bases, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    assert any(said in found for found in found_by_neighbours(duckdbs))


def all_weighted(patch: pytest.MonkeyPatch) -> None:
    rewritten(patch, ("CASE WHEN t > 1 THEN 1 ELSE 0 END", "0"))


def heavy_left_out(patch: pytest.MonkeyPatch) -> None:
    of_owner = "SELECT o, {} AS t FROM discreet_w GROUP BY o"
    rewritten(patch, (of_owner.format("MAX(t)"), of_owner.format("MIN(0)")))


@pytest.mark.parametrize("mutation", [all_weighted, heavy_left_out])
def test_answers_find(mutation: Mutation, duckdbs: Bases, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    mutation(monkeypatch)
    assert found_by_answers(duckdbs, sandbox)
