"""Who may spend how much: grants of analysts and caps of datasets, each a fact that supersedes the one before.

A grant never resets what is spent. One that is lower than what is spent admits nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert

from budget import balance, chain, schema
from budget.balance import Standing
from budget.errors import NoGrant
from budget.scopes import CAP, checked_name, of_analyst
from mechanisms.accounting import Allowance
from mechanisms.loss import DELTA_UNIT, MAX_EPSILON


@dataclass(frozen=True, slots=True)
class Grant:
    """What one scope may spend: epsilon in 1e-9 and delta in 1e-18, rounded down from what a person wrote.

    ``gaussian`` says whether Gaussian charges are admitted; one such charge closes the scope's pure route for good.
    """

    epsilon: int
    delta: int = 0
    gaussian: bool = False

    def __post_init__(self) -> None:
        for amount, highest in ((self.epsilon, MAX_EPSILON), (self.delta, DELTA_UNIT - 1)):
            if type(amount) is not int or not 0 <= amount <= highest:
                raise ValueError("a grant out of range")
        if type(self.gaussian) is not bool:
            raise ValueError("gaussian is true or false")


def set_grant(
    conn: Connection, dataset: str, analyst: str, grant: Grant, *, actor: str, reason: str | None = None
) -> Standing:
    """Grant an analyst a budget on a dataset, in place of any earlier one, and return the scope's standing."""
    return _set(conn, dataset, of_analyst(checked_name(analyst)), grant, actor, reason)


def set_cap(conn: Connection, dataset: str, grant: Grant, *, actor: str, reason: str | None = None) -> Standing:
    """Set what all analysts together may spend on a dataset, in place of any earlier cap."""
    return _set(conn, dataset, CAP, grant, actor, reason)


def _set(conn: Connection, dataset: str, scope: str, grant: Grant, actor: str, reason: str | None) -> Standing:
    checked_name(dataset)
    checked_name(actor)
    head = chain.open_or_lock(conn, dataset)
    head = chain.append(
        conn,
        head,
        "grant",
        {
            "scope": scope,
            "epsilon": grant.epsilon,
            "delta": grant.delta,
            "gaussian": grant.gaussian,
            "actor": actor,
            "reason": reason or None,
        },
    )
    allowance = Allowance(grant.epsilon, grant.delta)
    try:
        (before,) = balance.read(conn, dataset, [scope])
    except NoGrant:
        first = Standing(scope, head.seq, allowance, grant.gaussian, 0, 0, 0, 0)
        conn.execute(insert(schema.scope).values(dataset=dataset, **balance.columns(first)))
        return first
    after = replace(before, seq=head.seq, allowance=allowance, gaussian=grant.gaussian)
    balance.write(conn, dataset, before, after)
    return after
