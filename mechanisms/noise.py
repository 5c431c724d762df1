"""Noise and selections from OpenDP: calibrated, priced, drawn. The one file that imports opendp.

Noise is drawn around zero, as whole vectors of integers, and added by the caller to exact integers of any size. A price
is what OpenDP's privacy map says of the very measurement that is drawn from. The library is imported at first use,
since it takes a third of a second that a command line should not pay; a server calls ``warm_up``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.accounting import rho_of_laplace, rho_of_pure
from mechanisms.loss import EPSILON_UNIT, RHO_UNIT, Loss, Mechanism, epsilon_units, rho_units

if TYPE_CHECKING:
    from opendp.mod import Measurement

__all__ = [
    "MAX_SCALE",
    "CanaryError",
    "Mechanism",
    "Noise",
    "ScaleError",
    "Selection",
    "Sensitivity",
    "calibrate",
    "calibrate_selection",
    "canary",
    "draw",
    "norm",
    "price",
    "price_selection",
    "select",
    "warm_up",
]

Sensitivity: TypeAlias = int | Fraction
"""A bound in integer units of a measure; a fraction where it is a root (see ``norm``)."""

MAX_SCALE = 2.0**56
"""Above it the 64-bit noise itself would saturate and show the exact value: at 2^56 an end is met once in e^128
draws.
"""

MAX_SCORE = 2**62
"""Scores are held below it, which moves no two of them further apart than they were."""

_ENDS = (-(2**63), 2**63 - 1)
_ROOT_BITS = 32
_MAX_STEPS = 64


class ScaleError(ValueError):
    """No noise can be calibrated: the scale would be above ``MAX_SCALE``, or is no positive number.

    Known from text and policy alone: a planner takes a coarser unit, or refuses, before anything is spent.
    """


class CanaryError(RuntimeError):
    """The noise source does not behave: nothing may be released."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Independent discrete noise around zero: Laplace with P[z] ~ exp(-|z|/scale), Gaussian with exp(-z^2/(2 scale^2)).

    ``scale`` is in the integer units of the measure.
    """

    mechanism: Mechanism
    scale: float

    def __post_init__(self) -> None:
        if self.mechanism not in ("laplace", "gaussian"):
            raise ScaleError("unknown mechanism")
        if not 0 < self.scale <= MAX_SCALE:  # also false for NaN; scale 0 would return the raw value
            raise ScaleError("scale out of range")


@dataclass(frozen=True, slots=True)
class Selection:
    """The exponential mechanism (McSherry and Talwar 2007): candidate i with P[i] ~ exp(-penalty_i / scale).

    ``scale`` is in the integer units of the penalties.
    """

    scale: float
    mechanism: Literal["exponential"] = field(init=False, default="exponential")

    def __post_init__(self) -> None:
        if not 0 < self.scale <= MAX_SCALE:  # scale 0 would return the raw choice
            raise ScaleError("scale out of range")


def norm(squared: int) -> Fraction:
    """Return a root of ``squared`` rounded up to a multiple of 2^-32, as the L2 sensitivity that it is the square
    of.
    """
    if squared < 0:
        raise ValueError("negative square")
    shifted = squared << (2 * _ROOT_BITS)
    root = math.isqrt(shifted)
    return Fraction(root + (root * root < shifted), 2**_ROOT_BITS)


@cache
def _library() -> ModuleType:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    return dp


@lru_cache(maxsize=1024)
def _measurement(noise: Noise) -> Measurement:
    dp = _library()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    if noise.mechanism == "laplace":
        return cast("Measurement", dp.m.make_laplace(domain, dp.l1_distance(T="f64"), scale=noise.scale))
    return cast("Measurement", dp.m.make_gaussian(domain, dp.l2_distance(T="f64"), scale=noise.scale))


@lru_cache(maxsize=1024)
def _selecting(selection: Selection, measure: Literal["epsilon", "rho"]) -> Measurement:
    """Return OpenDP's noisy maximum of that scale; the one of ``rho`` is drawn from.

    Why the map of ``epsilon`` prices it too: with Gumbel noise of that scale, which OpenDP draws for rho, the least
    penalty is found exactly with the exponential mechanism's probabilities, whose pure loss is 2 * sensitivity / scale
    (McSherry and Talwar 2007, theorem 6); that is OpenDP's map under the pure measure, at the same scale.
    """
    dp = _library()
    domain = dp.vector_domain(dp.atom_domain(T="i64"))
    output = dp.max_divergence() if measure == "epsilon" else dp.zero_concentrated_divergence()
    made = dp.m.make_noisy_max(domain, dp.linf_distance(T="i64"), output, scale=selection.scale, negate=True)
    return cast("Measurement", made)


def _selection_loss(selection: Selection, sensitivity: int, measure: Literal["epsilon", "rho"]) -> Fraction:
    if not 0 < sensitivity < MAX_SCORE:
        raise ScaleError("sensitivity out of range")
    loss = float(_selecting(selection, measure).map(sensitivity))  # type: ignore[no-untyped-call]
    if not math.isfinite(loss) or loss < 0:
        raise ScaleError("privacy map out of range")
    return Fraction(loss)


def _float_up(value: Sensitivity) -> float:
    """Return the least float not below ``value``: a map that is given less than the sensitivity would understate the
    price.
    """
    try:
        nearest = float(value)
    except OverflowError:
        raise ScaleError("sensitivity out of range") from None
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def _mapped(noise: Noise, sensitivity: Sensitivity) -> Fraction:
    """Return OpenDP's privacy map at a sensitivity, as the exact value of the float that it gives."""
    loss = float(_measurement(noise).map(_float_up(sensitivity)))  # type: ignore[no-untyped-call]
    if not math.isfinite(loss) or loss < 0:
        raise ScaleError("privacy map out of range")
    return Fraction(loss)


