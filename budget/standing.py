"""What a scope may spend and has spent, as values; pure.

Exact integers throughout: epsilon in 1e-9, rho in 1e-12, delta in 1e-18, times in microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from budget.schema import SUMS
from budget.windows import Window, checked_timezone, checked_window, span
from mechanisms.accounting import Allowance, Spent, remaining, spent_epsilon
from mechanisms.loss import DELTA_UNIT, LIMIT, MAX_EPSILON, Loss, Mechanism

LAST_INSTANT = 253_370_764_800 * 10**6
"""The beginning of the year 9999: no grant expires later."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one scope may spend: epsilon in 1e-9 and delta in 1e-18, rounded down from what a person wrote.

    ``gaussian`` says whether Gaussian charges are admitted; one such charge closes the scope's pure route, until the
    window renews or for good. ``max_epsilon`` is the highest price of one query. With ``window`` the grant renews on
    calendar boundaries of ``timezone``; without, it is for life. From the instant ``expires`` on it admits nothing.
    """

    epsilon: int
    delta: int = 0
    gaussian: bool = False
    max_epsilon: int | None = None
    window: Window | None = None
    timezone: str | None = None
    expires: int | None = None

    def __post_init__(self) -> None:
        for amount, highest in (
            (self.epsilon, MAX_EPSILON),
            (self.delta, DELTA_UNIT - 1),
            (self.max_epsilon, MAX_EPSILON),
            (self.expires, LAST_INSTANT),
        ):
            if amount is not None and (type(amount) is not int or not 0 <= amount <= highest):
                raise ValueError("a grant out of range")
        if type(self.gaussian) is not bool:
            raise ValueError("gaussian is true or false")
        if (self.window is None) != (self.timezone is None):
            raise ValueError("a window needs a time zone, and a time zone a window")
        if self.window is not None and self.timezone is not None:
            checked_window(self.window)
            checked_timezone(self.timezone)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of charges; ``gaussians`` counts those without a pure epsilon (a void charge is taken back)."""

    epsilon: int = 0
    gaussians: int = 0
    rho: int = 0
    delta: int = 0

    def adding(self, loss: Loss, sign: Literal[1, -1] = 1) -> Totals:
        """Return the sums with one more loss, or with one taken back."""
        return Totals(
            self.epsilon + sign * (loss.epsilon or 0),
            self.gaussians + sign * (loss.epsilon is None),
            self.rho + sign * loss.rho,
            self.delta + sign * loss.delta,
        )

    @property
    def spent(self) -> Spent:
        """The sums as the accountant takes them."""
        return Spent(self.epsilon, self.gaussians > 0, self.rho, self.delta)


NOTHING = Totals()


