"""An answer, as an analyst holds it: typed rows, intervals, what it cost and what remains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, TypeAlias

from gateway.client import display
from gateway.wire import Budget, Column, Cost, JsonValue, Plan, QueryResponse

if TYPE_CHECKING:
    import pandas as pd

Cell: TypeAlias = bool | int | float | str | date | datetime | None
Interval: TypeAlias = tuple[float, float] | None

_PANDAS_TYPES = {
    "integer": "Int64",
    "number": "Float64",
    "text": "string",
    "boolean": "boolean",
    "date": "datetime64[s]",
    "timestamp": "datetime64[us]",
}


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """What one question brought; of a dry run, what it would bring and cost."""

    response: QueryResponse
    sql: str

    @property
    def query_id(self) -> str | None:
        """The gateway's name of the answer, None of a dry run."""
        return self.response.query_id

    @property
    def columns(self) -> list[Column]:
        """Names, types and roles of the columns."""
        return self.response.columns

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The rows, dates as dates."""
        return [
            tuple(_typed(value, column) for value, column in zip(row, self.columns, strict=True))
            for row in self.response.rows
        ]

    @property
    def intervals(self) -> dict[str, list[Interval]]:
        """Of each noisy column, one interval a row, None where there is none; they cover the noise, not clipping."""
        return {name: list(column) for name, column in self.response.intervals.items()}

    @property
    def cost(self) -> Cost:
        """What the request cost; an answer from the cache cost nothing."""
        return self.response.cost

    @property
    def budget(self) -> Budget | None:
        """What remains after it."""
        return self.response.budget

    @property
    def plan(self) -> Plan:
        """How the answer came about: the bounded SQL, sensitivities, noise."""
        return self.response.plan

    @property
    def warnings(self) -> list[str]:
        """What to keep in mind when reading the numbers."""
        return self.response.warnings

    @property
    def cached(self) -> bool:
        """Whether this is an earlier answer, given again."""
        return self.response.cached

    @property
    def dry_run(self) -> bool:
        """Whether nothing was asked of the data."""
        return self.response.dry_run

    def scalar(self) -> Cell:
        """Return the one value of an answer of one row and one column; ``ValueError`` if it has another shape."""
        if len(self) != 1 or len(self.columns) != 1:
            raise ValueError(f"the answer has {len(self)} rows and {len(self.columns)} columns, not one of each")
        return self.rows[0][0]

    def to_pandas(self, *, intervals: bool = False) -> pd.DataFrame:
        """Return the rows as a DataFrame of nullable types.

        With ``intervals``, each noisy column ``x`` is followed by ``x_low`` and ``x_high``. Integers beyond 64 bits
        stay Python integers.
        """
        import pandas as pd

        series: dict[str, pd.Series] = {}
        rows = self.rows
        for index, column in enumerate(self.columns):
            values = [row[index] for row in rows]
            series[_free(column.name, series)] = pd.Series(values, dtype=_dtype(column, values))
            ends = self.intervals.get(column.name)
            if intervals and ends is not None:
                for side, name in enumerate(("low", "high")):
                    series[_free(f"{column.name}_{name}", series)] = pd.Series(
                        [None if end is None else end[side] for end in ends], dtype="Float64"
                    )
        return pd.DataFrame(series)

    def __len__(self) -> int:
        return len(self.response.rows)

    def __repr__(self) -> str:
        return display.text(self.response)

    def _repr_html_(self) -> str:
        return display.html(self.response)


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """A dry run: how a question would be answered, at which price and with which error, at no price."""

    response: QueryResponse
    sql: str

    @property
    def plan(self) -> Plan:
        """The plan; its ``id`` can be pinned by the real run."""
        return self.response.plan

    @property
    def cost(self) -> Cost:
        """What the real run would cost."""
        return self.response.cost

    @property
    def budget(self) -> Budget | None:
        """What remains, nothing having been charged."""
        return self.response.budget

    @property
    def warnings(self) -> list[str]:
        """What to keep in mind when reading the numbers."""
        return self.response.warnings

    def __repr__(self) -> str:
        return display.explanation(self.response)

    def _repr_html_(self) -> str:
        return display.preformatted(display.explanation(self.response))


def _typed(value: JsonValue, column: Column) -> Cell:
    if isinstance(value, str) and column.type == "date":
        return date.fromisoformat(value)
    if isinstance(value, str) and column.type == "timestamp":
        return datetime.fromisoformat(value)
    return value


def _dtype(column: Column, values: list[Cell]) -> str:
    if column.type == "integer" and any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        return "object"
    return _PANDAS_TYPES[column.type]


def _free(name: str, taken: dict[str, pd.Series]) -> str:
    while name in taken:
        name += "_"
    return name
