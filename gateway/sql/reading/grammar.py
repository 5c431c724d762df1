"""The grammars of the input dialects: sqlglot's parsers, taught GoogleSQL's privacy clause and where parameters stand.

``SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon = 1) SUM(cost, contribution_bounds_per_row => (0, 9)) FROM visit``
→  a ``Select`` whose ``hint`` is ``Privacy(epsilon = 1)``, over ``Bounded(Sum(cost), per_row => (0, 9))``

Both stand in the tree as nodes of their own, so that lowering, which denies by default, refuses them wherever no arm
reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlglot import Dialect, exp
from sqlglot.errors import ParseError
from sqlglot.parser import Parser
from sqlglot.parsers.bigquery import BigQueryParser
from sqlglot.parsers.duckdb import DuckDBParser
from sqlglot.parsers.mysql import MySQLParser
from sqlglot.parsers.postgres import PostgresParser
from sqlglot.parsers.snowflake import SnowflakeParser
from sqlglot.parsers.spark import SparkParser
from sqlglot.parsers.sqlite import SQLiteParser
from sqlglot.parsers.tsql import TSQLParser
from sqlglot.tokenizer_core import TokenType

START = "discreet_start"
"""The key of an error's token in what a ``ParseError`` tells."""
CONTRIBUTION_BOUNDS = ("contribution_bounds_per_row", "contribution_bounds_per_group")


class Privacy(exp.Expression):
    """The clause ``WITH DIFFERENTIAL_PRIVACY OPTIONS(name = value, …)``: its options as equalities."""

    arg_types = {"expressions": False}  # noqa: RUF012 - sqlglot's own form


class Bounded(exp.Expression):
    """A call with contribution bounds: ``this`` without them, and they as keyword arguments."""

    arg_types = {"this": True, "expressions": True}  # noqa: RUF012


if TYPE_CHECKING:
    _Mixin = Parser
else:  # below a dialect's parser in the order of methods, above none: each keeps its own tables
    _Mixin = object


class _Clauses(_Mixin):
    """The hooks: right after SELECT, among a call's arguments, around a call, and at a parameter."""

    _stripped: list[list[exp.Expr]]

    def reset(self) -> None:
        """Begin a text."""
        super().reset()
        self._stripped = []

    def raise_error(self, message: str, *given: Any, **named: Any) -> None:
        """Raise sqlglot's error with the offset of the token it is at: its lines and columns count otherwise."""
        at = self._curr or self._prev
        try:
            super().raise_error(message, *given, **named)
        except ParseError as error:
            error.errors[0][START] = at.start if at else 0
            raise

    def _parse_hint(self) -> Any:
        after_select = self._prev.token_type is TokenType.SELECT
        if not after_select or not self._match_text_seq("WITH", "DIFFERENTIAL_PRIVACY"):
            return super()._parse_hint()
        start = self._prev.start
        options = []
        if self._match_text_seq("OPTIONS") and not self._match_pair(TokenType.L_PAREN, TokenType.R_PAREN):
            options = self._parse_wrapped_csv(self._parse_option)
        found = self.expression(Privacy(expressions=options))
        found.meta["start"] = start
        return found

    def _parse_option(self) -> exp.Expr | None:
        name = self._parse_id_var(any_token=True)
        if name is None or not self._match(TokenType.EQ):
            self.raise_error("Expected an option and its value")
        return self.expression(exp.EQ(this=name, expression=self._parse_disjunction()))

    def _parse_function_args(self, alias: bool = False) -> list[exp.Expr]:
        args = super()._parse_function_args(alias)
        if not self._stripped:
            return args
        mine = [arg for arg in args if isinstance(arg, exp.Kwarg) and arg.name.lower() in CONTRIBUTION_BOUNDS]
        self._stripped[-1] += mine
        return [arg for arg in args if arg not in mine] if mine else args

    def _parse_function_call(self, *args: Any, **named: Any) -> exp.Expr | None:
        self._stripped.append([])
        try:
            found = super()._parse_function_call(*args, **named)
        finally:
            stripped = self._stripped.pop()
        return self.expression(Bounded(this=found, expressions=stripped)) if found is not None and stripped else found

    def _parse_placeholder(self) -> exp.Expr | None:
        token = self._curr
        found = super()._parse_placeholder()
        if found is not None and token:
            found.meta["start"] = token.start
        return found


class _DuckDB(_Clauses, DuckDBParser):
    pass


class _Postgres(_Clauses, PostgresParser):
    pass


class _BigQuery(_Clauses, BigQueryParser):
    pass


class _Snowflake(_Clauses, SnowflakeParser):
    pass


class _Spark(_Clauses, SparkParser):
    pass


class _MySQL(_Clauses, MySQLParser):
    pass


class _SQLite(_Clauses, SQLiteParser):
    pass


class _TSQL(_Clauses, TSQLParser):
    pass


_PARSERS: Mapping[str, Callable[..., Parser]] = MappingProxyType(
    {
        "duckdb": _DuckDB,
        "postgres": _Postgres,
        "bigquery": _BigQuery,
        "snowflake": _Snowflake,
        "spark": _Spark,
        "mysql": _MySQL,
        "tsql": _TSQL,
        "sqlite": _SQLite,
    }
)
DIALECTS = tuple(_PARSERS)


def parser(dialect: str) -> Parser:
    """Return a parser of one input dialect."""
    return _PARSERS[dialect](dialect=Dialect.get_or_raise(dialect))
