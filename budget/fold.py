"""Folding a dataset's facts, in order, to the balances that they add up to; a fact that could not follow is found.

Pure: the same rules by which facts are written (``admission.admit``, the transitions of ``Standing``), applied to rows
as read. A row is a tuple in the order of its table's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

from budget import admission, schema
from budget.errors import LedgerError
from budget.records import scopes_from, scopes_text
from budget.scopes import CAP, analyst_of, checked_scope, of_analyst, of_project, paying
from budget.standing import Grant, Standing, Totals
from mechanisms.loss import LIMIT, Loss

Row = Sequence[Any]

_Charge: TypeAlias = tuple[str, int | None, int, int, int, bool]
"""A charge's scopes, epsilon, rho, delta and number, and whether its answer may be sold."""

_COLUMNS: Final = {kind: tuple(table.columns.keys()) for kind, table in schema.FACTS.items()}


class Inadmissible(ValueError):
    """A fact that the ledger would not have written after those before it."""


@dataclass(slots=True)
class _Running:
    """A scope's standing with its sums as running integers: a standing is made only where one is asked for."""

    base: Standing
    seq: int
    sums: list[int]
    plain: bool
    epsilon: int
    rho: int
    delta: int
    until: int

    @classmethod
    def of(cls, standing: Standing) -> _Running:
        figures = [
            figure
            for each in (standing.totals, standing.life)
            for figure in (each.epsilon, each.gaussians, each.rho, each.delta)
        ]
        grant, allowance = standing.grant, standing.allowance
        plain = not standing.paused and grant.max_epsilon is None and grant.expires is None
        until = LIMIT if standing.span is None else standing.span[1]
        return cls(standing, standing.seq, figures, plain, grant.epsilon, allowance.rho, allowance.release_delta, until)

    @property
    def standing(self) -> Standing:
        return replace(self.base, seq=self.seq, totals=Totals(*self.sums[:4]), life=Totals(*self.sums[4:]))

    def plainly(self, epsilon: int | None, rho: int, delta: int, at: int) -> bool:
        """Return whether the sums with one more pure loss are so plainly within the grant that nothing else need be
        asked.

        Why this may stand beside ``admission.admit``: it only ever says yes where that would (a pure loss, no limit in
        time or on one query, the pure route or the zCDP route open); whatever it does not pass is judged there.
        """
        sums = self.sums
        if epsilon is None or not self.plain or at >= self.until or sums[3] + delta > self.delta:
            return False
        if epsilon < 0 or rho < 0 or delta < 0:  # no loss at all, as ``Loss`` will say
            return False
        if sums[6] + rho > LIMIT or sums[4] + epsilon > LIMIT:
            return False
        return (not sums[1] and sums[0] + epsilon <= self.epsilon) or sums[2] + rho <= self.rho

    def add(self, epsilon: int | None, rho: int, delta: int, seq: int) -> None:
        sums = self.sums
        if epsilon is None:
            sums[1] += 1
            sums[5] += 1
        else:
            sums[0] += epsilon
            sums[4] += epsilon
        sums[2] += rho
        sums[3] += delta
        sums[6] += rho
        sums[7] += delta
        self.seq = seq