@lru_cache(maxsize=1024)
def calibrate(mechanism: Mechanism, sensitivity: Sensitivity, budget: int) -> Noise:
    """Return the noise of the smallest scale whose OpenDP map at ``sensitivity`` is at most ``budget``.

    Takes:
        mechanism: what the other two mean.
        sensitivity: L1 for Laplace, L2 for Gaussian, in integer units, above zero.
        budget: epsilon in 1e-9 for Laplace, rho in 1e-12 for Gaussian, above zero.

    Raises ``ScaleError`` where no admissible scale exists. The closed form is right to a few steps of floating point;
    from there the scale is walked by single steps until the map itself fits, and the next smaller float does not.
    """
    if sensitivity <= 0 or budget <= 0:
        raise ScaleError("sensitivity and budget must be positive")
    try:
        if mechanism == "laplace":
            target = Fraction(budget, EPSILON_UNIT)
            guess = float(sensitivity / target)
        else:
            target = Fraction(budget, RHO_UNIT)
            guess = math.sqrt(Fraction(sensitivity) ** 2 / (2 * target))
    except OverflowError:
        raise ScaleError("scale out of range") from None

    def fits(scale: float) -> bool:
        return _mapped(Noise(mechanism, scale), sensitivity) <= target

    scale = guess
    for _ in range(_MAX_STEPS):
        if fits(scale):
            break
        scale = math.nextafter(scale, math.inf)
    else:
        raise ScaleError("no scale fits the budget")
    for _ in range(_MAX_STEPS):
        smaller = math.nextafter(scale, 0.0)
        if not fits(smaller):
            break
        scale = smaller
    return Noise(mechanism, scale)


def price(noise: Noise, l1: Sensitivity, l2: Sensitivity, linf: Sensitivity) -> Loss:
    """Return what one vector of this noise costs at the given sensitivities (integer units, over the whole vector).

    Read off OpenDP's map. Laplace: epsilon at ``l1``, and the rho of ``rho_of_laplace``. Gaussian: rho at ``l2``, no
    epsilon. ``AmountError`` or ``ScaleError`` if the loss is beyond any budget.
    """
    if min(l1, l2, linf) < 0:
        raise ScaleError("negative sensitivity")
    if noise.mechanism == "gaussian":
        return Loss(None, rho_units(_mapped(noise, l2), "up"))
    epsilon = epsilon_units(_mapped(noise, l1), "up")
    return Loss(epsilon, rho_of_laplace(epsilon, l1, linf))


