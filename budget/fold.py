"""Folding a dataset's facts, in order, to the balances that they add up to; a fact that could not follow is found.

Pure: the same rules by which facts are written (``admission.admit``, ``Standing.adding``), applied to rows as read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from budget import admission
from budget.balance import Standing
from budget.errors import LedgerError
from budget.records import scopes_from
from budget.scopes import analyst_of, of_analyst, paying
from mechanisms.accounting import Allowance
from mechanisms.loss import Loss


class Inadmissible(ValueError):
    """A fact that the ledger would not have written after those before it."""


@dataclass(slots=True)
class _Charge:
    scopes: tuple[str, ...]
    loss: Loss
    status: str | None = None
    retaken: bool = False


@dataclass(slots=True)
class Fold:
    """The state that the facts so far add up to: standings by scope, and charges by id."""

    standings: dict[str, Standing] = field(default_factory=dict)
    charges: dict[str, _Charge] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[int, str, bytes]] = field(default_factory=dict)

    def apply(self, kind: str, row: Mapping[str, Any]) -> None:
        """Add one fact; ``Inadmissible`` says why it cannot stand here."""
        try:
            match kind:
                case "grant":
                    self._grant(row)
                case "charge":
                    self._charge(row)
                case "outcome":
                    self._outcome(row)
                case "attempt":
                    self._attempt(row)
                case "suspension":
                    self._suspension(row)
                case _:
                    raise Inadmissible("a kind of fact that is not known")
        except (LedgerError, ValueError) as problem:
            raise Inadmissible(str(problem)) from problem

    def _grant(self, row: Mapping[str, Any]) -> None:
        scope = row["scope"]
        analyst_of(scope)
        fresh = Standing(scope, row["seq"], Allowance(row["epsilon"], row["delta"]), row["gaussian"], 0, 0, 0, 0)
        before = self.standings.get(scope)
        self.standings[scope] = (
            fresh
            if before is None
            else replace(before, seq=fresh.seq, allowance=fresh.allowance, gaussian=fresh.gaussian)
        )

    def _charge(self, row: Mapping[str, Any]) -> None:
        scopes, loss = scopes_from(row["scopes"]), Loss(row["epsilon"], row["rho"], row["delta"])
        if scopes != paying(row["analyst"]):
            raise Inadmissible("charged to other scopes than its own")
        if row["id"] in self.charges:
            raise Inadmissible("a charge id that is taken")
        before = [self._standing(scope) for scope in scopes]
        if self._standing(of_analyst(row["analyst"])).suspended:
            raise Inadmissible("charged while suspended")
        admission.admit(before, loss, price=row["price"])
        self._key(row)
        self.charges[row["id"]] = _Charge(scopes, loss)
        for standing in before:
            self.standings[standing.scope] = standing.adding(loss, row["seq"])

    def _key(self, row: Mapping[str, Any]) -> None:
        """Hold an idempotency key to one request, and to a second charge only after a void one."""
        if row["idempotency_key"] is None:
            use = 1
        else:
            key = (row["analyst"], row["idempotency_key"])
            last, charge, request_hash = self.keys.get(key, (0, "", bytes(row["request_hash"])))
            if request_hash != bytes(row["request_hash"]):
                raise Inadmissible("an idempotency key of another request")
            if last and self.charges[charge].status != "void":
                raise Inadmissible("charged twice under one idempotency key")
            use = last + 1
            self.keys[key] = (use, row["id"], request_hash)
        if row["key_use"] != use:
            raise Inadmissible("the idempotency key is miscounted")

    def _outcome(self, row: Mapping[str, Any]) -> None:
        charge = self._open(row["charge"])
        if row["status"] not in ("answered", "failed", "void"):
            raise Inadmissible("an outcome that is not known")
        if row["status"] == "void":
            if charge.retaken:
                raise Inadmissible("void although it was taken over")
            for scope in charge.scopes:
                self.standings[scope] = self._standing(scope).adding(charge.loss, row["seq"], sign=-1)
        charge.status = row["status"]

    def _attempt(self, row: Mapping[str, Any]) -> None:
        charge = self._open(row["charge"])
        if charge.retaken:
            raise Inadmissible("taken over twice")
        charge.retaken = True

    def _suspension(self, row: Mapping[str, Any]) -> None:
        if row["charge"] is not None and row["charge"] not in self.charges:
            raise Inadmissible("no such charge")
        standing = self._standing(of_analyst(row["analyst"]))
        if row["action"] not in ("suspend", "clear"):
            raise Inadmissible("an act that is not known")
        if row["action"] == "clear" and not standing.suspended:
            raise Inadmissible("cleared although not suspended")
        self.standings[standing.scope] = replace(standing, seq=row["seq"], suspended=row["action"] == "suspend")

    def _standing(self, scope: str) -> Standing:
        if scope not in self.standings:
            raise Inadmissible(f"no grant for {scope}")
        return self.standings[scope]

    def _open(self, charge_id: str) -> _Charge:
        charge = self.charges.get(charge_id)
        if charge is None:
            raise Inadmissible("no such charge")
        if charge.status is not None:
            raise Inadmissible("the charge has an outcome already")
        return charge
