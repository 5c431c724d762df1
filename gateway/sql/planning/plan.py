"""The plan: an immutable, hashable value that says all that will be sent to the engine, drawn, charged and computed.

A dry run ends here, explain prints it, the cache is keyed by it and the ledger refers to it by its fingerprint.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from gateway.policy.model import Dialect
from gateway.sql.algebra import Release, Scalar, Spread
from gateway.sql.planning.grid import Grid
from gateway.sql.planning.groups import Joint, Key
from gateway.sql.planning.quantum import Quantum
from gateway.sql.tables import Query
from mechanisms.above_threshold import AboveThreshold
from mechanisms.least_error import LeastError
from mechanisms.loss import Loss
from mechanisms.noise import Noise, Selection
from mechanisms.quantiles import Rank
from mechanisms.race import Race

Chooser: TypeAlias = Literal["above_threshold", "exponential", "r2t"]
"""How a bound on an owner's part is chosen privately."""

Search: TypeAlias = AboveThreshold | LeastError | Race
"""The choice among the bounds of a clip, and its noise."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What one row adds to a measure: ``multiplier * (q - origin) + offset`` where ``when`` holds, else nothing.

    ``q`` is the row's integer in ``column`` (see ``quantum.Quantum``), zero where the cell reads none; ``present`` and
    ``absent`` ask whether that column is NULL.
    """

    column: str | None
    when: Literal["always", "present", "absent"]
    multiplier: int = 0
    origin: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Factor:
    """A column's place between its bounds, in whole steps of ``grid``: p = round((q - origin) * grid / width).

    ``power`` is the degree of the polynomial in p/grid that a cell takes of it.
    """

    column: str
    origin: int
    width: int
    grid: int
    power: int


@dataclass(frozen=True, slots=True)
class Share:
    """What one product of Bernstein polynomials takes of ``whole``: none is negative, and all of a row make ``whole``.

    ``at`` says which polynomial of each factor: number i of degree d is binomial(d, i) t^i (1 - t)^(d - i), t = p/grid.
    A row in which some column is NULL has no part.
    """

    factors: tuple[Factor, ...]
    at: tuple[int, ...]
    whole: int


@dataclass(frozen=True, slots=True)
class Centred:
    """``whole`` times the product of the powers of 2p/grid - 1, which lie in [-1, 1], rounded; then ``offset`` added.

    A row in which some column is NULL adds nothing.
    """

    factors: tuple[Factor, ...]
    whole: int
    offset: int


AnyCell: TypeAlias = Cell | Share | Centred


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of exact integers in multiples of ``unit``.

    ``cell`` is None for the number of owners. ``l1``, ``linf`` and the root of ``l2_squared`` bound one owner's part
    over all groups, in those integers.
    """

    name: str
    kind: str
    cell: AnyCell | None
    unit: Fraction
    l1: int
    l2_squared: int
    linf: int


@dataclass(frozen=True, slots=True)
class Block:
    """Measures drawn as one vector with one noise; the bounds are of one owner's part in the whole vector.

    With a selection, one bucket of the measure's histogram is drawn for each group instead.
    """

    measures: tuple[Measure, ...]
    l1: int
    l2_squared: int
    linf: int
    noise: Noise | Selection
    loss: Loss


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A value of a row that cells read; ``quantum`` says how it becomes an integer, None where only presence counts."""

    name: str
    scalar: Scalar
    quantum: Quantum | None
    whole: Scalar | None = None
    """That integer as a scalar of its own, where it is computed in units."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Publish a group only if ``measure`` plus its noise reaches ``at`` (in the measure's integers).

    ``least`` is the pre-threshold: a group whose exact measure is below it is not even read from the engine.
    """

    measure: str
    at: int
    delta: int
    least: int = 1


@dataclass(frozen=True, slots=True)
class Linear:
    """An estimate that is a weighted sum of measures' integers; ``step`` is what it is rounded to, None for none.

    The winner ``among`` several draws is told ``less`` something, and no less than zero; its noise is that of any.
    """

    terms: tuple[tuple[str, Fraction], ...]
    step: Fraction | None
    less: Fraction = Fraction(0)
    among: int = 1


@dataclass(frozen=True, slots=True)
class Mean:
    """An estimate ``centre + spread/count``, held within [lower, upper]; both parts are weighted sums of measures."""

    spread: tuple[tuple[str, Fraction], ...]
    count: tuple[tuple[str, Fraction], ...]
    centre: Fraction
    lower: Fraction
    upper: Fraction


@dataclass(frozen=True, slots=True)
class Variable:
    """A column as a variable a in [-1, 1]: its value is ``centre + half * a``, in [lower, upper].

    ``first`` and ``second`` are the sums of a and of its square as weighted sums of measures; ``second`` may be empty.
    """

    centre: Fraction
    half: Fraction
    lower: Fraction
    upper: Fraction
    first: tuple[tuple[str, Fraction], ...]
    second: tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """A statistic of second moments: of ``x`` alone, or of ``y`` on ``x``; ``product`` is the sum of a_x * a_y."""

    statistic: Spread
    count: tuple[tuple[str, Fraction], ...]
    x: Variable
    y: Variable | None
    product: tuple[tuple[str, Fraction], ...]


