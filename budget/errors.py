"""What the ledger refuses, as a tree; nothing was written when one of these is raised.

LedgerError
├── NoGrant            no grant, or no cap, covers the analyst on the dataset
│   ├── GrantPaused    an admin suspended the grant
│   └── GrantExpired   the grant's time is over
├── Suspended          an engine failure stands against the analyst on the dataset until an admin clears it
├── GaussianRefused    a scope admits no Gaussian charge
├── BudgetExhausted    the loss does not fit what remains
├── KeyReused          the idempotency key belongs to another request
├── NotRefundable      the charge cannot be void: a statement may have been handed to the engine
├── UnknownCharge      no such charge
├── NotForSale         no stored answer that may be sold so: none, failed, deleted, at another price, of a suspended one
├── NotSuspended       there is nothing to clear
├── NoChange           the act would change nothing: suspended already, no member, a grant not suspended
├── Altered            what was drawn for a charge is not what its facts say
├── CommitUnknown      the connection broke during COMMIT and nothing could be read back
└── Contended          another writer came between; the transaction must be rolled back and may be tried again
"""

from __future__ import annotations


class LedgerError(Exception):
    """Refused by the ledger, from its own rows alone."""


class NoGrant(LedgerError):
    """No grant, or no cap, covers the analyst on the dataset; ``scope`` is the one that is missing."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"no grant for {scope}")
        self.scope = scope


class GrantPaused(NoGrant):
    """An admin suspended the grant (or the cap)."""


class GrantExpired(NoGrant):
    """The grant (or the cap) has expired."""


class Suspended(LedgerError):
    """The analyst is suspended on the dataset."""


class GaussianRefused(LedgerError):
    """A scope admits no Gaussian charge: one would close its pure route."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"{scope} admits no Gaussian charge")
        self.scope = scope


class BudgetExhausted(LedgerError):
    """The loss does not fit what remains; epsilon in 1e-9 and delta in 1e-18, remaining as the minimum over scopes."""

    def __init__(self, *, scope: str, required: int, remaining: int, delta_required: int, delta_remaining: int) -> None:
        super().__init__(f"{scope} has not enough left")
        self.scope = scope
        self.required = required
        self.remaining = remaining
        self.delta_required = delta_required
        self.delta_remaining = delta_remaining


class KeyReused(LedgerError):
    """The idempotency key was used on this dataset by this analyst for another request."""


class NotRefundable(LedgerError):
    """The charge stays: it has an outcome, or a statement may have been handed to the engine."""


class UnknownCharge(LedgerError):
    """No charge has this id."""


class NotForSale(LedgerError):
    """What was to be bought is no stored answer that may be sold."""


class NotSuspended(LedgerError):
    """The analyst is not suspended on the dataset."""


class NoChange(LedgerError):
    """The act would leave everything as it is."""


class Altered(LedgerError):
    """What was drawn for a charge was changed, or taken away, behind the ledger's back."""


class CommitUnknown(LedgerError):
    """Whether the transaction was committed is not known; a charge in it may stand, and the same key finds it."""


class Contended(LedgerError):
    """Another writer changed the rows between reading and writing."""
