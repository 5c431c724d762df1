"""The errors that leave the gateway, as a tree: each has a stable code, a status and a sentence, and no data.

DiscreetError
├── Refusal             the request is not answered, decided from text, policy and ledger alone; nothing charged
│   ├── RequestInvalid      the request itself is malformed, or its price is
│   ├── SqlRefused          the SQL is not admitted (codes: gateway/sql/refusals.py)
│   ├── NotFound            no such dataset, query, analyst
│   ├── Unauthenticated     no token, or one that does not verify
│   ├── Forbidden           a role, grant or suspension stands against it
│   ├── BudgetExhausted     the price does not fit what remains
│   └── Conflict            an idempotency key used again for another request, a query still running, a plan changed
├── ExecutionFailed     the constant failure after a charge
└── Unavailable         nothing was charged and nothing ran: the control database or an engine is out of reach
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the analyst's own SQL text: line and column, both from 1."""

    line: int
    column: int


class DiscreetError(Exception):
    """An error as a client sees it: ``code`` is stable, ``message`` one sentence, ``hint`` what to do instead."""

    status = 500
    charged = False

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        position: Position | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.position = position
        self.extra = extra


class Refusal(DiscreetError):
    """Not answered, and nothing charged."""

    status = 422


class RequestInvalid(Refusal):
    """The request is malformed."""


class SqlRefused(Refusal):
    """The SQL is not admitted."""


class NotFound(Refusal):
    """What the request names does not exist."""

    status = 404


class Unauthenticated(Refusal):
    """Nobody known is asking."""

    status = 401


class Forbidden(Refusal):
    """Somebody known asks for what they may not have."""

    status = 403


class BudgetExhausted(Refusal):
    """The price does not fit what remains; ``epsilon_required`` and ``epsilon_remaining`` say by how much."""

    status = 403


class Conflict(Refusal):
    """The request contradicts an earlier one."""

    status = 409


class ExecutionFailed(DiscreetError):
    """The constant failure: a charge was made and stays, and nothing about its cause leaves."""

    charged = True

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "execution-failed",
            "The query could not be completed; its price stays charged.",
            hint="An administrator can see the cause in the gateway's log.",
            **extra,
        )


class OutcomeUnknown(DiscreetError):
    """A charge was made, and the gateway could not finish; the same request under its key finds what became of it."""

    charged = True

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "outcome-unknown",
            "The query was charged, and the gateway could not finish it.",
            hint="Send it again with the same Idempotency-Key: it is not charged again.",
            **extra,
        )


class PostProcessingFailed(DiscreetError):
    """The noisy tables stand and are paid for, but what was to be computed from them took too long or too much."""

    status = 422
    charged = True

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "post-processing-failed",
            "The noisy results could not be combined as asked, within the limits.",
            hint="Ask for less above the aggregates; the same aggregates are already paid for.",
            **extra,
        )


class PlanGone(DiscreetError):
    """An answer is stored under a plan that this version of the gateway would not make."""

    status = 409
    charged = True

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "plan-changed",
            "This version of the gateway plans that request otherwise than it was charged.",
            hint="Ask anew, under a new Idempotency-Key.",
            **extra,
        )


class AnswerDeleted(DiscreetError):
    """What was answered was deleted, as the retention says or an administrator did; the charge stays."""

    status = 410
    charged = True

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "answer-deleted",
            "What was answered then has been deleted since.",
            hint="Ask anew, under a new Idempotency-Key.",
            **extra,
        )


class Unavailable(DiscreetError):
    """Nothing ran and nothing was charged; asking again later may work."""

    status = 503