@dataclass(frozen=True, slots=True)
class Picked:
    """An estimate that is the value of the bucket which ``bucket`` numbers; ``whole`` rounds it down to a whole number.

    At most ``rows`` lie between the rank that was asked for and that of the bucket, but with probability 5 %.
    """

    bucket: str
    grid: Grid
    whole: bool
    rows: float


Estimator: TypeAlias = Linear | Mean | Moments | Picked


@dataclass(frozen=True, slots=True)
class Histogram:
    """The rows of each group by bucket, the column ``label``; each block draws the bucket of one of ``ranks``."""

    label: str
    grid: Grid
    ranks: tuple[Rank, ...]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Different values of ``key`` in each group, of which one owner adds at most ``most`` over all groups."""

    key: Key
    most: int


@dataclass(frozen=True, slots=True)
class Bounding:
    """How the bounded SQL holds one owner to its part.

    ``one_row``: by construction. ``weights``: each row of an owner with more than ``rows`` rows counts for
    ``rows``/n. ``owners``: the same after summing per owner and group, an owner reaching at most ``groups`` groups.
    ``chosen``: likewise, to each bound of a ``Clip``, of which one is read, chosen ``by`` a mechanism of its own.
    ``counted`` where the number of owners above the bound is released as well.
    ``held`` where no owner has more than ``rows`` rows in the copy that is read, so that nothing is left to weight; the
    question is the same either way, and so are its answers.
    """

    how: Literal["one_row", "weights", "owners", "chosen"]
    rows: int | None
    groups: int | None
    held: bool = field(default=False, compare=False)
    by: Chooser | None = None
    counted: bool = False

    @property
    def flat(self) -> bool:
        """Whether rows are summed as they are, whosever they are."""
        return self.how == "one_row" or (self.how == "weights" and self.held)


@dataclass(frozen=True, slots=True)
class Clip:
    """The bound on an owner's part, chosen privately among ``first`` times each of ``steps``.

    ``norm`` says of what: an owner's number of rows, the L1 norm of its sums over all groups (in the integers of the
    one measure there is), or the L2 norm of its whole vector; ``unit`` is one of it as an analyst reads it, in rows or
    in values. ``noises`` are those at each bound, block by block, None for a block that no clip bounds.
    """

    norm: Literal["rows", "values", "rows_l2", "values_l2"]
    first: int
    steps: tuple[int, ...]
    unit: Fraction
    search: Search
    loss: Loss
    noises: tuple[tuple[Noise, ...] | None, ...]

    def __post_init__(self) -> None:
        if any(own is not None and len(own) != len(self.steps) for own in self.noises):
            raise ValueError("a noise for each bound")

    @property
    def bounds(self) -> tuple[int, ...]:
        """All candidates, in the order in which they are looked at."""
        return tuple(self.first * step for step in self.steps)

    def block(self, block: Block, number: int, place: int) -> Block:
        """Return block ``number`` of the largest candidate as it is at that of ``place``."""
        noises, step, most = self.noises[number], self.steps[place], self.steps[-1]
        if noises is None:
            return block

        def less(bound: int) -> int:
            return bound * step // most

        measures = tuple(
            replace(found, l1=less(found.l1), l2_squared=less(less(found.l2_squared)), linf=less(found.linf))
            for found in block.measures
        )
        l1, l2_squared, linf = less(block.l1), less(less(block.l2_squared)), less(block.linf)
        return Block(measures, l1, l2_squared, linf, noises[place], block.loss)


def _won(race: Race, place: int, estimator: Estimator) -> Estimator:
    """Return the estimate that a race tells at a bound."""
    assert isinstance(estimator, Linear)
    [(_, weight)] = estimator.terms
    return replace(estimator, less=weight * race.handicap(place), among=race.candidates)


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """One noisy table to be: what is asked of the engine, what is drawn, and what is read off it.

    ``joint`` says which public values of several keys stand together; of keys in none, all do.

    ``parts`` are what statements of their own ask for the same groups: a histogram or different values each. Estimators
    stand in the whole alone; it has no statement of its own where it has nothing to draw. ``within`` are public keys
    that it is not grouped by, rows outside whose values are dropped all the same. ``clipped`` is the noisy count of
    units that count for less than they have, where that is asked for. ``charge`` is the one that drew it, said where
    stored tables of several charges stand for one plan.
    """

    release: Release
    keys: tuple[Key, ...]
    values: tuple[MeasuredValue, ...]
    bounding: Bounding
    blocks: tuple[Block, ...]
    threshold: Threshold | None
    estimators: tuple[tuple[str, Estimator], ...]
    sql: str
    tables: tuple[str, ...]
    loss: Loss
    reason: str
    parts: tuple[PlannedRelease, ...] = ()
    histogram: Histogram | None = None
    distinct: Distinct | None = None
    clip: Clip | None = None
    within: tuple[Key, ...] = ()
    clipped: Block | None = None
    joint: tuple[Joint, ...] = ()
    charge: str | None = field(default=None, repr=False, compare=False)

    def at(self, place: int | None) -> PlannedRelease:
        """Return the release with the bound of its clip chosen: one of its candidates, by place."""
        if self.clip is None:
            return self
        assert place is not None
        blocks = tuple(self.clip.block(block, number, place) for number, block in enumerate(self.blocks))
        estimators = self.estimators
        if isinstance(race := self.clip.search, Race):
            estimators = tuple((name, _won(race, place, estimator)) for name, estimator in estimators)
        return replace(self, blocks=blocks, estimators=estimators, clip=None)

    @property
    def drawn(self) -> tuple[Block, ...]:
        """All vectors of its own statement, the count of units that are above the bound among them."""
        return self.blocks if self.clipped is None else (*self.blocks, self.clipped)

    @property
    def overall(self) -> bool:
        """Whether numbers of units over all groups stand beside each group.

        They would go with the last group that is left out, whatever they are: a unit alone in the one that is shown
        would take all of them away with it. So rows are left out instead, before anything is counted: where no row is
        left, there is no unit to count either.
        """
        return self.clip is not None or self.clipped is not None

    @property
    def sent(self) -> str:
        """The SQL as the engine is handed it: its groups below the pre-threshold never leave the engine."""
        if self.threshold is None or self.threshold.least == 1:
            return self.sql
        return f"SELECT * FROM ({self.sql}) AS discreet_t WHERE {self.threshold.measure} >= {self.threshold.least}"  # noqa: S608 - ours

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures of its own statement, block by block."""
        return tuple(dict.fromkeys(measure for block in self.blocks for measure in block.measures))

    @property
    def statements(self) -> tuple[PlannedRelease, ...]:
        """What the engine is asked, statement by statement."""
        return (*((self,) if self.blocks else ()), *self.parts)

    @property
    def integers(self) -> tuple[str, ...]:
        """The names of the integers that leave for each group, those of parts after the part's number and a point."""
        if self.histogram is not None:
            return tuple(f"b{number}" for number, _ in enumerate(self.blocks))
        parts = (f"{number}.{name}" for number, part in enumerate(self.parts, 1) for name in part.integers)
        return (*(measure.name for measure in self.measures), *parts)

    @property
    def noises(self) -> dict[str, Noise]:
        """The law of each integer that is a sum and noise."""
        own = {m.name: block.noise for block in self.blocks for m in block.measures if isinstance(block.noise, Noise)}
        parts = {f"{n}.{name}": law for n, part in enumerate(self.parts, 1) for name, law in part.noises.items()}
        return own | parts

    @property
    def public(self) -> bool:
        """Whether all group keys are public, so that every one of them appears."""
        return all(key.values is not None for key in self.keys)