@dataclass(frozen=True, slots=True)
class Standing:
    """One scope at a moment: its grant, and what is spent in the window in force (``totals``) and in all (``life``).

    ``seq`` is the fact that last changed it, ``opened`` the one that began the window in force (0: from the first on),
    ``windows`` how many there were. ``paused``: an admin suspended the grant; ``suspended``: a failure stands against
    the analyst; ``expired``: the grant's time is over at the moment of the reading.
    """

    scope: str
    seq: int
    grant: Grant
    span: tuple[int, int] | None = None
    totals: Totals = NOTHING
    life: Totals = NOTHING
    opened: int = 0
    windows: int = 1
    paused: bool = False
    suspended: bool = False
    expired: bool = False

    @property
    def allowance(self) -> Allowance:
        """What may be spent in one window, as the accountant takes it."""
        return Allowance(self.grant.epsilon, self.grant.delta)

    @property
    def gaussian(self) -> bool:
        """Whether Gaussian charges are admitted."""
        return self.grant.gaussian

    @property
    def spent(self) -> Spent:
        """The window's sums as the accountant takes them."""
        return self.totals.spent

    @property
    def spent_epsilon(self) -> int:
        """The sum of pure epsilons in the window."""
        return self.totals.epsilon

    @property
    def gaussians(self) -> int:
        """The number of Gaussian charges in the window."""
        return self.totals.gaussians

    @property
    def spent_rho(self) -> int:
        """The sum of rhos in the window."""
        return self.totals.rho

    @property
    def spent_delta(self) -> int:
        """The sum of deltas in the window."""
        return self.totals.delta

    def adding(self, loss: Loss, seq: int) -> Standing:
        """Return the standing after the fact ``seq`` charged this loss."""
        return replace(self, seq=seq, totals=self.totals.adding(loss), life=self.life.adding(loss))

    def refunding(self, loss: Loss, charged: int, seq: int) -> Standing:
        """Return the standing after the fact ``seq`` took back a loss that the fact ``charged`` had charged.

        A charge stays in the window of its commit: a window that began later does not get it back.
        """
        totals = self.totals.adding(loss, -1) if charged > self.opened else self.totals
        return replace(self, seq=seq, totals=totals, life=self.life.adding(loss, -1))

    def renewed(self, seq: int, span: tuple[int, int]) -> Standing:
        """Return the standing after the fact ``seq`` began a window."""
        return replace(self, seq=seq, span=span, totals=NOTHING, opened=seq, windows=self.windows + 1)

    def granted(self, seq: int, grant: Grant, span: tuple[int, int] | None, *, paused: bool) -> Standing:
        """Return the standing after the fact ``seq`` set its grant; nothing that is spent is given back by it.

        Between windows of different kinds the sums go on until the new kind's first boundary. A grant made for life
        looks back over the whole life of the scope.
        """
        after = replace(self, seq=seq, grant=grant, span=span, paused=paused)
        return after if grant.window is not None else replace(after, totals=self.life, opened=0)

    def due(self, at: int) -> tuple[int, int] | None:
        """Return the window that has begun by then, if it is not the one in force; it never begins before the last
        ended, even if the rules of the time zone were changed meanwhile.
        """
        if self.grant.window is None or self.grant.timezone is None or self.span is None or at < self.span[1]:
            return None
        start, end = span(self.grant.window, self.grant.timezone, at)
        return max(start, self.span[1]), end

    def over(self, at: int) -> bool:
        """Return whether the grant has expired by then."""
        return self.grant.expires is not None and at >= self.grant.expires

    def as_of(self, at: int) -> Standing:
        """Return how the scope stands at an instant, for showing: renewed if a window has begun, expired or not."""
        begun = self.due(at)
        now = self if begun is None else self.renewed(self.seq, begun)
        return replace(now, expired=now.over(at))

    def remaining(self, mechanism: Mechanism, conversion_delta: int = 0) -> int:
        """Return the largest epsilon that one more charge may have (a Gaussian one: stated at ``conversion_delta``)."""
        if self.paused or self.expired or (mechanism == "gaussian" and not self.gaussian):
            return 0
        left = remaining(self.allowance, self.spent, mechanism, conversion_delta)
        return left if self.grant.max_epsilon is None else min(left, self.grant.max_epsilon)

    @property
    def remaining_delta(self) -> int:
        """The delta left for thresholds: half of the grant's, since the other half is kept for the conversion."""
        return 0 if self.paused or self.expired else max(0, self.allowance.release_delta - self.spent_delta)

    @property
    def spent_as_read(self) -> int:
        """What the window has spent, as people read it: min(Σε, the conversion of Σρ)."""
        return spent_epsilon(self.allowance, self.spent)

    @property
    def life_as_read(self) -> int:
        """What the scope has spent in all, as people read it: min(Σε, the conversion of Σρ)."""
        return spent_epsilon(self.allowance, self.life.spent)

    def fits(self, loss: Loss) -> bool:
        """Return whether the sums, the life's included, stay within the ledger's integers."""
        life = self.life.adding(loss)
        return max(life.epsilon, life.rho, life.delta, life.gaussians) <= LIMIT


def from_values(values: Sequence[Any]) -> Standing:
    """Read one derived row: what it holds, in the order of its table's columns after the dataset."""
    scope, seq, epsilon, delta, gaussian, paused, max_epsilon, expires, renews, timezone, start, end, *rest = values
    suspended, opened, windows, *figures = rest
    return Standing(
        scope,
        seq,
        Grant(epsilon, delta, bool(gaussian), max_epsilon, renews, timezone, expires),
        None if renews is None else (start, end),
        Totals(*figures[:4]),
        Totals(*figures[4:]),
        opened,
        windows,
        bool(paused),
        bool(suspended),
    )


def terms(grant: Grant, span: tuple[int, int] | None, *, paused: bool) -> dict[str, Any]:
    """Return a grant as the columns that its fact and its balance share."""
    start, end = (None, None) if span is None else span
    return {
        "epsilon": grant.epsilon,
        "delta": grant.delta,
        "gaussian": grant.gaussian,
        "paused": paused,
        "max_epsilon": grant.max_epsilon,
        "expires": grant.expires,
        "renews": grant.window,
        "timezone": grant.timezone,
        "window_start": start,
        "window_end": end,
    }


def columns(state: Standing) -> dict[str, Any]:
    """Return a standing as the columns of its derived row."""
    return {
        "scope": state.scope,
        "seq": state.seq,
        **terms(state.grant, state.span, paused=state.paused),
        "suspended": state.suspended,
        "opened": state.opened,
        "windows": state.windows,
        **sums(state),
    }


def sums(state: Standing) -> dict[str, int]:
    """Return what a standing adds up to as the columns of its derived row."""
    now, life = state.totals, state.life
    figures = (now.epsilon, now.gaussians, now.rho, now.delta, life.epsilon, life.gaussians, life.rho, life.delta)
    return dict(zip(SUMS, figures, strict=True))
