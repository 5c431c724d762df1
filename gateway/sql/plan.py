"""The plan: an immutable, hashable value that says all that will be sent to the engine, drawn, charged and computed.

A dry run ends here, explain prints it, the cache is keyed by it and the ledger refers to it by its fingerprint.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

from gateway.policy.model import Dialect, Value
from gateway.sql.algebra import Kind, Release, Scalar
from gateway.sql.quantum import Quantum
from gateway.sql.tables import Query
from mechanisms.loss import Loss
from mechanisms.noise import Noise


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
class Measure:
    """One column of exact integers in multiples of ``unit``.

    ``cell`` is None for the number of owners. ``l1``, ``linf`` and the root of ``l2_squared`` bound one owner's part
    over all groups, in those integers.
    """

    name: str
    kind: str
    cell: Cell | None
    unit: Fraction
    l1: int
    l2_squared: int
    linf: int


@dataclass(frozen=True, slots=True)
class Block:
    """Measures drawn as one vector with one noise; the bounds are of one owner's part in the whole vector."""

    measures: tuple[Measure, ...]
    l1: int
    l2_squared: int
    linf: int
    noise: Noise
    loss: Loss


@dataclass(frozen=True, slots=True)
class Key:
    """One group key: ``label`` as the analyst sees it, ``values`` its public domain, None for a private key."""

    name: str
    label: str
    scalar: Scalar
    kind: Kind
    values: tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """A value of a row that cells read; ``quantum`` says how it becomes an integer, None where only presence counts."""

    name: str
    scalar: Scalar
    quantum: Quantum | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """Publish a group only if ``measure`` plus its noise reaches ``at`` (in the measure's integers)."""

    measure: str
    at: int
    delta: int


@dataclass(frozen=True, slots=True)
class Linear:
    """An estimate that is a weighted sum of measures' integers; ``step`` is what it is rounded to, None for none."""

    terms: tuple[tuple[str, Fraction], ...]
    step: Fraction | None


@dataclass(frozen=True, slots=True)
class Mean:
    """An estimate ``centre + spread/count``, held within [lower, upper]; both parts are weighted sums of measures."""

    spread: tuple[tuple[str, Fraction], ...]
    count: tuple[tuple[str, Fraction], ...]
    centre: Fraction
    lower: Fraction
    upper: Fraction


Estimator: TypeAlias = Linear | Mean


@dataclass(frozen=True, slots=True)
class Bounding:
    """How the bounded SQL holds one owner to its part.

    ``one_row``: by construction. ``weights``: each row of an owner with more than ``rows`` rows counts for
    ``rows``/n. ``owners``: the same after summing per owner and group, an owner reaching at most ``groups`` groups.
    """

    how: Literal["one_row", "weights", "owners"]
    rows: int | None
    groups: int | None


@dataclass(frozen=True, slots=True)
class PlannedRelease:
    """One noisy table to be: what is asked of the engine, what is drawn, and what is read off it."""

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

    @property
    def measures(self) -> tuple[Measure, ...]:
        """All measures, block by block."""
        return tuple(measure for block in self.blocks for measure in block.measures)

    @property
    def public(self) -> bool:
        """Whether all group keys are public, so that every one of them appears."""
        return all(key.values is not None for key in self.keys)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole answer to be; ``price`` is the epsilon asked for and ``conversion_delta`` that of its Gaussian part."""

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

    @property
    def fingerprint(self) -> str:
        """A digest of all in the plan but its explanations: equal for equal questions, prices and data versions."""
        bare = replace(self, notes=(), releases=tuple(replace(planned, reason="") for planned in self.releases))
        return hashlib.sha256(repr(bare).encode()).hexdigest()[:32]
