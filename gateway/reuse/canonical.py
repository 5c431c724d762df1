"""What makes two questions the same: one text for each release, whatever the analyst's words were.

``SELECT COUNT(*) AS n, sex FROM person p GROUP BY 2 ORDER BY 1`` and ``SELECT sex, COUNT(*) FROM person GROUP BY sex``
have the same release, and so the same mark.

Why names, order and post-processing do not matter: lowering has left them above the release, in whose relation columns
are called by their place. What is left is all that the noisy table depends on, price and noise aside: the rows (with
the released values that feed them), the keys and their public domains, how one unit is held to its part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from fractions import Fraction
from hashlib import sha256
from types import NoneType
from typing import Any, Final

from gateway.kept import Kept
from gateway.sql.algebra import Aggregate
from gateway.sql.planning.groups import Joint, Key
from gateway.sql.planning.plan import Plan, PlannedRelease

_LITERALS = frozenset({NoneType, bool, int, str, Fraction, date, datetime})
"""Types whose values are said by ``repr``; none of them is subclassed here."""


def text(value: Any) -> str:
    """Return the one text of a value of the algebra, in every process the same."""
    if is_dataclass(value) and not isinstance(value, type):
        said = (text(getattr(value, each.name)) for each in fields(value) if each.compare)
        return f"{type(value).__name__}({','.join(said)})"
    match value:
        case tuple():
            # A public domain is a long one of such values.
            if _LITERALS.issuperset(map(type, value)):
                return f"[{','.join(map(repr, value))}]"
            return f"[{','.join(map(text, value))}]"
        case frozenset():
            return f"{{{','.join(sorted(text(each) for each in value))}}}"
        case None | bool() | int() | str() | Fraction() | date():
            return repr(value)
    raise TypeError(f"no part of a question: {type(value).__name__}")


def digest(*values: Any) -> str:
    """Return a digest of values of the algebra, short enough for a mark."""
    return sha256(text(values).encode()).hexdigest()[:60]


def key_digest(key: Key) -> str:
    """Return what a group key means: the expression and its public domain; and whose answer that domain is, if it is.

    Why that belongs to it: a domain that an answer told is public to its holders alone, and what was drawn over it is
    for sale to nobody else (DESIGN section 2).
    """
    given = () if key.given is None else (key.given,)
    return digest(key.scalar, key.kind, key.values, *given)


_MEANT: Final[Kept[Mapping[str, str]]] = Kept(128)
_SAME: Final[Kept[str]] = Kept(128)


def aggregate_digests(planned: PlannedRelease) -> Mapping[str, str]:
    """Return what each aggregate of a release means, by its name.

    Of a count of different values it is also how many of them one unit adds, which a request may say.
    """
    return _MEANT.get((planned,), None, lambda: _aggregate_digests(planned))


def _aggregate_digests(planned: PlannedRelease) -> Mapping[str, str]:
    found: Mapping[str, Aggregate] = dict(planned.release.aggregates)
    distinct = [(part.distinct, part) for part in planned.parts if part.distinct is not None]
    most = {name: (held.most,) for held, part in distinct for name, _ in part.release.aggregates}
    return {name: digest(aggregate, *most.get(name, ())) for name, aggregate in found.items()}


def same(plan: Plan, planned: PlannedRelease) -> str:
    """Return the mark of releases over the same rows, by the same keys, each unit held to the same part."""
    return _SAME.get((plan, planned), None, lambda: _same(plan, planned))


def _same(plan: Plan, planned: PlannedRelease) -> str:
    keys = tuple(sorted(key_digest(key) for key in planned.keys))
    joint = tuple(sorted(_joint_digest(planned, each) for each in planned.joint))
    return "s" + digest(*_rows(plan, planned), keys, planned.bounding, *joint)


def _joint_digest(planned: PlannedRelease, joint: Joint) -> str:
    """Return which values of which keys stand together, whatever the order of the keys."""
    meant = {key.name: key_digest(key) for key in planned.keys}
    order = sorted(range(len(joint.names)), key=lambda place: meant[joint.names[place]])
    names = tuple(meant[joint.names[place]] for place in order)
    return digest(names, tuple(tuple(row[place] for place in order) for row in joint.rows))


def base(plan: Plan, planned: PlannedRelease) -> str:
    """Return the mark of releases over the same rows, by whatever public keys.

    Keys whose values an earlier answer gave are part of what the rows are: it listed those above its threshold, of the
    rows that it was of, and what was drawn over them adds up to no group of a question that does not name it.
    """
    given = sorted(key_digest(key) for key in planned.keys if key.given is not None)
    return "b" + digest(*_rows(plan, planned), *([tuple(given)] if given else []))


def marks(plan: Plan) -> tuple[str, ...]:
    """Return by what the answer to a plan is found again."""
    found = [same(plan, planned) for planned in plan.releases]
    found += [base(plan, planned) for planned in plan.releases if planned.public and planned.keys]
    return tuple(dict.fromkeys(found))


def _rows(plan: Plan, planned: PlannedRelease) -> tuple[Any, ...]:
    release = planned.release
    rows = (plan.dataset, plan.policy_version, plan.data_version, release.source, release.folded)
    # Other rows only where there are any, so that what was drawn before there were such keys is found again.
    return (*rows, tuple(sorted(key_digest(key) for key in planned.within))) if planned.within else rows