@lru_cache(maxsize=1024)
def calibrate_selection(sensitivity: int, measure: Literal["epsilon", "rho"], budget: int) -> Selection:
    """Return the selection of the smallest scale whose OpenDP map at ``sensitivity`` is at most ``budget``.

    Takes:
        sensitivity: the most that one unit changes any penalty, in integer units, above zero.
        measure: what ``budget`` is in: epsilon in 1e-9, or rho in 1e-12, above zero.

    Raises ``ScaleError`` where no admissible scale exists.
    """
    if sensitivity <= 0 or budget <= 0:
        raise ScaleError("sensitivity and budget must be positive")
    target = Fraction(budget, EPSILON_UNIT if measure == "epsilon" else RHO_UNIT)
    # rho = epsilon^2 / 8, and epsilon = 2 * sensitivity / scale
    scale = 2 * sensitivity / float(target) if measure == "epsilon" else sensitivity / math.sqrt(2 * target)
    for _ in range(_MAX_STEPS):
        selection = Selection(scale)
        if _selection_loss(selection, sensitivity, measure) <= target:
            return selection
        scale = math.nextafter(scale, math.inf)
    raise ScaleError("no scale fits the budget")


def price_selection(selection: Selection, sensitivity: int) -> Loss:
    """Return what one selection costs if a unit changes no penalty by more than ``sensitivity``.

    Read off OpenDP's maps: an epsilon, and the rho of its Gumbel noise, epsilon^2 / 8 (Cesar and Rogers 2021), or what
    any mechanism of that epsilon has where that is less (from an epsilon of about 8 on).

    Why selections from several groups cost what one does: a unit changes the penalties of group g by at most
    sensitivity_g, these add up to at most ``sensitivity``, and both losses of independent draws add up: the first is
    proportional to the sensitivity and the second to its square.
    """
    epsilon = epsilon_units(_selection_loss(selection, sensitivity, "epsilon"), "up")
    gumbel, pure = _selection_loss(selection, sensitivity, "rho"), rho_of_pure(epsilon)
    return Loss(epsilon, pure if gumbel * RHO_UNIT >= pure else rho_units(gumbel, "up"))


def select(selection: Selection, penalties: Sequence[int]) -> int:
    """Return the index of one candidate, drawn by the exponential mechanism; penalties are at least zero.

    Penalties are cut at ``MAX_SCORE``, and the number of candidates is public.
    """
    cut = [min(penalty, MAX_SCORE) for penalty in penalties]
    return int(_selecting(selection, "rho")(cut))


def draw(noise: Noise, count: int) -> list[int]:
    """Return ``count`` independent values around zero, drawn as one vector.

    A value at either end of 64 bits may stand for anything beyond it, so it is drawn again. Within ``MAX_SCALE`` that
    happens with probability e^-128 at most, far below the smallest unit of delta.
    """
    if count < 0:
        raise ValueError("negative count")
    if count == 0:
        return []
    measurement = _measurement(noise)
    values = _vector(measurement, count)
    while saturated := [index for index, value in enumerate(values) if value in _ENDS]:
        for index, value in zip(saturated, _vector(measurement, len(saturated)), strict=True):
            values[index] = value
    return values


def _vector(measurement: Callable[[NDArray[np.int64]], list[int]], count: int) -> list[int]:
    return list(measurement(np.zeros(count, dtype=np.int64)))  # an array is handed over whole, a list value by value


def warm_up() -> None:
    """Load OpenDP and draw once with each mechanism, so that the first request does not pay for it."""
    for mechanism in get_args(Mechanism):
        draw(Noise(mechanism, 1.0), 1)
    select(Selection(1.0), [0, 1])


def canary() -> None:
    """Check the noise source as a gateway starts: prices, and that what is drawn varies. ``CanaryError`` if it is not
    so.

    Sixty-four honest values of scale 1000 are all of one sign, all equal, all small, or twice the same with probability
    below 1e-18; a source that is stuck, seeded, or adds nothing fails.
    """
    for mechanism, budget in (("laplace", EPSILON_UNIT // 1000), ("gaussian", RHO_UNIT // 2_000_000)):
        noise = calibrate(mechanism, 1, budget)
        loss = price(noise, 1, 1, 1)
        paid = loss.rho if mechanism == "gaussian" else loss.epsilon
        if paid != budget or not math.isclose(noise.scale, 1000, rel_tol=1e-9):
            raise CanaryError(f"{mechanism} noise is not at its price")
        first, second = draw(noise, 64), draw(noise, 64)
        if first == second or not min(first) < 0 < max(first) or max(map(abs, first)) < 100:
            raise CanaryError(f"{mechanism} noise does not vary")
