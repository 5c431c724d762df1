"""The rule by which a charge is admitted; applied when it is written and again when the ledger is verified.

Why this is sound: each scope keeps sums of its own over exactly the charges that fall under it, and a charge is
admitted only if the filter of ``mechanisms.accounting`` admits it in every one of them. A filter's bound holds for
losses that are chosen adaptively, from everything seen so far (Whitehouse, Ramdas, Rogers, Wu, 2022), and a refusal,
which depends on the sums alone, tells nothing about data. Writers hold the dataset's lock between reading the sums and
adding to them.
"""

from __future__ import annotations

from collections.abc import Sequence

from budget.balance import Standing
from budget.errors import BudgetExhausted, GaussianRefused
from mechanisms.accounting import admits
from mechanisms.loss import Loss, Mechanism


def admit(standings: Sequence[Standing], loss: Loss, *, price: int, conversion_delta: int = 0) -> None:
    """Return if every scope admits the loss; else raise ``GaussianRefused`` or ``BudgetExhausted`` for the first.

    ``price`` is the epsilon that the request stated, and ``conversion_delta`` the delta at which a Gaussian price is
    stated; both serve the refusal's figures alone.
    """
    if loss.epsilon is None:
        for standing in standings:
            if not standing.gaussian:
                raise GaussianRefused(standing.scope)
    for standing in standings:
        if admits(standing.allowance, standing.spent, loss):
            continue
        mechanism: Mechanism = "gaussian" if loss.epsilon is None else "laplace"
        raise BudgetExhausted(
            scope=standing.scope,
            required=price,
            remaining=min(each.remaining(mechanism, conversion_delta) for each in standings),
            delta_required=loss.delta,
            delta_remaining=min(each.remaining_delta for each in standings),
        )
