"""The choice of a bound by its error: sensitivity by enumeration, law against what is drawn, price by OpenDP's map."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest

from mechanisms import least_error
from mechanisms.least_error import LONGEST, LeastError, calibrate_least, least, price_least
from mechanisms.loss import EPSILON_UNIT, RHO_UNIT
from mechanisms.noise import ScaleError, Selection, price_selection

STEPS = (1, 2, 4, 8)


def law(choice: LeastError, counts: tuple[int, ...]) -> list[float]:
    weights = [math.exp(-error / choice.selection.scale) for error in choice.errors(counts)]
    return [weight / sum(weights) for weight in weights]


def test_errors_are_those_of_noise_and_of_what_is_cut() -> None:
    choice = LeastError(Selection(1.0), STEPS, 10)
    # 5 owners of 3, 2 of 8, 1 of 100
    assert choice.errors((8, 8, 3, 1)) == [10 + 8 + 2 * 8 + 4 * 3, 20 + 2 * 8 + 4 * 3, 40 + 4 * 3, 80]
    assert LeastError(Selection(1.0), (1,), 3).errors((7,)) == [3]


def test_one_unit_more_changes_no_error_by_more_than_the_sensitivity() -> None:
    choice = LeastError(Selection(1.0), STEPS, 3)
    assert choice.sensitivity == 7
    changes = set()
    for counts in ((9, 5, 5, 1), (0, 0, 0, 0)):
        for norm in range(10):
            more = tuple(count + (norm > step) for count, step in zip(counts, STEPS, strict=True))
            pairs = zip(choice.errors(more), choice.errors(counts), strict=True)
            changes |= {after - before for after, before in pairs}
    assert (min(changes), max(changes)) == (0, 7)


def test_the_loss_is_no_more_than_its_price() -> None:
    choice = calibrate_least(STEPS, 3, EPSILON_UNIT, "epsilon")
    worst = 0.0
    for counts in product((0, 4, 30), repeat=4):
        falling = tuple(sorted(counts, reverse=True))
        for norm in range(10):
            more = tuple(count + (norm > step) for count, step in zip(falling, STEPS, strict=True))
            here, there = law(choice, falling), law(choice, more)
            worst = max(worst, *(abs(math.log(a / b)) for a, b in zip(here, there, strict=True)))
    assert 0.2 < worst <= 1


def test_what_is_drawn_has_that_law() -> None:
    choice = calibrate_least(STEPS, 2, 2 * EPSILON_UNIT, "epsilon")
    counts, times = (9, 4, 1, 0), 4_000
    seen = Counter(least(choice, counts) for _ in range(times))
    for place, expected in enumerate(law(choice, counts)):
        assert abs(seen[place] - times * expected) < 7 * math.sqrt(times * expected * (1 - expected)) + 1


@pytest.mark.parametrize("budget", [EPSILON_UNIT, EPSILON_UNIT // 3, 12_345])
def test_the_price_is_the_map_and_never_above_the_budget(budget: int) -> None:
    choice = calibrate_least(STEPS, 2, budget, "epsilon")
    loss = price_least(choice)
    assert loss == price_selection(choice.selection, 7)
    assert budget - 2 <= (loss.epsilon or 0) <= budget
    rho = price_least(calibrate_least(STEPS, 2, RHO_UNIT // 100, "rho")).rho
    assert RHO_UNIT // 100 - 2 <= rho <= RHO_UNIT // 100


def test_without_noise_the_least_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_error, "select", lambda _selection, penalties: penalties.index(min(penalties)))
    choice = LeastError(Selection(1.0), STEPS, 3)
    assert least(choice, (100, 100, 2, 0)) == 2
    assert least(choice, (0, 0, 0, 0)) == 0
    assert least(choice, (100, 100, 100, 100)) == 3


def test_what_is_no_choice() -> None:
    for steps in ((), (2, 1), (1, 1), tuple(range(LONGEST + 1))):
        with pytest.raises(ScaleError):
            LeastError(Selection(1.0), steps, 1)
    with pytest.raises(ScaleError):
        LeastError(Selection(1.0), STEPS, -1)
    with pytest.raises(ValueError, match="each candidate"):
        least(LeastError(Selection(1.0), STEPS, 1), (1, 2))
