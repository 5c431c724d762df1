"""What the ledger admits on random sequences, beside OpenDP's filter, dp-accounting and two other computations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import opendp.prelude as dp
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import admission
from budget.errors import LedgerError
from budget.standing import Grant, Standing
from mechanisms.accounting import rho_of_epsilon, rho_of_pure
from mechanisms.loss import Loss
from mechanisms.pld import composed_epsilon
from tests.budget.ledgers import DELTA, EPSILON

dp.enable_features("contrib", "honest-but-curious")
SPACE = (dp.atom_domain(T=int), dp.absolute_distance(T=float))

losses = st.lists(
    st.tuples(st.booleans(), st.integers(EPSILON // 1000, EPSILON)),
    min_size=1,
    max_size=40,
)


def loss_of(*, gaussian: bool, epsilon: int) -> Loss:
    return Loss(None, rho_of_epsilon(epsilon, 10**9)) if gaussian else Loss(epsilon, rho_of_pure(epsilon))


def admitted(grant: Grant, asked: list[Loss]) -> list[Loss]:
    """Offer each loss in turn, and return those that were admitted."""
    standing, found = Standing("analyst:ann", 1, grant), []
    for loss in asked:
        try:
            admission.admit([standing], loss, price=loss.epsilon or 0, at=0)
        except LedgerError:
            continue
        standing = standing.adding(loss, 1)
        found.append(loss)
    return found


def opendp_admits(losses: list[Loss], measure: Any, budget: float, measurement: Callable[[Loss], Any]) -> int:
    """Return how many of these OpenDP's privacy filter admits before it refuses the first (it then stays closed)."""
    composed = dp.c.make_fully_adaptive_composition(*SPACE, measure)
    queryable = dp.c.make_privacy_filter(composed, d_in=1.0, d_out=budget)(0)
    for count, loss in enumerate(losses):
        try:
            queryable(measurement(loss))
        except dp.OpenDPException as refusal:
            if "exhausted" not in str(refusal):
                raise
            return count
    return len(losses)


def before_refusal(grant: Grant, asked: list[Loss]) -> int:
    standing = Standing("analyst:ann", 1, grant)
    for count, loss in enumerate(asked):
        try:
            admission.admit([standing], loss, price=loss.epsilon or 0, at=0)
        except LedgerError:
            return count
        standing = standing.adding(loss, 1)
    return len(asked)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=25))
