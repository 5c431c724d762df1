"""Grants of analysts, projects and datasets with all their terms; who is in which project; suspending and resuming."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from budget import balance, grants
from budget.errors import NoChange, NoGrant
from budget.scopes import CAP, analyst_of, of_analyst, of_project, project_of
from budget.standing import Grant, Standing
from budget.windows import checked_window
from gateway import wire_admin
from gateway.catalogue import unknown
from gateway.errors import Conflict, NotFound, RequestInvalid
from gateway.store import acts, policies, principals
from gateway.store.engine import reader
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT, Amount, AmountError, delta_units, epsilon_units


def set_scope(
    control: Engine,
    dataset: str,
    *,
    analyst: str | None = None,
    project: str | None = None,
    epsilon: Amount,
    delta: Amount = 0,
    gaussian: bool | None = None,
    max_epsilon: Amount | None = None,
    window: str | None = None,
    timezone: str | None = None,
    expires: str | None = None,
    actor: str,
    reason: str | None = None,
) -> wire_admin.Scope:
    """Grant an analyst, a project, or with neither the dataset's cap, in place of any earlier grant of theirs.

    Spending is never reset. Gaussian charges are admitted, but by a cap only if it is said. ``window`` (daily, weekly,
    monthly, yearly) renews the grant on calendar boundaries of ``timezone`` (UTC where none is named); ``expires`` is a
    time in ISO 8601, UTC where it names no offset.
    """
    scope = _scope(analyst, project)
    try:
        grant = Grant(
            epsilon_units(epsilon, "down"),
            delta_units(delta, "down"),
            scope != CAP if gaussian is None else gaussian,
            None if max_epsilon is None else epsilon_units(max_epsilon, "down"),
            None if window is None else checked_window(window),
            timezone or (None if window is None else "UTC"),
            None if expires is None else _instant(expires),
        )
    except (AmountError, ValueError) as error:
        raise RequestInvalid(
            "amount-invalid",
            f"This budget cannot be granted: {error}.",
            hint="epsilon from 0 to 1000000, delta from 0 to below 1; a window with a time zone; expires in ISO 8601.",
        ) from None
    with control.begin() as conn:
        _known(conn, dataset, analyst)
        after = grants.set_scope(conn, dataset, scope, grant, actor=actor, reason=_reason(reason))
        acts.note(conn, actor, "budget-set", scope, dataset)
        return shown(dataset, after)


def list_scopes(control: Engine, dataset: str | None = None) -> list[wire_admin.Scope]:
    """Return every grant, its terms, what is spent in its window and in all, and what remains."""
    with reader(control).connect() as conn:
        return [shown(name, standing) for name, standing in balance.all_of(conn, dataset)]


def suspend_grant(
    control: Engine,
    dataset: str,
    *,
    analyst: str | None = None,
    project: str | None = None,
    actor: str,
    reason: str | None = None,
) -> wire_admin.Scope:
    """Suspend a grant (or the cap): it admits nothing until it is resumed; what was answered stays answered."""
    scope, why = _scope(analyst, project), _reason(reason)

    def act(conn: Connection) -> Standing:
        return grants.suspend(conn, dataset, scope, actor=actor, reason=why)

    return _acted(control, dataset, scope, "grant-suspend", actor, act)


def resume_grant(
    control: Engine,
    dataset: str,
    *,
    analyst: str | None = None,
    project: str | None = None,
    actor: str,
    reason: str | None = None,
) -> wire_admin.Scope:
    """Resume a suspended grant as it was."""
    scope, why = _scope(analyst, project), _reason(reason)

    def act(conn: Connection) -> Standing:
        return grants.resume(conn, dataset, scope, actor=actor, reason=why)

    return _acted(control, dataset, scope, "grant-resume", actor, act)


def join_project(
    control: Engine, dataset: str, project: str, analyst: str, *, actor: str, reason: str | None = None
) -> wire_admin.Scope:
    """Let an analyst's charges on a dataset fall under a project's grant too, from now on."""
    scope, why = _scope(None, project), _reason(reason)

    def act(conn: Connection) -> Standing:
        _known(conn, dataset, analyst)
        grants.join(conn, dataset, project, analyst, actor=actor, reason=why)
        return balance.read(conn, dataset, [scope])[0]

    return _acted(control, dataset, scope, "project-join", actor, act)


def leave_project(
    control: Engine, dataset: str, project: str, analyst: str, *, actor: str, reason: str | None = None
) -> wire_admin.Scope:
    """End an analyst's membership of a project; what they spent stays spent."""
    scope, why = _scope(None, project), _reason(reason)

    def act(conn: Connection) -> Standing:
        grants.leave(conn, dataset, project, analyst, actor=actor, reason=why)
        return balance.read(conn, dataset, [scope])[0]

    return _acted(control, dataset, scope, "project-leave", actor, act)


