"""Questions and neighbours that bring out the most that one person can change: extreme, alone, heavy, dirty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.policy.model import Dataset
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.choose import Bounds, Price
from gateway.sql.planning.clips import Wish
from gateway.sql.planning.plan import Plan, PlannedRelease
from gateway.sql.reading.parse import TextLimits
from mechanisms.loss import DELTA_UNIT, EPSILON_UNIT
from tests.audit.outputs import Neighbours
from tests.oracles.databases import DuckdbDatabase, duckdb_dataset
from tests.oracles.worlds import DAYS, INF, KEYED_PEOPLE, Data, Datum, Row, Tab, without

PERSON, VISIT, ITEM = (KEYED_PEOPLE.table(name) for name in ("person", "visit", "item"))
TARGET = 1
OTHERS = range(2, 42)

Mechanism = Literal["laplace", "gaussian"]

TIMES = 30_000
"""Releases in each world: half to choose an event on, half to count it on."""


@dataclass(frozen=True)
class Case:
    """One question at a price, and whether the target is alone in their city and on their days, or dirty.

    ``sharp`` is what the audit must measure at least half of, so that it cannot pass by being blind: the epsilon, the
    delta of the threshold, or the distance that the rho allows. ``says`` stands in the planner's reason.
    """

    name: str
    sql: str
    epsilon: float
    mechanism: Mechanism = "laplace"
    delta: float = 0.0
    groups: int | None = None
    alone: bool = False
    dirty: bool = False
    says: str = ""
    sharp: Literal["epsilon", "delta", "distance"] = "epsilon"
    times: int = TIMES
    bounding: Wish = "auto"
    counted: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {self.mechanism}, epsilon {self.epsilon}"

    def plan(self, dataset: Dataset) -> Plan:
        epsilon = round(self.epsilon * EPSILON_UNIT)
        gaussian = self.mechanism == "gaussian"
        price = Price(epsilon, None, round(self.delta * DELTA_UNIT), self.mechanism, gaussian)
        bounds = Bounds(self.groups, 10_000, 256, bounding=self.bounding, clipped_count=self.counted)
        return compile_query(Question(self.sql, None, price, epsilon, TextLimits(), bounds), dataset)


def ask(case: Case, base: DuckdbDatabase) -> Neighbours:
    """Return the plan of a case, and what the engine says to it with the target and without."""
    plan = case.plan(duckdb_dataset(KEYED_PEOPLE))
    [planned] = plan.releases
    assert case.says in planned.reason, planned.reason
    data = everybody(alone=case.alone, dirty=case.dirty, beside=_beside(planned) if case.alone else 0)
    base.fill(data)
    with_unit = base.fetch(planned.sent)
    base.fill(without(KEYED_PEOPLE, data, TARGET))
    return Neighbours(plan, with_unit, base.fetch(planned.sent))


def _beside(planned: PlannedRelease) -> int:
    """Return how many others make the target the one who lifts a group over the pre-threshold: the worst case."""
    if planned.threshold is None:
        return 0
    [measure] = (found for found in planned.measures if found.name == planned.threshold.measure)
    return -(-planned.threshold.least // measure.linf) - 1


def everybody(*, alone: bool, dirty: bool, beside: int = 0) -> Data:
    """Forty plain people, and the target: extreme in every column, with sixty visits and ninety items.

    ``alone``: nobody but ``beside`` others lives in the target's city or came on their three days.
    """
    extreme: dict[str, Datum] = {"person_id": TARGET, "sex": "F", "city": "Gera" if alone else "Ulm", "ok": True}
    extreme |= {"age": 110, "income": 2e5, "tiny": 3, "vast": 1000}
    heavy: dict[str, Datum] = {"person_id": TARGET, "kind": "x", "cost": 5000, "score": 10.0, "size": 10**6}
    item: dict[str, Datum] = {"label": "a", "qty": 10}
    if dirty:
        extreme |= {"age": 2**31 - 1, "income": INF, "tiny": 127, "vast": 2**127 - 1}
        heavy |= {"cost": "9999999999.99", "score": INF, "size": 10**18}
        item |= {"qty": 32767}
    plain: dict[str, Datum] = {"city": "Ulm", "ok": True, "age": 30, "income": 2e4, "tiny": 1, "vast": 5}
    light: dict[str, Datum] = {"kind": "x", "cost": 12, "score": 0.5, "size": 1000}
    days = DAYS[3:] if alone else DAYS[:3]
    near = range(100, 100 + beside)
    return {
        "person": [
            _row(PERSON, extreme),
            *(_row(PERSON, plain, person_id=n, sex="FM"[n % 2]) for n in OTHERS),
            *(_row(PERSON, plain, person_id=n, sex="F", city="Gera") for n in near),
        ],
        "visit": [
            *(_row(VISIT, heavy, visit_id=100 + n, day=DAYS[n % 3]) for n in range(60)),
            *(
                _row(VISIT, light, visit_id=1000 + 10 * n + at, person_id=n, day=day)
                for n in OTHERS
                for at, day in enumerate(days)
            ),
            *(
                _row(VISIT, light, visit_id=10_000 + 10 * n + at, person_id=n, day=day)
                for n in near
                for at, day in enumerate(DAYS[:3])
            ),
        ],
        "item": [
            *(_row(ITEM, item, visit_id=100 + n % 60) for n in range(90)),
            *(_row(ITEM, {"qty": 3}, visit_id=1000 + 10 * n, label="ab"[n % 2]) for n in OTHERS),
        ],
        "log": [],
    }


def _row(table: Tab, values: dict[str, Datum], **more: Datum) -> Row:
    return tuple((values | more).get(col.name) for col in table.cols)


_PRIVATE_CITY = "SELECT city, COUNT(*) FROM person GROUP BY city"
_PRIVATE_DAYS = "SELECT day, COUNT(DISTINCT person_id) FROM visit GROUP BY day"
_KINDS = "SELECT kind, COUNT(DISTINCT person_id) FROM visit WHERE kind IN ('x', 'y') GROUP BY kind"
_COLUMNS = (
    "SELECT COUNT(*), AVG(age), AVG(income), AVG(vast) FROM person "
    "WHERE age IS NOT NULL AND income IS NOT NULL AND vast IS NOT NULL"
)

_TOGETHER = (
    "SELECT sex, ok, COUNT(*), SUM(age) FROM person "
    "WHERE (sex = 'F' AND ok) OR (sex = 'M' AND ok IS NULL) OR (sex IS NULL AND NOT ok) GROUP BY sex, ok"
)

_CROSSED = "SELECT AVG(age), AVG(income) FROM person WHERE age IS NOT NULL AND income IS NOT NULL"

CASES = (
    Case("count", "SELECT COUNT(*) FROM person", 0.5),
    Case("count", "SELECT COUNT(*) FROM person", 2),
    Case("count", "SELECT COUNT(*) FROM person", 1, "gaussian", 0.1, sharp="distance"),
    Case("count by public key", "SELECT sex, COUNT(*) FROM person GROUP BY sex", 1),
    Case("sum", "SELECT SUM(age) FROM person", 1),
    Case("sum", "SELECT SUM(income) FROM person", 2, "gaussian", 0.1, sharp="distance"),
    Case("two-sided mean", "SELECT AVG(income) FROM person", 1, says="two-sided"),
    Case("variance and mean", "SELECT VAR_POP(age), AVG(age), COUNT(age) FROM person", 1, says="two-sided"),
    Case("correlation", "SELECT CORR(age, income) FROM person", 2, says="two-sided"),
    Case("heavy owner's variance", "SELECT VAR_POP(cost) FROM visit", 1, dirty=True),
    Case("second moments", "SELECT REGR_SLOPE(age, income) FROM person", 1, "gaussian", 0.1, sharp="distance"),
    Case("count, sum and mean", "SELECT COUNT(*), SUM(age), AVG(age) FROM person", 2),
    Case("dirty sum and mean", "SELECT SUM(income), AVG(age), COUNT(income) FROM person", 2, dirty=True),
    Case("several columns", _COLUMNS, 2, says="crossed", times=70_000),
    Case("crossed means", _CROSSED, 1, says="crossed"),
    Case("several columns", _COLUMNS, 1, "gaussian", 0.1, says="shared", sharp="distance"),
    Case("narrowed mean", "SELECT AVG(income), COUNT(*) FROM person WHERE income >= 20000", 1, dirty=True),
    Case("narrowed sum", "SELECT SUM(age * 2) FROM person WHERE age > 20", 1, "gaussian", 0.1, sharp="distance"),
    Case("groups that there may be", _TOGETHER, 1, dirty=True),
    Case("heavy owner counted", "SELECT COUNT(*) FROM visit", 1, says="at most 4 rows"),
    Case("heavy owner summed", "SELECT SUM(cost), AVG(score) FROM visit", 2, dirty=True),
    Case("heavy owner by key", "SELECT label, COUNT(*), SUM(qty) FROM item GROUP BY label", 2, dirty=True),
    Case("heavy owner averaged", "SELECT AVG(cost) FROM visit", 1, "gaussian", 0.1, sharp="distance"),
    Case("owners by public key", _KINDS, 0.5, groups=1),
    Case("owners on shared days", _PRIVATE_DAYS, 2, delta=0.001, groups=3),
    Case("owners on lonely days", _PRIVATE_DAYS, 0.5, delta=0.1, groups=3, alone=True, sharp="delta"),
    Case("owners on lonely days", _PRIVATE_DAYS, 0.5, "gaussian", 0.2, groups=3, alone=True, sharp="delta"),
    Case("shared city", _PRIVATE_CITY, 1, delta=0.01),
    Case("lonely city", _PRIVATE_CITY, 0.5, delta=0.085, alone=True, sharp="delta"),
    Case("lonely city", _PRIVATE_CITY, 0.3, "gaussian", 0.2, alone=True, sharp="delta"),
)

COMPOSED = (
    Case("the larger group", "SELECT sex, COUNT(*) AS n FROM person GROUP BY sex ORDER BY n DESC LIMIT 1", 2),
    Case(
        "a formula of groups above a number",
        "SELECT sex, COUNT(*) * 2 + 1 AS n FROM person GROUP BY sex HAVING COUNT(*) > 20",
        2,
        times=4_500,
    ),
)
