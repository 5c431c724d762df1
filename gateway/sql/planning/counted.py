"""How many units count for less than they have: a noisy count beside an answer, for a stated part of its price.

``SELECT COUNT(*) FROM visit`` with ``clipped_count``  →  also about how many people have more rows than are counted

Why this is sound: whether an owner is above the bound that holds is decided by that owner's rows alone, so that one
unit changes the number of those that are by one at most; it is drawn with noise of its own, once for the release, at a
price that adds to the others'. Where the bound was chosen, the choice was released before. It is read off the first row
that the engine returns, all of which hold the same; without rows nobody is above anything.
"""

from __future__ import annotations

from fractions import Fraction

from gateway.sql.planning.plan import Block, Bounding, Measure
from mechanisms.intervals import half_width
from mechanisms.noise import Mechanism, Noise, calibrate, price

PART = 10
"""A tenth of the price is spent on the count."""

COLUMN = "c0"
"""What the number of units above a declared bound is called in the bounded SQL."""

UNITS = Measure(COLUMN, "units", None, Fraction(1), 1, 1, 1)


def countable(bounding: Bounding) -> bool:
    """Whether any unit may count for less than it has."""
    return bounding.how == "chosen" or (bounding.rows is not None and not bounding.held)


def counted(mechanism: Mechanism, total: int) -> Block:
    """Return the noisy count at its part of a price (epsilon, or rho for Gaussian noise), or raise ``ScaleError``."""
    noise = calibrate(mechanism, 1, total // PART)
    return Block((UNITS,), 1, 1, 1, noise, price(noise, 1, 1, 1))


def interval(block: Block, units: int, confidence: float) -> tuple[float, float]:
    """Return what the noise leaves open: at least nobody, whatever the noisy number is."""
    assert isinstance(block.noise, Noise)
    width = half_width([(1.0, block.noise)], confidence)
    return max(units - width, 0.0), max(units + width, 0.0)


def note() -> str:
    """Say beforehand that units are counted."""
    return f"For {100 // PART} % of the price, the number of units that count for less than they have is told."


def told(block: Block, units: int, confidence: float) -> str:
    """Say how many units count for less than they have: a function of what was released."""
    low, high = interval(block, units, confidence)
    return (
        f"About {max(units, 0):,} units count for less than they have (between {low:,.0f} and {high:,.0f} with "
        f"{100 * confidence:g} %)."
    )
