"""Random sentences of SQL over the shop's tables: the language that is admitted, and with a whim far more of SQL.

Everything is drawn from one ``Random``, so that a seed is a text, and hypothesis can drive it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sqlglot import exp

Words = tuple[str, ...]

TABLES = ("users u", "orders o", "items i", "users AS u", "orders AS o", "skus s")
STRANGE_TABLES = (
    *('"users"', "t", "nowhere", "main.users", "range(10)", "'s3://a/b.parquet'", "read_csv('x')", "UNNEST([1])"),
    *("(VALUES (1)) v(a)", "users TABLESAMPLE 5", "users PIVOT (SUM(age) FOR city IN ('a'))", "TABLE(users)"),
    *("LATERAL (SELECT 1) l", "users u(a, b)", "information_schema.tables", "generate_series(1, 3) g", "users FINAL"),
)
OF_TABLE: dict[str, Words] = {
    "users": ("u.id", "u.age", "u.income", "u.city"),
    "orders": ("o.user_id", "o.amount", "o.status", "o.channel", "o.day"),
    "items": ("i.qty", "i.price", "i.sku", "i.order_id"),
    "skus": ("s.weight", "s.kind", "s.sku"),
}
NUMBERS = ("u.age", "u.income", "o.amount", "i.qty", "i.price", "s.weight", "n", "c")
STRANGE_COLUMNS = (
    *("users.age", '"age"', "ctid", "rowid", "*", "u.*", "main.users.age", "COLUMNS(*)", "#1", "t", "n", "c", "city"),
)
CONSTANTS = ("0", "1", "30", "2.5", "100", "'Ulm'", "'paid'", "'2024-01-01'", "DATE '2024-01-01'", "TRUE", "NULL")
STRANGE_CONSTANTS = (
    *(
        "1e3",
        ".5",
        "9223372036854775807",
        "9223372036854775808",
        "1e400",
        "''",
        "'\\'",
        "'%'",
        "x'00'",
        "?",
        ":a",
        "@a",
    ),
    *("TIMESTAMP '2024-01-01 10:00:00'", "INTERVAL 1 DAY", "INTERVAL '3' MONTH", "CURRENT_DATE", "[1, 2]", "(1, 2)"),
    *("{'a': 1}", "ARRAY[1]", "STRUCT(1)", "DEFAULT", "NOW()", "'nan'", "CAST('nan' AS DOUBLE)", "-1", "N'a'", "0x1F"),
)
COMPARED = ("=", "<>", "<", "<=", ">", ">=")
BINARY = (*COMPARED, "+", "-", "*", "/", "%", "AND", "OR")
STRANGE_BINARY = (
    *("//", "||", "LIKE", "ILIKE", "NOT LIKE", "IS DISTINCT FROM", "~", "SIMILAR TO", "^", "&", "|", "<<", "->", "->>"),
    *("@>", "::", "**", "GLOB", "REGEXP", "COLLATE", "AT TIME ZONE", "DIV", "MOD", "XOR", ":=", "=>", "<=>", "=="),
)
TYPES = ("INTEGER", "BIGINT", "DOUBLE", "VARCHAR", "DATE", "TIMESTAMP", "BOOLEAN", "DECIMAL(10, 2)", "INT[]", "HUGEINT")
AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX", "COUNT_IF", "MEDIAN", "VAR_POP", "STDDEV")
STRANGE_AGGREGATES = (
    *("COUNTIF", "VAR_SAMP", "COVAR_POP", "CORR", "MODE", "ARRAY_AGG", "STRING_AGG", "ANY_VALUE", "BIT_XOR", "BOOL_OR"),
    *("APPROX_QUANTILES", "QUANTILE_CONT", "APPROX_COUNT_DISTINCT", "REGR_SLOPE", "FIRST", "ARG_MAX", "GROUPING"),
    *("LISTAGG", "PERCENTILE_CONT", "COUNT_BIG", "HISTOGRAM"),
)
FUNCTIONS = ("ABS", "ROUND", "FLOOR", "SQRT", "COALESCE", "LEAST", "UPPER", "LENGTH", "SUBSTRING", "YEAR", "NULLIF")
EVERY_FUNCTION = tuple(sorted(exp.FUNCTION_BY_NAME))
JOINS = ("JOIN", "LEFT JOIN", "INNER JOIN", ",", "CROSS JOIN")
STRANGE_JOINS = (
    *("RIGHT JOIN", "FULL JOIN", "NATURAL JOIN", "SEMI JOIN", "ANTI JOIN", "ASOF JOIN", "POSITIONAL JOIN"),
    *("JOIN LATERAL", ", LATERAL", "CROSS APPLY", "LEFT SEMI JOIN", "STRAIGHT_JOIN"),
)
TIES = ("o.user_id = u.id", "o.user_id = u.id AND age > 30", "i.order_id = o.id", "i.sku = s.sku")
ENDS = ("LIMIT 5", "LIMIT 5 OFFSET 2", "FETCH FIRST 3 ROWS ONLY", "ORDER BY 1", "ORDER BY n DESC NULLS LAST LIMIT 1")
STRANGE_ENDS = (
    *(
        "FOR UPDATE",
        "FETCH FIRST 3 ROWS WITH TIES",
        "OFFSET 1",
        "LIMIT ?",
        "LIMIT 10 PERCENT",
        "LIMIT ALL",
        "LIMIT 1 + 1",
    ),
    *("USING SAMPLE 10", "WINDOW w AS (ORDER BY id)", "QUALIFY ROW_NUMBER() OVER (ORDER BY id) = 1", "INTO t", ";"),
    *(
        "; SELECT 1",
        "LIMIT 99999999999999999999",
        "ORDER BY ALL",
        "ORDER BY 99",
        "ORDER BY age USING >",
        "SETTINGS a = 1",
    ),
)
OPTIONS = ("epsilon = 1", "epsilon = 0.1", "delta = 1e-9", "max_groups_contributed = 3", "privacy_unit_column = id")
STRANGE_OPTIONS = (
    "epsilon = -1",
    "epsilon = 'a'",
    "kappa = 2",
    "epsilon = NULL",
    "delta = ?",
    "epsilon",
    "=",
    "a.b = 1",
)
BOUNDS = ("contribution_bounds_per_row => (0, 10)", "contribution_bounds_per_group => (0, 5)")
STRANGE_BOUNDS = ("contribution_bounds => (1, 2)", "contribution_bounds_per_row => 1", "x => 2", "x := 2", "1, 2")


def sentence(random: Random) -> str:
    """A statement, mostly one SELECT, tame or wild."""
    return Writer(random, random.choice((0.0, 0.0, 0.03, 0.1, 0.3))).statement()


@dataclass
class Writer:
    """Writes sentences in which each choice is a strange one with the probability ``wild``.

    ``columns`` are those of the tables of the SELECT at hand, and of the one around it.
    """

    random: Random
    wild: float
    columns: Words = ("n",)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, usual: Words, strange: Words = ()) -> str:
        return self.random.choice(strange if strange and self.chance(self.wild) else usual)

    def statement(self) -> str:
        found = self.query(3)
        if self.chance(self.wild / 5):
            found = self.pick(("EXPLAIN ", "CREATE TABLE t AS ", "INSERT INTO t ", "(", "PIVOT ", "FROM t ")) + found
        return found

    def query(self, depth: int) -> str:
        found = self.select(depth)
        if depth > 1 and self.chance(0.15):
            name = self.pick(("t", "c"), ("users", "t(a, b)", '"T"', "t AS MATERIALIZED"))
            recursive = "RECURSIVE " if self.chance(self.wild / 3) else ""
            found = f"WITH {recursive}{name} AS ({self.query(depth - 1)}) {found}"
        if depth > 1 and self.chance(0.05 + self.wild / 5):
            operation = self.pick(("UNION", "UNION ALL", "EXCEPT", "INTERSECT"), ("UNION ALL BY NAME", "EXCEPT ALL"))
            found = f"{found} {operation} {self.select(depth - 1)}"
        return found

    def select(self, depth: int) -> str:
        """A SELECT with clauses that a whim decides, its tables chosen before what refers to them."""
        around = self.columns
        source = self.source(depth)
        here = [column for table, found in OF_TABLE.items() if table in source for column in found]
        self.columns = (*(here or ("n", "c")), *self.random.sample(around, 1))
        parts = ["SELECT", *self.modifiers()]
        parts.append(", ".join(self.item(depth) for _ in range(self.random.choice((1, 1, 2, 3)))))
        if not self.chance(self.wild / 5):
            parts.append(f"FROM {source}")
        if self.chance(0.5):
            parts.append(f"WHERE {self.condition(depth)}")
        if self.chance(0.4):
            parts.append(f"GROUP BY {self.keys(depth)}")
        if self.chance(0.15):
            parts.append(f"HAVING {self.aggregate(depth)} > {self.pick(CONSTANTS, STRANGE_CONSTANTS)}")
        if self.chance(0.15):
            parts.append(self.pick(ENDS, STRANGE_ENDS))
        self.columns = around
        return " ".join(parts)

    def modifiers(self) -> list[str]:
        found = []
        if self.chance(0.1):
            options = [self.pick(OPTIONS, STRANGE_OPTIONS) for _ in range(self.random.randint(0, 3))]
            found.append(f"WITH DIFFERENTIAL_PRIVACY OPTIONS({', '.join(options)})")
        if self.chance(self.wild / 2):
            found.append(self.pick(("DISTINCT", "DISTINCT ON (city)", "TOP 3", "ALL", "AS STRUCT", "TOP 3 PERCENT")))
        return found

    def item(self, depth: int) -> str:
        found = self.aggregate(depth) if self.chance(0.7) else self.scalar(depth - 1)
        return found + self.pick(("", "", " AS n", " AS c"), (" n", ' AS "x y"', " AS (a, b)"))

    def source(self, depth: int) -> str:
        found = self.table(depth)
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 2))):
            kind = self.pick(JOINS, STRANGE_JOINS)
            bare = kind in (",", "CROSS JOIN") or self.chance(self.wild / 2)
            tie = self.condition(1) if self.chance(0.2) else self.pick(TIES)
            found += f" {kind} {self.table(depth)}" + ("" if bare else self.pick((f" ON {tie}",), (" USING (id)", "")))
        return found

    def table(self, depth: int) -> str:
        if depth > 1 and self.chance(0.15):
            return f"({self.query(depth - 1)}){self.pick((' t', ' AS t'), ('', ' t(a, b)'))}"
        return self.pick(TABLES, STRANGE_TABLES)

    def keys(self, depth: int) -> str:
        if self.chance(self.wild / 2):
            return self.pick(("ROLLUP (city)", "CUBE (city, age)", "GROUPING SETS ((city), ())", "ALL", "()"))
        usual = (*self.columns, *self.columns, "1", self.scalar(depth - 1))
        return ", ".join(self.pick(usual) for _ in range(self.random.choice((1, 1, 2))))

    def aggregate(self, depth: int) -> str:
        name = self.pick(AGGREGATES, STRANGE_AGGREGATES)
        inside = "*" if name == "COUNT" else self.number() if self.chance(0.6) else self.scalar(depth - 1)
        if name == "COUNT_IF":
            inside = self.condition(depth - 1)
        distinct = "DISTINCT " if self.chance(0.05) else "ALL " if self.chance(self.wild / 5) else ""
        more = f", {self.pick(BOUNDS, STRANGE_BOUNDS)}" if self.chance(0.06) else ""
        found = f"{name}({distinct}{inside}{more})"
        if self.chance(0.08):
            found += f" FILTER (WHERE {self.condition(depth - 1)})"
        if self.chance(self.wild / 3):
            inside = self.pick(("", "PARTITION BY user_id", "ORDER BY id ROWS 3 PRECEDING"))
            found += self.pick((f" OVER ({inside})", " WITHIN GROUP (ORDER BY age)", " OVER w"))
        return found

    def number(self) -> str:
        found = tuple(column for column in self.columns if column in NUMBERS)
        return self.pick(found or self.columns)

    def condition(self, depth: int) -> str:
        match self.random.randrange(8 if depth > 0 else 4):
            case 0 | 1:
                return f"{self.number()} {self.pick(COMPARED)} {self.pick(CONSTANTS[:5], STRANGE_CONSTANTS)}"
            case 2:
                return f"{self.pick(self.columns)} {self.pick(('=', '<>', 'IN'))} ('Ulm')"
            case 3:
                return (
                    f"{self.pick(self.columns, STRANGE_COLUMNS)} IS {self.pick(('NULL', 'NOT NULL'), ('TRUE', 'JSON'))}"
                )
            case 4:
                return f"{self.condition(depth - 1)} {self.pick(('AND', 'OR'), ('XOR',))} {self.condition(depth - 1)}"
            case 5:
                return f"NOT ({self.condition(depth - 1)})"
            case _:
                return self.scalar(depth)

    def scalar(self, depth: int) -> str:
        """An expression of at most that depth."""
        if depth <= 0 or self.chance(0.3):
            if self.chance(0.6):
                return self.pick(self.columns, STRANGE_COLUMNS)
            return self.pick(CONSTANTS, STRANGE_CONSTANTS)
        one, two = self.scalar(depth - 1), self.scalar(depth - 1)
        match self.random.randrange(13):
            case 0 | 1 | 2:
                return f"{one} {self.pick(BINARY, STRANGE_BINARY)} {two}"
            case 3:
                return f"({one})"
            case 4:
                return f"{self.pick(('-', 'NOT '), ('+', '~', '@', 'PRIOR '))}{one}"
            case 5:
                return f"CASE WHEN {self.condition(depth - 1)} THEN {one} ELSE {two} END"
            case 6:
                arguments = ", ".join((one, two)[: self.random.randint(0 if self.chance(self.wild) else 1, 2)])
                return f"{self.pick(FUNCTIONS, EVERY_FUNCTION)}({arguments})"
            case 7:
                return f"{self.pick(('CAST', 'TRY_CAST'))}({one} AS {self.pick(TYPES)})"
            case 8:
                several = self.query(depth - 1) if self.chance(0.4) else f"{self.pick(CONSTANTS)}, {two}"
                return f"{one} {self.pick(('IN', 'NOT IN'))} ({several})"
            case 9:
                return f"{self.pick(('EXISTS', 'NOT EXISTS'))} ({self.query(depth - 1)})"
            case 10:
                return f"{one} {self.pick(('BETWEEN', 'NOT BETWEEN'))} {two} AND {self.pick(CONSTANTS)}"
            case 11:
                return f"({self.query(depth - 1)})" if self.chance(0.3) else self.condition(depth - 1)
            case _:
                return self.pick(
                    (self.aggregate(depth - 1),), (f"{one} = ANY ({two})", f"{one}[{two}]", f"{one}.{two}")
                )
