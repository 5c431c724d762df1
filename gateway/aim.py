"""Conduct a request that states an error in place of a price: find the price, or look first and then find it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from budget import balance, records
from budget.balance import Balance
from budget.errors import NoGrant
from budget.records import Record
from gateway import price, wire
from gateway.auth.principal import Principal
from gateway.errors import RequestInvalid
from gateway.policy.model import Dataset
from gateway.refused import refused
from gateway.reuse.given import given
from gateway.service import Service
from gateway.sql.planning.plan import Plan
from gateway.target import FIRST, Named, Search, check, columns, first_key, known, look, named, priced
from mechanisms.loss import EPSILON_UNIT, plain

Ask = Callable[[wire.QueryRequest, str | None], wire.QueryResponse]

_SPARE = 1.05  # by how much more is paid where the error is only about in proportion to the price


def aim(
    service: Service, principal: Principal, request: wire.QueryRequest, key: str | None, ask: Ask, first_ask: Ask
) -> wire.QueryResponse:
    """Answer a request with a target through ``ask``, which answers one with a price; or refuse.

    ``first_ask`` does so for a first look, which is a charge of its own.

    What was charged under the key before is asked for at the price that was charged then, whatever it would be now.
    """
    target = check(request)
    dataset, standing = _standing(service, principal, request)
    earlier, looked = (_earlier(service, principal, request, each) for each in (key, first_key(key)))
    if earlier is not None:
        return ask(priced(request, earlier.charge.price, named(earlier)), key)
    at = datetime.now(UTC)
    with service.reads.connect() as conn:
        keys = given(conn, service.settings, principal.name, request, withheld=standing.suspended)

    def plan(epsilon: int, mechanism: Named) -> Plan:
        asked = priced(request, epsilon, mechanism)
        gaussian = mechanism == "gaussian"
        question = price.question(asked, dataset, service.settings, gaussian=gaussian, at=at, given=keys)
        return service.plans.get(question, dataset)

    search = Search(plan, _mechanisms(request, dataset, standing), dataset.per_query.max_epsilon)
    probe = plan(search.most, search.mechanisms[0])
    found = columns(probe, target.column)
    sums = known(probe, found)
    if target.within is not None and sums is not None:
        epsilon, mechanism = search.within(target.column, target.within, target.confidence)
        return _noted(ask(priced(request, epsilon, mechanism), key), [])
    if request.plan_id is not None:
        raise RequestInvalid("target-invalid", "A plan is pinned, and the target finds its price in two steps.")
    mechanism = search.mechanisms[-1]
    remaining = standing.remaining(mechanism, dataset.per_query.delta)
    most = min(search.most, remaining) if remaining >= FIRST else search.most
    first = most // FIRST
    if looked is not None:
        first, mechanism = looked.charge.price, named(looked)
    if request.dry_run:
        steps = f"A first look costs epsilon {_plain(first)}; its values say what more, at most {_plain(most)} in all."
        return _noted(ask(priced(request, most, mechanism), key), [steps])
    seen = first_ask(priced(request, first, mechanism, target.confidence), first_key(key))
    said = look(seen, target, found, (most - first) / first / _SPARE)
    left = [f"{said.beyond} values are further off: no price that the request may cost reaches the target for them."]
    if said.times == math.inf:
        return _noted(seen, ["This is the first look alone: by its values the target is out of reach."])
    left = left if said.beyond else []
    if said.times <= 1:
        return _noted(seen, ["The first look is as close as was asked for.", *left])
    epsilon = math.ceil(first * said.times * _SPARE)
    if sums is not None and len(found) == 1:
        width, exact = said.width, Search(plan, (mechanism,), most - first)
        with suppress(RequestInvalid):  # out of reach by a hair, for all groups together: then about what reaches each
            epsilon, mechanism = exact.within(target.column, width, target.confidence)
    return _noted(_both(seen, ask(priced(request, epsilon, mechanism), key)), left)


def _standing(service: Service, principal: Principal, request: wire.QueryRequest) -> tuple[Dataset, Balance]:
    """Return the dataset in force and the caller's standing."""
    with service.reads.connect() as conn:
        dataset = service.catalogue.current(conn, request.dataset)
        try:
            return dataset, balance.of(conn, dataset.name, principal.name)
        except NoGrant as refusal:
            refused(refusal, dataset.name)


def _earlier(service: Service, principal: Principal, request: wire.QueryRequest, key: str | None) -> Record | None:
    """Return what was charged under a key before, unless it was taken back."""
    if key is None or request.dry_run:
        return None
    with service.reads.connect() as conn:
        found = records.find_key(conn, request.dataset, principal.name, key)
    void = found is not None and found.outcome is not None and found.outcome.status == "void"
    return None if void else found


def _mechanisms(request: wire.QueryRequest, dataset: Dataset, standing: Balance) -> tuple[Named, ...]:
    """Return the mechanisms that are open: Gaussian noise unasked only where no scope would see its first."""
    if request.mechanism != "auto":
        return (request.mechanism,)
    open_unasked = standing.gaussian and standing.gaussian_used and dataset.per_query.delta > 0
    return ("laplace", "gaussian") if open_unasked else ("laplace",)


def _noted(response: wire.QueryResponse, notes: list[str]) -> wire.QueryResponse:
    """Return a response that says at which price the target was asked for."""
    return response.model_copy(update={"warnings": [*response.warnings, *notes]})


def _both(first: wire.QueryResponse, second: wire.QueryResponse) -> wire.QueryResponse:
    """Return the second of two answers, at the cost of both."""
    cost = wire.Cost(
        epsilon=first.cost.epsilon + second.cost.epsilon,
        rho=first.cost.rho + second.cost.rho,
        delta=first.cost.delta + second.cost.delta,
        pure=first.cost.pure and second.cost.pure,
        items=[*first.cost.items, *second.cost.items],
    )
    paid = f"A first look (epsilon {first.cost.epsilon:.6g}) found the price of the answer ({second.cost.epsilon:.6g})."
    cached = first.cached and second.cached
    return _noted(second.model_copy(update={"cost": cost, "cached": cached}), [paid])


def _plain(epsilon: int) -> str:
    return plain(epsilon, EPSILON_UNIT)