def test_laplace_charges_are_admitted_as_by_opendp_s_filter(asked: list[int]) -> None:
    """Epsilons in 1/64, which floats hold exactly, so that OpenDP's sums are exact as well."""
    charges = [Loss(each * EPSILON // 64, rho_of_pure(each * EPSILON // 64)) for each in asked]
    ours = before_refusal(Grant(3 * EPSILON), charges)
    theirs = opendp_admits(
        charges, dp.max_divergence(), 3.0, lambda loss: dp.m.make_laplace(*SPACE, scale=EPSILON / (loss.epsilon or 1))
    )
    assert ours >= theirs  # its price of a scale may be a unit in the last place above ours
    assert ours == opendp_admits(
        charges,
        dp.max_divergence(),
        3.0 * (1 + 1e-12),
        lambda loss: dp.m.make_laplace(*SPACE, scale=EPSILON / (loss.epsilon or 1)),
    )


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(10**6, 10**11), min_size=1, max_size=25))
def test_gaussian_charges_are_admitted_as_by_opendp_s_filter(asked: list[int]) -> None:
    charges = [Loss(None, rho) for rho in asked]
    allowed = rho_of_epsilon(3 * EPSILON, DELTA // 2)
    ours = before_refusal(Grant(3 * EPSILON, DELTA, gaussian=True), charges)
    low, high = (
        opendp_admits(
            charges,
            dp.zero_concentrated_divergence(),
            allowed / 1e12 * (1 + slack),
            lambda loss: dp.m.make_gaussian(*SPACE, scale=math.sqrt(1e12 / (2 * loss.rho))),
        )
        for slack in (-1e-11, 1e-11)  # its sums are floats
    )
    assert low <= ours <= high


@settings(max_examples=30, deadline=None)
@given(losses)
def test_nothing_that_fits_is_refused(asked: list[tuple[bool, int]]) -> None:
    """Each refusal was right: with that loss both routes, computed exactly, would be exceeded."""
    grant = Grant(3 * EPSILON, DELTA, gaussian=True)
    limit = Fraction(rho_of_epsilon(3 * EPSILON, DELTA // 2))
    standing = Standing("analyst:ann", 1, grant)
    held: list[Loss] = []
    for gaussian, epsilon in asked:
        loss = loss_of(gaussian=gaussian, epsilon=epsilon)
        after = [*held, loss]
        pure = all(each.epsilon is not None for each in after)
        fits = (pure and sum(Fraction(each.epsilon or 0) for each in after) <= 3 * EPSILON) or (
            sum(Fraction(each.rho) for each in after) <= limit
        )
        try:
            admission.admit([standing], loss, price=epsilon, at=0)
        except LedgerError:
            assert not fits
        else:
            assert fits
            standing, held = standing.adding(loss, 1), after


def delta_of(losses: list[Loss], epsilon: float) -> float:
    """Bound the delta at epsilon by the Renyi divergences of the very mechanisms (Laplace: Mironov 2017, table II;
    Gaussian: order times rho), converted by Canonne, Kamath and Steinke 2020, proposition 12; in floats.
    """
    best = 1.0
    for order in (1.01 + 0.05 * step for step in range(1, 1500)):
        divergence = 0.0
        for loss in losses:
            if loss.epsilon is None:
                divergence += order * loss.rho / 1e12
            else:
                scale = loss.epsilon / 1e9
                up = order / (2 * order - 1) * math.exp((order - 1) * scale)
                down = (order - 1) / (2 * order - 1) * math.exp(-order * scale)
                divergence += math.log(up + down) / (order - 1)
        exponent = (order - 1) * (divergence - epsilon) + order * math.log1p(-1 / order) - math.log(order - 1)
        best = min(best, math.exp(min(0.0, exponent)))
    return best


@settings(max_examples=12, deadline=None)
@given(losses)
def test_what_is_admitted_is_within_the_grant_by_the_mechanisms_own_divergences(asked: list[tuple[bool, int]]) -> None:
    grant = Grant(3 * EPSILON, DELTA, gaussian=True)
    found = admitted(grant, [loss_of(gaussian=gaussian, epsilon=epsilon) for gaussian, epsilon in asked])
    pure = all(loss.epsilon is not None for loss in found)
    if not pure or sum(loss.epsilon or 0 for loss in found) > 3 * EPSILON:
        # Orders are tried on a grid here, hence the room of a tenth.
        assert delta_of(found, 3.0) <= DELTA / 2 / 1e18 * 1.1


@settings(max_examples=10, deadline=None)
@given(losses)
def test_what_is_admitted_is_within_the_grant_by_dp_accounting(asked: list[tuple[bool, int]]) -> None:
    """Google's privacy loss distributions of the same losses: randomised response for each pure one, and one Gaussian
    for all of them together.
    """
    grant = Grant(3 * EPSILON, DELTA, gaussian=True)
    found = admitted(grant, [loss_of(gaussian=gaussian, epsilon=epsilon) for gaussian, epsilon in asked])
    pure = Counter(loss.epsilon for loss in found if loss.epsilon is not None)
    rho = sum(loss.rho for loss in found if loss.epsilon is None)
    assert composed_epsilon(pure, rho, DELTA // 2) <= 3 + 1e-6


def test_dp_accounting_would_see_an_accountant_that_admits_too_much() -> None:
    grant = Grant(3 * EPSILON, DELTA, gaussian=True)
    for loss in (loss_of(gaussian=True, epsilon=EPSILON // 3), loss_of(gaussian=False, epsilon=EPSILON // 50)):
        found = admitted(grant, [loss] * 2000)
        assert 0 < len(found) < 2000
        more = len(found) * 5 // 4
        pure = {} if loss.epsilon is None else {loss.epsilon: more}
        assert composed_epsilon(pure, 0 if pure else more * loss.rho, DELTA // 2) > 3


def test_the_bound_is_nearly_reached() -> None:
    """The check above would see an accountant that admits a tenth more."""
    grant = Grant(3 * EPSILON, DELTA, gaussian=True)
    found = admitted(grant, [loss_of(gaussian=True, epsilon=EPSILON // 3)] * 200)
    assert 0 < len(found) < 200
    assert delta_of(found * 2, 3.0) > DELTA / 1e18