@dataclass(frozen=True, slots=True)
class PublicRead:
    """One statement that reads public rows as they are, and the tables that it touches."""

    sql: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer to be; ``price`` is the epsilon asked for and ``conversion_delta`` that of its Gaussian part.

    ``publics`` are the reads of public tables that it takes, one for each of the query's or one for all of it.
    ``preparation`` is the copy that its statements are for: run on anything else, they would hold no unit to its part.
    """

    dataset: str
    policy_version: int
    data_version: int
    dialect: Dialect
    query: Query
    releases: tuple[PlannedRelease, ...]
    loss: Loss
    price: int
    conversion_delta: int
    notes: tuple[str, ...]
    publics: tuple[PublicRead, ...] = ()
    preparation: str | None = field(repr=False, compare=False, default=None)
    _fingerprint: str = field(init=False, repr=False, compare=False, default="")

    @property
    def whole(self) -> bool:
        """Whether the one statement over public tables is the whole answer, computed by the engine."""
        return not self.releases and self.dialect == "duckdb"

    @property
    def statements(self) -> tuple[PlannedRelease, ...]:
        """What the engine is asked for all releases, statement by statement."""
        return tuple(statement for planned in self.releases for statement in planned.statements)

    @property
    def fingerprint(self) -> str:
        """A digest of all in the plan but its explanations: equal for equal questions, prices and data versions."""
        if not self._fingerprint:
            # Kept, since every request asks for it several times and a plan is written out for it.
            bare = replace(self, notes=(), releases=tuple(replace(planned, reason="") for planned in self.releases))
            digest = hashlib.sha256(repr(bare).encode()).hexdigest()[:32]
            object.__setattr__(self, "_fingerprint", digest)
        return self._fingerprint
