"""The ledger's refusals as clients see them."""

from __future__ import annotations

from typing import NoReturn

from budget.errors import BudgetExhausted as LedgerExhausted
from budget.errors import CommitUnknown, GaussianRefused, GrantExpired, GrantPaused, KeyReused, LedgerError, NoGrant
from budget.errors import Suspended as LedgerSuspended
from gateway.errors import BudgetExhausted, Conflict, Forbidden, OutcomeUnknown, Unavailable
from mechanisms.loss import EPSILON_UNIT


def refused(refusal: LedgerError, dataset: str) -> NoReturn:
    """Raise a refusal of the ledger as the error that a client gets; nothing was charged."""
    match refusal:
        case GrantPaused():
            raise Forbidden("no-grant", f"Your grant on dataset {dataset}, or its cap, is suspended.") from None
        case GrantExpired():
            raise Forbidden("no-grant", f"Your grant on dataset {dataset}, or its cap, has expired.") from None
        case NoGrant():
            raise Forbidden("no-grant", f"You hold no grant on dataset {dataset}.") from None
        case LedgerSuspended():
            raise Forbidden(
                "suspended", "A query of yours failed on this dataset; an administrator has to clear that first."
            ) from None
        case GaussianRefused():
            raise Forbidden("gaussian-refused", "Your grant, or the dataset's cap, admits no Gaussian noise.") from None
        case LedgerExhausted(required=required, remaining=remaining):
            raise BudgetExhausted(
                "budget-exhausted",
                "The price does not fit what remains of your budget or of the dataset's.",
                hint="Ask at a lower epsilon, or ask an administrator.",
                epsilon_required=required / EPSILON_UNIT,
                epsilon_remaining=remaining / EPSILON_UNIT,
            ) from None
        case CommitUnknown():
            raise OutcomeUnknown from None
        case KeyReused():
            raise Conflict(
                "idempotency-key-reused", "That Idempotency-Key belongs to another request.", hint="Use a new one."
            ) from None
    raise Unavailable("ledger-busy", "The ledger could not take the charge; nothing was charged.") from None