def shown(dataset: str, standing: Standing) -> wire_admin.Scope:
    """Return a scope as admins read it; each figure is the nearest float to the ledger's exact one."""
    grant = standing.grant
    analyst, project = analyst_of(standing.scope), project_of(standing.scope)
    return wire_admin.Scope(
        dataset=dataset,
        kind="analyst" if analyst is not None else "project" if project is not None else "cap",
        name=analyst or project,
        epsilon_granted=grant.epsilon / EPSILON_UNIT,
        epsilon_spent=standing.spent_as_read / EPSILON_UNIT,
        epsilon_remaining=standing.remaining("laplace") / EPSILON_UNIT,
        delta_granted=grant.delta / DELTA_UNIT,
        delta_spent=standing.spent_delta / DELTA_UNIT,
        gaussian=grant.gaussian,
        max_epsilon=None if grant.max_epsilon is None else grant.max_epsilon / EPSILON_UNIT,
        window=grant.window,
        timezone=grant.timezone,
        window_ends=None if standing.span is None else _when(standing.span[1]),
        windows=standing.windows,
        lifetime_epsilon_spent=standing.life_as_read / EPSILON_UNIT,
        lifetime_delta_spent=standing.life.delta / DELTA_UNIT,
        expires=None if grant.expires is None else _when(grant.expires),
        paused=standing.paused,
        suspended=standing.suspended,
    )


def _acted(
    control: Engine, dataset: str, scope: str, act: str, actor: str, change: Callable[[Connection], Standing]
) -> wire_admin.Scope:
    with control.begin() as conn:
        if policies.current(conn, dataset) is None:
            raise unknown(dataset)
        try:
            after = change(conn)
        except NoGrant:
            raise NotFound("grant-unknown", f"There is no such grant on {dataset!r}.") from None
        except NoChange:
            raise Conflict("no-change", "That is so already.") from None
        acts.note(conn, actor, act, scope, dataset)
        return shown(dataset, after)


def _known(conn: Connection, dataset: str, analyst: str | None) -> None:
    if policies.current(conn, dataset) is None:
        raise unknown(dataset)
    if analyst is not None and principals.get(conn, analyst) is None:
        raise NotFound("analyst-unknown", f"There is no analyst {analyst!r}.")


def _scope(analyst: str | None, project: str | None) -> str:
    if analyst is not None and project is not None:
        raise RequestInvalid("amount-invalid", "A grant is an analyst's, a project's or the dataset's.")
    if analyst is not None:
        return of_analyst(analyst)
    if project is None:
        return CAP
    if not 1 <= len(project) <= 200 or not project.isprintable() or project != project.strip():
        raise RequestInvalid("name-invalid", "A project's name has 1 to 200 printable characters.")
    return of_project(project)


def _reason(reason: str | None) -> str | None:
    if reason is not None and not (1 <= len(reason) <= 1000 and reason.isprintable()):
        raise RequestInvalid("reason-invalid", "A reason has at most 1000 printable characters.")
    return reason


def _instant(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        raise ValueError("a time beyond the calendar") from None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _when(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
