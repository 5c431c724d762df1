"""A balance of the ledger as analysts and admins read it: decimals in place of exact units."""

from __future__ import annotations

from functools import lru_cache

from budget.balance import UNLIMITED, Balance, how_many
from gateway import wire
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, Loss


@lru_cache(512)
def shown(balance: Balance, conversion_delta: int, like: Loss | None = None, price: int = 0) -> wire.Budget:
    """Return a balance for showing; ``conversion_delta`` is the policy's ``per_query.delta``, at which Gaussian prices
    are stated, and ``like`` what a query costs of which it is told how many more there may be.

    The nearest float to each exact figure: the last digit may be off by a rounding, and the ledger alone decides.

    Kept by what it is computed from, the balance itself included, which is read anew each time: what is shown is never
    older than what was read.
    """
    own = balance.own
    return wire.Budget(
        dataset=balance.dataset,
        analyst=balance.analyst,
        epsilon_granted=own.allowance.epsilon / EPSILON_UNIT,
        epsilon_spent=balance.spent_epsilon / EPSILON_UNIT,
        epsilon_remaining=balance.remaining("laplace") / EPSILON_UNIT,
        epsilon_remaining_gaussian=balance.remaining("gaussian", conversion_delta) / EPSILON_UNIT,
        delta_granted=own.allowance.delta / DELTA_UNIT,
        delta_spent=own.spent_delta / DELTA_UNIT,
        delta_remaining=balance.remaining_delta / DELTA_UNIT,
        gaussian=balance.gaussian,
        suspended=balance.suspended,
        more_like_this=None if like is None else _more(balance, like, price),
    )


def _more(balance: Balance, like: Loss, price: int) -> int | None:
    found = how_many(balance, like, price)
    return None if found == UNLIMITED else found
