"""What a release has to tell: which values are counted, summed, averaged, squared and multiplied with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.sql.algebra import Aggregate, Scalar
from gateway.sql.planning.quantum import Quantum

SQUARED = frozenset({"variance_population", "variance_sample", "deviation_population", "deviation_sample"})
"""Statistics of one value."""

PAIRED = {
    "covariance_population": (1, 1),
    "covariance_sample": (1, 1),
    "slope": (1, 2),
    "intercept": (1, 2),
    "correlation": (2, 2),
    "determination": (2, 2),
}
"""Statistics of two values, and the highest power of y and of x in them."""

SPREAD = SQUARED | PAIRED.keys()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a release has to tell.

    ``rows`` is the bound M on an owner's rows, ``weighted`` whether weights enforce it, ``reach`` the most groups that
    one owner may be counted in, ``threshold`` whether owners must be counted to decide which groups appear. ``chosen``:
    the bound is a clip still to be chosen, and ``rows`` the one row that bounds are multiples of. ``apart``: no two
    rows of one owner are in the same group (``apart.py``).
    """

    aggregates: tuple[tuple[str, Aggregate], ...]
    values: Mapping[Scalar, str]
    quanta: Mapping[str, Quantum]
    present: Callable[[str], bool]
    rows: int
    weighted: bool
    one_row: bool
    reach: int
    threshold: bool
    chosen: bool = False
    apart: bool = False

    def of(self, kind: str, name: str) -> bool:
        """Whether an aggregate of that kind over that value is asked for."""
        return any(aggregate.kind == kind and self.named(aggregate) == name for _, aggregate in self.aggregates)

    def named(self, aggregate: Aggregate) -> str | None:
        """Return the name of the value that an aggregate is over, None for one over rows or owners."""
        return None if aggregate.argument is None else self.values[aggregate.argument]

    def pair(self, aggregate: Aggregate) -> tuple[str, str]:
        """Return the names of y and x of an aggregate over two values."""
        assert aggregate.argument is not None
        assert aggregate.second is not None
        return self.values[aggregate.argument], self.values[aggregate.second]

    def _over(self, *kinds: str) -> list[str]:
        wanted = (aggregate for _, aggregate in self.aggregates if aggregate.kind in kinds)
        return list(dict.fromkeys(self.values[found] for aggregate in wanted for found in aggregate.arguments))

    @property
    def measured(self) -> list[str]:
        """The values that are summed, averaged or squared, in the order of the query."""
        return self._over("sum", "average", *SPREAD)

    @property
    def centred(self) -> list[str]:
        """The values of which a mean is needed, and with it their count."""
        return self._over("average", *SPREAD)

    @property
    def counted(self) -> list[str]:
        """The values that are counted and may be NULL, in the order of the query."""
        return [name for name in self._over("count") if not self.present(name)]

    @property
    def squared(self) -> frozenset[str]:
        """The values whose squares are summed."""
        found = set(self._over(*SQUARED))
        for names, powers in self._powers():
            found |= {name for name, power in zip(names, powers, strict=True) if power == 2}
        return frozenset(found)

    @property
    def pairs(self) -> dict[tuple[str, str], dict[str, int]]:
        """The pairs of values whose products are summed, with the highest power of each value that is needed.

        The squares that aggregates of one value alone need are taken from the first pair that the value is in: the two
        values of a pair are NULL together, so that the pair tells all about each.
        """
        found: dict[tuple[str, str], dict[str, int]] = {}
        for names, powers in self._powers():
            first, second = sorted(names)
            needed = found.setdefault((first, second), {first: 1, second: 1})
            for name, power in zip(names, powers, strict=True):
                needed[name] = max(needed[name], power)
        for name in self.squared:
            holding = [needed for needed in found.values() if name in needed]
            if holding and all(needed[name] < 2 for needed in holding):
                holding[0][name] = 2
        return found

    def _powers(self) -> list[tuple[tuple[str, str], tuple[int, int]]]:
        paired = (aggregate for _, aggregate in self.aggregates if aggregate.kind in PAIRED)
        return [(self.pair(aggregate), PAIRED[aggregate.kind]) for aggregate in paired]

    @property
    def owners_asked(self) -> bool:
        """Whether privacy units are to be counted."""
        return any(aggregate.kind == "count_owners" for _, aggregate in self.aggregates)

    @property
    def every_row(self) -> bool:
        """Whether all rows have to be counted: asked for, or meant by a count of what is never NULL."""
        asked = any(aggregate.kind == "count_rows" for _, aggregate in self.aggregates)
        meant = any(self.present(name) for name in self._over("count"))
        return asked or meant or (self.one_row and (self.threshold or self.owners_asked))

    @property
    def separate_owners(self) -> bool:
        """Whether owners are counted by a measure of their own: where each has one row, the row count serves."""
        return not self.one_row and (self.threshold or self.owners_asked)
