"""The price of a request: read from the wire, held to the policy's limits, and turned into what planning needs and what
the ledger is asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime

from budget.chain import canonical_json
from budget.ledger import ChargeRequest
from gateway import wire
from gateway.asked import request_hash
from gateway.errors import RequestInvalid
from gateway.parameters import parameters
from gateway.policy.model import Dataset
from gateway.settings import Settings
from gateway.sql import explain
from gateway.sql.compile import Question
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.groups import Given
from gateway.sql.planning.plan import Plan
from gateway.sql.reading.parse import TextLimits
from mechanisms.accounting import epsilon_of_rho, pure_of_rho
from mechanisms.intervals import MAX_CONFIDENCE
from mechanisms.loss import EPSILON_UNIT, AmountError, epsilon_units, plain, rho_units


def question(
    request: wire.QueryRequest,
    dataset: Dataset,
    settings: Settings,
    *,
    gaussian: bool,
    at: datetime,
    given: tuple[Given, ...] = (),
) -> Question:
    """Return what a request asks, at its price, or refuse; ``gaussian`` if Gaussian noise is open to ``auto``.

    ``at`` is the instant of asking, of which CURRENT_DATE and NOW are the day and the minute in UTC. A request may
    leave the price to the privacy clauses of its text (``gateway.sql.above.clause``). ``given`` are the groups of the
    answer that it names in ``keys_from`` (``gateway.reuse.given``).
    """
    if request.confidence > MAX_CONFIDENCE:
        raise RequestInvalid("request-invalid", f"confidence is at most {MAX_CONFIDENCE}.")
    epsilon, rho = _stated(request)
    stated = epsilon if rho is None else _converted(rho, request, dataset)
    return Question(
        text=request.sql,
        dialect=request.dialect,
        price=Price(epsilon, rho, dataset.per_query.delta, request.mechanism, gaussian),
        price_epsilon=stated,
        limits=TextLimits(settings.sql_bytes, nesting=settings.sql_nesting, joins=settings.joins),
        bounds=Bounds(
            request.max_groups_contributed,
            settings.public_groups,
            settings.integer_domain,
            settings.released_groups,
            settings.releases,
            settings.public_rows,
            request.bounding,
            settings.declared_rows,
            request.clipped_count,
            given,
        ),
        parameters=parameters(request, settings.sql_bytes),
        now=at.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None),
    )


def check(plan: Plan, dataset: Dataset) -> None:
    """Refuse a plan above the policy's price of one request."""
    limit = dataset.per_query.max_epsilon
    if plan.price > limit:
        raise RequestInvalid(
            "price-too-high",
            f"One request on dataset {dataset.name} costs at most epsilon {plain(limit, EPSILON_UNIT)}.",
        )


def charge(
    request: wire.QueryRequest, dataset: Dataset, plan: Plan, priced: Plan, *, analyst: str, process: str
) -> ChargeRequest:
    """Return what the ledger is asked for: the loss of ``priced``, which is the plan or whose stored answer stands for
    it, to be executed by ``process``. Who pays, under which key, is the caller's to add.
    """
    return ChargeRequest(
        dataset=dataset.name,
        analyst=analyst,
        loss=priced.loss,
        price=priced.price,
        request_hash=request_hash(request),
        plan_fingerprint=plan.fingerprint,
        policy_version=dataset.version,
        data_version=dataset.data_version,
        mechanism=canonical_json(explain.record(priced, request.labels)),
        process=process,
        conversion_delta=priced.conversion_delta,
    )


def _stated(request: wire.QueryRequest) -> tuple[int | None, int | None]:
    if request.epsilon is not None and request.rho is not None:
        raise RequestInvalid("price-conflict", "Two prices are stated.", hint="State epsilon or rho.")
    try:
        epsilon = None if request.epsilon is None else epsilon_units(request.epsilon, "down")
        rho = None if request.rho is None else rho_units(request.rho, "down")
    except AmountError:
        raise _invalid() from None
    if epsilon == 0 or rho == 0:
        raise _invalid()
    return epsilon, rho


def _invalid() -> RequestInvalid:
    return RequestInvalid("price-invalid", "The price is a positive, finite number, at least 1e-9 and at most 1e6.")


def _converted(rho: int, request: wire.QueryRequest, dataset: Dataset) -> int:
    """Return a price in rho as the epsilon that the policy's limit applies to."""
    if request.mechanism == "laplace" or dataset.per_query.delta == 0:
        return pure_of_rho(rho)
    return epsilon_of_rho(rho, dataset.per_query.delta)