@dataclass(slots=True)
class Fold:
    """The state that the facts so far add up to: balances by scope, members of projects, and charges by id.

    Charges are plain tuples and texts, since a ledger holds them by the million; ``settled`` says what became of each.
    ``sold`` are the scopes that have paid for an answer, ``_buying`` the purchase whose charge must follow. ``_payers``
    are an analyst's scopes as a charge names them, and their balances, as long as no fact but charges changes any.
    """

    scopes: dict[str, _Running] = field(default_factory=dict)
    projects: dict[str, dict[str, int]] = field(default_factory=dict)
    charges: dict[str, _Charge] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    retaken: set[str] = field(default_factory=set)
    drawn: set[tuple[str, int]] = field(default_factory=set)
    keys: dict[tuple[str, str], tuple[int, str, bytes]] = field(default_factory=dict)
    sold: dict[str, set[str]] = field(default_factory=dict)
    _payers: dict[str, tuple[str, list[_Running]]] = field(default_factory=dict)
    _buying: tuple[str, str] | None = None

    @property
    def standings(self) -> dict[str, Standing]:
        """The standings by scope."""
        return {scope: running.standing for scope, running in self.scopes.items()}

    @property
    def members(self) -> set[tuple[str, str, int]]:
        """Every (analyst, project, number of the fact by which they joined)."""
        return {(analyst, *joined) for analyst, projects in self.projects.items() for joined in projects.items()}

    def apply(self, kind: str, row: Row) -> None:
        """Add one fact; ``Inadmissible`` says why it cannot stand here."""
        try:
            if self._buying is not None and kind != "charge":
                raise Inadmissible("a purchase without its charge")
            match kind:
                case "charge":
                    self._charge(row)
                case "outcome":
                    self._outcome(row)
                case "purchase":
                    self._purchase(_named(kind, row))
                case "grant":
                    self._grant(_named(kind, row))
                case "renewal":
                    self._renewal(_named(kind, row))
                case "membership":
                    self._membership(_named(kind, row))
                case "attempt":
                    self._attempt(_named(kind, row))
                case "draw":
                    self._draw(_named(kind, row))
                case "suspension":
                    self._suspension(_named(kind, row))
                case "acknowledgement":
                    pass  # it changes no balance
                case _:
                    raise Inadmissible("a kind of fact that is not known")
        except (LedgerError, ValueError, TypeError) as problem:
            raise Inadmissible(str(problem)) from problem

    def end(self) -> None:
        """Say that there are no more facts; ``Inadmissible`` if the last one cannot be the last."""
        if self._buying is not None:
            raise Inadmissible("a purchase without its charge")

    def _grant(self, row: dict[str, Any]) -> None:
        scope, seq, at = checked_scope(row["scope"]), row["seq"], row["at"]
        grant = Grant(
            row["epsilon"],
            row["delta"],
            bool(row["gaussian"]),
            row["max_epsilon"],
            row["renews"],
            row["timezone"],
            row["expires"],
        )
        span = None if grant.window is None else (row["window_start"], row["window_end"])
        if span is not None and not span[0] <= at < span[1]:
            raise Inadmissible("a window that it does not lie in")
        paused = bool(row["paused"])
        before = self.scopes.get(scope)
        if before is None:
            self._put(Standing(scope, seq, grant, span, paused=paused))
            return
        _in_force(before.base, at)
        self._put(before.standing.granted(seq, grant, span, paused=paused))

    def _renewal(self, row: dict[str, Any]) -> None:
        running = self._running(row["scope"])
        last, span = running.base.span, (row["window_start"], row["window_end"])
        if last is None or span[0] < last[1] or not span[0] <= row["at"] < span[1]:
            raise Inadmissible("no window begins here")
        self._put(running.standing.renewed(row["seq"], span))

    def _membership(self, row: dict[str, Any]) -> None:
        self._running(of_project(row["project"]))
        projects = self.projects.setdefault(row["analyst"], {})
        if row["action"] not in ("join", "leave") or (row["project"] in projects) == (row["action"] == "join"):
            raise Inadmissible("joined twice, or left without having joined")
        if row["action"] == "join":
            projects[row["project"]] = row["seq"]
        else:
            del projects[row["project"]]
        self._payers.pop(row["analyst"], None)

    def _charge(self, row: Row) -> None:
        _, seq, at, _, charge_id, analyst, scopes, epsilon, rho, delta, price, request_hash, key, key_use = row[:14]
        publication = row[19]
        bought = None
        if self._buying is not None:
            bought = self._bought(charge_id, (epsilon, rho, delta), publication)
            own, payers = self._buyers(analyst, bought, at)
        elif publication is not None:
            own, payers = _CAP_ALONE, [self._running(CAP)]
        else:
            own, payers = self._paying(analyst)
        if scopes != own:
            raise Inadmissible("charged to other scopes than its own")
        if charge_id in self.charges:
            raise Inadmissible("a charge id that is taken")
        for running in payers:
            if not running.plainly(epsilon, rho, delta, at):
                _admitted(payers, Loss(epsilon, rho, delta), price, at)
                break
        if key is not None or key_use != 1:
            self._key(analyst, key, key_use, charge_id, bytes(request_hash))
        self.charges[charge_id] = (scopes, epsilon, rho, delta, seq, bought is None and publication is None)
        if bought is not None:
            bought.update(_scopes(scopes))
        for running in payers:
            running.add(epsilon, rho, delta, seq)

    def _purchase(self, row: dict[str, Any]) -> None:
        """Note which answer the next charge buys: one that was given, fresh, and to an analyst alone."""
        source = self.charges.get(row["source"])
        if source is None or self.settled.get(row["source"]) != "answered" or not source[5]:
            raise Inadmissible("bought what was not for sale")
        if any(analyst_of(scope) is not None and self._running(scope).base.suspended for scope in _scopes(source[0])):
            raise Inadmissible("bought of somebody who was suspended")
        self._buying = (row["charge"], row["source"])

    def _bought(self, charge_id: str, loss: tuple[int | None, int, int], publication: str | None) -> set[str]:
        """Return the scopes that have paid for what a charge buys."""
        assert self._buying is not None
        bought, source = self._buying
        self._buying = None
        if charge_id != bought or publication is not None:
            raise Inadmissible("a purchase without its charge")
        if self.charges[source][1:4] != loss:
            raise Inadmissible("bought at another price")
        return self.sold.setdefault(source, {*_scopes(self.charges[source][0])})

    def _buyers(self, analyst: str, paid: set[str], at: int) -> tuple[str, list[_Running]]:
        """Return what ``_paying`` does, less the scopes that have paid; the analyst's own pays once.

        Those that have paid must be in force all the same: who is suspended, or over, receives nothing.
        """
        if of_analyst(analyst) in paid:
            raise Inadmissible("bought twice")
        scopes, running = self._paying(analyst)
        admission.in_force([each.base for each in running], at=at)
        unpaid = tuple(sorted(set(_scopes(scopes)) - paid))
        return scopes_text(unpaid), [self._running(scope) for scope in unpaid]

    def _key(self, analyst: str, name: str | None, key_use: int, charge_id: str, request_hash: bytes) -> None:
        """Hold an idempotency key to one request, and to a second charge only after a void one."""
        use = 1
        if name is not None:
            last = self.keys.get((analyst, name))
            if last is not None:
                if last[2] != request_hash:
                    raise Inadmissible("an idempotency key of another request")
                if self.settled.get(last[1]) != "void":
                    raise Inadmissible("charged twice under one idempotency key")
                use = last[0] + 1
            self.keys[analyst, name] = (use, charge_id, request_hash)
        if key_use != use:
            raise Inadmissible("the idempotency key is miscounted")

    def _outcome(self, row: Row) -> None:
        seq, charge_id, status = row[1], row[4], row[5]
        scopes, epsilon, rho, delta, charged, _ = self._unsettled(charge_id)
        if status not in ("answered", "failed", "void"):
            raise Inadmissible("an outcome that is not known")
        if status == "void":
            if charge_id in self.retaken:
                raise Inadmissible("void although it was taken over")
            for scope in _scopes(scopes):
                self._put(self._running(scope).standing.refunding(Loss(epsilon, rho, delta), charged, seq))
        self.settled[charge_id] = status

    def _attempt(self, row: dict[str, Any]) -> None:
        self._unsettled(row["charge"])
        if row["charge"] in self.retaken:
            raise Inadmissible("taken over twice")
        self.retaken.add(row["charge"])

    def _draw(self, row: dict[str, Any]) -> None:
        self._unsettled(row["charge"])
        if (row["charge"], row["place"]) in self.drawn:
            raise Inadmissible("drawn twice")
        self.drawn.add((row["charge"], row["place"]))

    def _suspension(self, row: dict[str, Any]) -> None:
        if row["charge"] is not None and row["charge"] not in self.charges:
            raise Inadmissible("no such charge")
        standing = self._running(of_analyst(row["analyst"])).standing
        if row["action"] not in ("suspend", "clear"):
            raise Inadmissible("an act that is not known")
        if row["action"] == "clear" and not standing.suspended:
            raise Inadmissible("cleared although not suspended")
        self._put(replace(standing, seq=row["seq"], suspended=row["action"] == "suspend"))

    def _paying(self, analyst: str) -> tuple[str, list[_Running]]:
        """Return the scopes that an analyst's charges fall under, as a charge names them, and their balances."""
        found = self._payers.get(analyst)
        if found is None:
            scopes = paying(analyst, self.projects.get(analyst, ()))
            found = scopes_text(scopes), [self._running(scope) for scope in scopes]
            if self._running(of_analyst(analyst)).base.suspended:
                raise Inadmissible("charged while suspended")
            self._payers[analyst] = found
        return found

    def _put(self, standing: Standing) -> None:
        self.scopes[standing.scope] = _Running.of(standing)
        self._payers.clear()

    def _running(self, scope: str) -> _Running:
        if scope not in self.scopes:
            raise Inadmissible(f"no grant for {scope}")
        return self.scopes[scope]

    def _unsettled(self, charge_id: str) -> _Charge:
        charge = self.charges.get(charge_id)
        if charge is None:
            raise Inadmissible("no such charge")
        if charge_id in self.settled:
            raise Inadmissible("the charge has an outcome already")
        return charge


def _admitted(payers: Sequence[_Running], loss: Loss, price: int, at: int) -> None:
    for running in payers:
        _in_force(running.base, at)
    admission.admit([running.standing for running in payers], loss, price=price, at=at)


def _in_force(standing: Standing, at: int) -> None:
    if standing.span is not None and at >= standing.span[1]:
        raise Inadmissible("the window had ended, and the next was not begun")


_CAP_ALONE: Final = scopes_text((CAP,))

_scopes = lru_cache(maxsize=65_536)(scopes_from)


def _named(kind: str, row: Row) -> dict[str, Any]:
    return dict(zip(_COLUMNS[kind], row, strict=True))
