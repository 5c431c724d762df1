"""The rule by which a charge is admitted; applied when it is written and again when the ledger is verified.

Why this is sound: each scope keeps sums of its own over exactly the charges that fall under it in the window in force,
and a charge is admitted only if the filter of ``mechanisms.accounting`` admits it in every one of them. A filter's
bound holds for losses that are chosen adaptively, from everything seen so far (Whitehouse, Ramdas, Rogers, Wu, 2022),
and a refusal, which depends on the sums, the grant and the time alone, tells nothing about data. Writers hold the
dataset's lock between reading the sums and adding to them. Windows compose sequentially: what a scope admits in all is
the sum of what its windows admit.
"""

from __future__ import annotations

from collections.abc import Sequence

from budget.errors import BudgetExhausted, GaussianRefused, GrantExpired, GrantPaused
from budget.standing import Standing
from mechanisms.accounting import admits
from mechanisms.loss import LIMIT, Loss, Mechanism


def admit(standings: Sequence[Standing], loss: Loss, *, price: int, at: int, conversion_delta: int = 0) -> None:
    """Return if every scope admits the loss at that instant; else raise for the first that does not.

    ``GrantPaused``, ``GrantExpired``, ``GaussianRefused``, or ``BudgetExhausted`` for sums and for the highest price of
    one query. ``price`` is the epsilon that the request stated; ``conversion_delta``, at which a Gaussian price is
    stated, serves the refusal's figures alone.
    """
    in_force(standings, at=at)
    if loss.epsilon is None:
        for standing in standings:
            if not standing.gaussian:
                raise GaussianRefused(standing.scope)
    for standing in standings:
        if (
            _affordable(standing, loss, price)
            and standing.fits(loss)
            and admits(standing.allowance, standing.spent, loss)
        ):
            continue
        mechanism: Mechanism = "gaussian" if loss.epsilon is None else "laplace"
        raise BudgetExhausted(
            scope=standing.scope,
            required=price,
            remaining=min(each.remaining(mechanism, conversion_delta) for each in standings),
            delta_required=loss.delta,
            delta_remaining=min(each.remaining_delta for each in standings),
        )


def in_force(standings: Sequence[Standing], *, at: int) -> None:
    """Return if every scope may receive something at that instant; else ``GrantPaused`` or ``GrantExpired``."""
    for standing in standings:
        if standing.paused:
            raise GrantPaused(standing.scope)
        if standing.over(at):
            raise GrantExpired(standing.scope)


def fits(standing: Standing, loss: Loss, times: int, price: int = 0) -> bool:
    """Return whether a scope would admit so many more of one loss, one after the other, each at the price stated."""
    together = max(loss.epsilon or 0, loss.rho, loss.delta) * times
    if standing.paused or standing.expired or together > LIMIT or not _affordable(standing, loss, price):
        return False
    if loss.epsilon is None and not standing.gaussian:
        return False
    many = Loss(None if loss.epsilon is None else loss.epsilon * times, loss.rho * times, loss.delta * times)
    return standing.fits(many) and admits(standing.allowance, standing.spent, many)


def _affordable(standing: Standing, loss: Loss, price: int) -> bool:
    """Return whether one query may cost so much: the price as stated, or the loss itself where that is more."""
    highest = standing.grant.max_epsilon
    return highest is None or max(price, loss.epsilon or 0) <= highest
