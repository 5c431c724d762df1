"""How many noisy owners a group with a private key needs before it may be published.

The setting (Korolova, Kenthapadi, Mishra and Ntoulas 2009, with *discrete* noise): a group appears iff at least one
owner is in it and its owner count plus noise reaches T. One owner may reach at most k groups. Only a group that no one
else is in shows that owner's presence beyond what the noise hides.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, localcontext
from functools import lru_cache

from mechanisms.loss import DELTA_UNIT
from mechanisms.noise import Noise
from mechanisms.tails import quantile

_PRECISE = Context(prec=100)
_SLACK = Decimal("1e-30")
MOST_DELTA = DELTA_UNIT // 2 - 1
"""The largest delta of a threshold, in 1e-18: with one half, what it hides would be shown as often as not."""
_FLOAT_ERROR = 1e-9  # what floating point may err by in a Gaussian tail, with room to spare; relative


def _per_group(delta: int, groups: int) -> Decimal:
    """Return 1 - (1-delta)^(1/k), rounded down in its 50th digit: k independent misses at it are together one at
    delta.
    """
    exponent = (1 - Decimal(delta) / DELTA_UNIT).ln() / groups
    # 100 digits less the 19 + 19 that cancel at delta = 1e-18, k = 1e19 leave 60.
    return (1 - exponent.exp()) * (1 - Decimal("1e-50"))


@lru_cache(maxsize=1024)
def threshold(noise: Noise, groups: int, delta: int) -> int:
    """Return the least T such that publishing groups of at least T noisy owners adds at most delta for one owner.

    Takes:
        noise: what is added to each group's exact count of owners.
        groups: the most groups that one owner may reach, enforced elsewhere.
        delta: in 1e-18, for all those groups together, above 0 and below one half.

    Why this is sound: remove one owner. Groups that keep an owner appear or not by a noisy count of sensitivity one
    each, which the price of the noise covers. The at most k groups that the owner was alone in held an exact 1; each is
    published with probability p = P[1 + Z >= T] = P[Z >= T-1], independently, so that any is with probability 1 -
    (1-p)^k <= delta as soon as p <= 1 - (1-delta)^(1/k). Apart from that event both worlds publish the same groups.

    Laplace, q = e^(-1/b): P[Z >= t] = q^t / (1+q) for t >= 0, solved for t. Gaussian: the discrete tail, as
    ``tails`` sums or bounds it. (The continuous formulas of the literature exceed delta.)
    """
    if groups < 1:
        raise ValueError("an owner reaches at least one group")
    if not 0 < delta <= MOST_DELTA:
        raise ValueError("delta out of range")
    with localcontext(_PRECISE):
        allowed = _per_group(delta, groups)
        if noise.mechanism == "laplace":
            scale = Decimal(noise.scale)
            ratio = (-1 / scale).exp()
            least = scale * (1 / (allowed * (1 + ratio))).ln() + _SLACK
            return 1 + max(0, int(least.to_integral_value(rounding=ROUND_CEILING)))
        # A float division is not rounded down by itself; the tail's own slack covers that last digit too.
        target = float(allowed) / (1 + _FLOAT_ERROR)
    return 1 + quantile(noise, target)


def beyond(base: int, part: int, least: int) -> int:
    """Return the least T for groups that are left out beforehand unless their exact integer is at least ``least``.

    Takes:
        base: ``threshold`` of the noise, for a measure to which each owner of a group adds one.
        part: what one owner adds at most to a group's measure; every owner adds something, nobody takes anything away.
        least: the pre-threshold, in the measure's integers; 1 leaves every group that anybody is in.

    Why this is sound: remove one owner, and look at a group that the owner is in, whose measure falls from c to c' with
    c' >= c - part. If c' >= least, the group is looked at in both worlds, and the price of the noise covers the
    difference. If c < least it is in neither. Else it is looked at in one world alone, although others may be in it:
    then c <= least - 1 + part, and it is published with probability P[c + Z >= T] <= P[Z >= T - part - least + 1]. With
    the T returned that is P[Z >= base - 1], which ``threshold`` holds to its share of delta; and a group that the owner
    is not in is looked at in both worlds or in neither. So the pre-threshold costs no delta and no epsilon: it raises T
    by as much as it leaves out. ``least`` must be public: it hangs on the noise, never on the groups.
    """
    if part < 1 or least < 1:
        raise ValueError("a part and a pre-threshold are at least one")
    return base - 1 + part + least - 1
