"""The race to the top: its law against a simulation, its one-sided promise, and its price by OpenDP's map."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mechanisms import race as racing
from mechanisms.accounting import rho_of_pure
from mechanisms.loss import EPSILON_UNIT
from mechanisms.noise import Noise, ScaleError, draw, price
from mechanisms.race import BETA, Race, calibrate_race, price_race, winner
from tests.audit.outputs import pooled

SUMS = [40, 75, 120, 130, 130]
RACE = Race(Noise("laplace", 2.0), 5, 1)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "draw", pooled(draw))


@pytest.mark.usefixtures("fast")
def test_what_is_told_has_its_law() -> None:
    times = 5_000
    found = [winner(RACE, SUMS) for _ in range(times)]
    random = np.random.default_rng(7)
    scales = 2.0 ** np.arange(1, 6)
    decay = np.exp(-1 / scales)
    # discrete Laplace noise is the difference of two geometric ones
    noise = random.geometric(1 - decay, (times, 5)) - random.geometric(1 - decay, (times, 5))
    lower = SUMS + noise - np.ceil(scales * math.log(5 / BETA))
    for place in range(5):
        expected = float((lower.argmax(axis=1) == place).mean())
        seen = sum(at == place for at, _ in found) / times
        assert abs(seen - expected) < 8 * math.sqrt(2 * max(expected * (1 - expected), 1e-3) / times)
    told = np.array([noisy - RACE.handicap(place) for place, noisy in found])
    assert abs(told.mean() - lower.max(axis=1).mean()) < 8 * math.sqrt(2 / times) * lower.max(axis=1).std()


@pytest.mark.usefixtures("fast")
def test_it_is_rarely_above_the_exact_sum() -> None:
    times, above = 5_000, 0
    for _ in range(times):
        place, noisy = winner(RACE, [130] * 5)
        above += noisy - RACE.handicap(place) > 130
    most = BETA / 2
    assert above / times < most + 7 * math.sqrt(most / times)
    assert above > 0


@pytest.mark.parametrize("budget", [EPSILON_UNIT, EPSILON_UNIT // 3, 7 * EPSILON_UNIT + 1])
def test_the_price_is_so_many_times_the_map(budget: int) -> None:
    race = calibrate_race(4096, 21, budget)
    loss = price_race(race)
    assert budget - 42 <= (loss.epsilon or 0) <= budget
    rhos = epsilons = 0
    for place in range(21):
        bound = 4096 * 2**place
        once = price(race.at(place), bound, bound, bound)
        epsilons, rhos = epsilons + (once.epsilon or 0), rhos + once.rho
    assert (epsilons, rhos) == (loss.epsilon, loss.rho)
    assert loss.rho < rho_of_pure(budget) / 5


def test_without_noise_the_largest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "draw", lambda _noise, count: [0] * count)
    near = Race(Noise("laplace", 0.1), 5, 1)
    assert winner(near, SUMS) == (3, 130)  # less 4; at the next bound less 8
    assert winner(near, [0] * 5) == (0, 0)
    assert [near.handicap(place) for place in range(3)] == [1, 1, 2]


def test_what_is_no_race() -> None:
    for noise, many, bound in (
        (Noise("gaussian", 2.0), 3, 1),
        (Noise("laplace", 2.0), 0, 1),
        (Noise("laplace", 2.0), 3, 0),
    ):
        with pytest.raises(ScaleError):
            Race(noise, many, bound)
    with pytest.raises(ScaleError):
        calibrate_race(1, 21, 20)
    with pytest.raises(ValueError, match="each candidate"):
        winner(RACE, [1, 2])
