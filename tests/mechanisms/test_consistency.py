"""Least squares by effects, against least squares by matrices; the law of what they give; whole numbers that add up."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mechanisms.consistency import MANY, Axes, Design, Margin, profile, width
from mechanisms.intervals import half_width
from mechanisms.noise import Noise
from mechanisms.tails import Floats, variance

SIZES = (2, 3, 4)
CASES: tuple[tuple[Axes, ...], ...] = (
    ((), (0,)),
    ((), (0,), (0, 1)),
    ((0,), (1,)),
    ((), (0,), (1,), (0, 1)),
    ((0, 1), (1, 2), (2,)),
    ((0, 1, 2), (0, 2), (1,), ()),
    ((0,), (0,), ()),
)
FIXED = np.random.default_rng(7)  # examples, not noise


def design(axes: tuple[Axes, ...]) -> Design:
    return Design(SIZES, tuple(Margin(each, 0.5 + place) for place, each in enumerate(axes)))


def split(found: Design, cells: Floats) -> list[Floats]:
    ends = np.cumsum([found.cells(margin.axes) for margin in found.margins])[:-1]
    return np.split(cells, ends)


def projection(found: Design) -> Floats:
    """What least squares make of all cells, as a matrix: of the sums X of all fine cells, X (X' W X)+ X' W."""
    fine = list(product(*map(range, SIZES)))
    sums, weights = [], []
    for margin in found.margins:
        for cell in product(*(range(SIZES[axis]) for axis in margin.axes)):
            sums.append([all(at[axis] == value for axis, value in zip(margin.axes, cell, strict=True)) for at in fine])
            weights.append(1 / margin.variance)
    x, w = np.array(sums, dtype=np.float64), np.diag(weights)
    return np.asarray(x @ np.linalg.pinv(x.T @ w @ x) @ x.T @ w, dtype=np.float64)


@pytest.mark.parametrize("axes", CASES, ids=str)
def test_it_is_least_squares(axes: tuple[Axes, ...]) -> None:
    found = design(axes)
    hat = projection(found)
    given = FIXED.normal(size=(len(hat), 3)) + 1e9
    made = np.concatenate(found.adjusted(split(found, given)))
    assert np.allclose(made - 1e9, hat @ given - 1e9, atol=1e-4)


@pytest.mark.parametrize("axes", CASES, ids=str)
def test_the_law_of_a_cell_is_that_of_least_squares(axes: tuple[Axes, ...]) -> None:
    found = design(axes)
    hat = projection(found)
    for place, rows in enumerate(split(found, hat)):
        law = found.law(place)
        for row in rows:
            for other, margin in enumerate(found.margins):
                entered = sorted(split(found, row)[other].tolist())
                told = [part.coefficient for part in law if part.margin == other for _ in range(part.times)]
                told += [0.0] * (found.cells(margin.axes) - len(told))
                assert np.allclose(sorted(told), entered, atol=1e-9)
        spread = sum(part.times * part.coefficient**2 * found.margins[part.margin].variance for part in law)
        assert spread <= found.margins[place].variance * (1 + 1e-9)


def test_whole_numbers_of_nested_tables_add_up() -> None:
    found = design(((0, 1), (), (0,)))
    assert found.nested == (1, 2, 0)
    for _ in range(50):
        values = found.adjusted(split(found, FIXED.normal(size=(9, 1)) * 10))
        made = found.whole(values)
        assert made is not None
        fine, total, coarse = made
        assert all(np.all(np.abs(a - b.reshape(-1)) < 1) for a, b in zip(made, values, strict=True))
        assert np.array_equal(fine.reshape(2, 3).sum(axis=1), coarse)
        assert [coarse.sum()] == total.tolist()
    assert design(((0,), (1,))).whole([np.zeros((2, 1)), np.zeros((3, 1))]) is None


@pytest.mark.parametrize("scale", [0.05, 0.7, 3.0, 40.0])
def test_the_variance_of_discrete_laplace_noise_is_that_of_its_law(scale: float) -> None:
    base = np.exp(-1 / scale)
    values = np.arange(1, 4_000, dtype=np.float64)
    exact = 2 * (values**2 * base**values).sum() * (1 - base) / (1 + base)
    assert variance(Noise("laplace", scale)) == pytest.approx(exact)


def test_many_noises_are_as_wide_as_their_convolution() -> None:
    laplace = Noise("laplace", 300.0)
    parts = [(1.0, 1, laplace), (0.05, 4 * MANY, laplace), (-0.3, 2, laplace)]
    terms = [(coefficient, noise) for coefficient, times, noise in parts for _ in range(times)]
    assert width(parts, 0.95) == pytest.approx(half_width(terms, 0.95), rel=0.04)
    assert width(parts, 0.95) <= half_width(terms, 0.95)
    assert width(parts, 0.9999) == half_width(terms, 0.9999)


@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_a_profile_runs_just_above_the_half_width(confidence: float) -> None:
    laplace, gaussian = Noise("laplace", 300.0), Noise("gaussian", 200.0)
    parts = ((1.0, 0.5, 1, laplace), (0.3, -0.2, 7, laplace), (0.0, 0.4, 40, gaussian), (-0.1, 0.1, 50, laplace))
    found = profile(parts, confidence, -1.0, 2.0)
    assert (found.at[0], found.at[-1]) == (-1.0, 2.0)
    for t in np.linspace(-1, 2, 37).tolist():
        exact = width([(above - t * below, times, noise) for above, below, times, noise in parts], confidence)
        assert exact <= np.interp(t, found.at, found.width) * 1.005
        assert np.interp(t, found.at, found.width) <= exact * 1.06
