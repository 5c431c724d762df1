"""Random questions over several relations, composed: joins on joins of nested queries, folds, semi-joins, CASE, FILTER.

The same text is what the analyst asks and what SQLite answers, so that the second implementation needs no parser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.oracles.clinic import GAUGES, KEYED_GAUGES
from tests.oracles.worlds import World

Kind = Literal["integer", "number", "text", "boolean", "date"]


@dataclass(frozen=True)
class Column:
    """A column in reach: how it is written, and whether it is the owner's key, a bounded number, a key of visits."""

    text: str
    name: str
    kind: Kind
    owner: bool = False
    bounded: bool = False
    visit: bool = False
    padded: bool = False


@dataclass
class Built:
    """A FROM clause, conditions of WHERE, and the columns in reach; ``features`` says what went into it."""

    source: str
    where: list[str]
    columns: list[Column]
    owned: bool = True
    features: set[str] = field(default_factory=set)


_TABLES: dict[str, tuple[tuple[str, Kind, str], ...]] = {
    "person": (
        ("person_id", "integer", "owner"),
        ("sex", "text", ""),
        ("age", "integer", "bounded"),
        ("ok", "boolean", ""),
        ("city", "text", ""),
    ),
    "visit": (
        ("visit_id", "integer", "visit"),
        ("person_id", "integer", "owner"),
        ("site_id", "integer", ""),
        ("cost", "number", "bounded"),
        ("part", "number", "bounded"),
        ("score", "number", "bounded"),
        ("kind", "text", ""),
        ("day", "date", ""),
    ),
    "item": (
        ("visit_id", "integer", "visit"),
        ("qty", "integer", "bounded"),
        ("label", "text", ""),
        ("whole", "number", "bounded"),
    ),
    "site": (("site_id", "integer", ""), ("region", "text", ""), ("beds", "integer", "bounded")),
    "tariff": (("region", "text", ""), ("fee", "integer", "bounded")),
    "gauge": (("site_id", "integer", ""), ("level", "integer", "bounded"), ("tag", "text", "")),
}
_LITERALS: dict[Kind, tuple[str, ...]] = {
    "integer": ("1", "2", "18", "0", "3.5"),
    "number": ("0.5", "12.5", "40", "0"),
    "text": ("'x'", "'F'", "'Ulm'", "'north'", "'a'"),
    "boolean": ("TRUE",),
    "date": ("'2020-01-02'",),
}


@dataclass(frozen=True)
class Composed:
    """A question: its text, how many group keys it has, its aggregates in order, and what it is made of."""

    text: str
    keys: int
    aggregates: tuple[str, ...]
    features: frozenset[str]


class Composer:
    """Composes one question from a seed; ``world`` says which tables there are."""

    def __init__(self, world: World, random: Random) -> None:
        self.random, self.rows = random, world in (GAUGES, KEYED_GAUGES)
        self.taken = 0
        self.named: list[str] = []
        self.features: set[str] = set()

    def question(self) -> Composed:
        """Return a question."""
        built = self.relation(self.random.choice((1, 2, 2, 2, 3)))
        items = list(dict.fromkeys(self.aggregate(built) for _ in range(self.random.randint(1, 3))))
        keys = [self.key(built) for _ in range(self.random.choice((0, 0, 1, 1, 2)))]
        keys = list(dict.fromkeys(keys))
        selected = [*(f"{key} AS k{at}" for at, key in enumerate(keys)), *items]
        found = f"SELECT {', '.join(selected)} FROM {built.source}{self.condition(built)}"
        if keys:
            found += f" GROUP BY {', '.join(str(at + 1) for at in range(len(keys)))}"
        if self.named:
            found = f"WITH {', '.join(self.named)} {found}"
        return Composed(found, len(keys), tuple(items), frozenset(self.features | built.features))

    def condition(self, built: Built) -> str:
        """Return the WHERE clause."""
        return f" WHERE {' AND '.join(built.where)}" if built.where else ""

    def alias(self) -> str:
        self.taken += 1
        return f"q{self.taken}"

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    # --- relations

    def relation(self, depth: int) -> Built:
        """Return a relation: an item, joined with others, filtered, and picked by semi-joins."""
        built = self.item(depth)
        for _ in range(self.random.choice((0, 0, 1, 1, 2)) if depth else 0):
            built = self.join(built, depth)
        for _ in range(self.random.choice((0, 1, 1))):
            built.where.append(self.test(built.columns))
        if depth and self.chance(30):
            self.ask(built, depth)
        if depth and self.chance(30):
            self.semi_join(built, depth)
        return built

    def table(self, name: str) -> Built:
        alias = self.alias()
        columns = [
            Column(f"{alias}.{column}", column, kind, word == "owner", word == "bounded", word == "visit")
            for column, kind, word in _TABLES[name]
        ]
        return Built(f"{name} AS {alias}", [], columns, name not in ("site", "tariff"))

    def item(self, depth: int) -> Built:
        if depth and self.chance(35):
            return self.nested(depth - 1)
        return self.table("gauge" if self.rows else self.random.choice(("person", "visit", "visit", "item")))

    def join(self, left: Built, depth: int) -> Built:
        public = self.rows or self.chance(25)
        right = self.table(self.random.choice(("site", "site", "tariff"))) if public else self.item(depth - 1)
        how = self.random.choice(("JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", ",", "CROSS JOIN"))
        if public and self.chance(35):
            right = self.public()
        on = self.meeting(left, right) if public else self.tie(left, right)
        if on is None:
            return left
        left.features |= {"public" if public else "owned", how} | right.features
        shared = None if public or how not in ("JOIN", "LEFT JOIN") else self.shared(left, right)
        if shared is not None and " AS " in left.source and left.source.count(" AS ") == 1 and self.chance(25):
            left.features.add("NATURAL")
            padded = [_padded(column) for column in right.columns] if how == "LEFT JOIN" else right.columns
            source = f"{left.source} NATURAL {how} {right.source}"
            return Built(source, left.where, [*left.columns, *padded], left.owned, left.features)
        if shared is not None and self.chance(40):
            left.features.add("USING")
            padded = [_padded(column) for column in right.columns] if how == "LEFT JOIN" else right.columns
            source = f"{left.source} {how} {right.source} USING ({shared})"
            return Built(source, left.where, [*left.columns, *padded], left.owned, left.features)
        more = [*right.where]
        if self.chance(40):
            more.append(self.test([*left.columns, *right.columns]))
        columns = right.columns
        if how == "LEFT JOIN":
            columns = [_padded(column) for column in columns]
            left.source += f" LEFT JOIN {right.source} ON {' AND '.join([on, *more])}"
        elif how == "RIGHT JOIN":
            left.columns = [_padded(column) for column in left.columns]
            left.source += f" RIGHT JOIN {right.source} ON {' AND '.join([on, *more])}"
        elif public and how == "," and self.chance(60):
            left.features.add("public first")
            left.source = f"{right.source} CROSS JOIN {left.source}"
            left.where += [on, *more]
        elif how == "JOIN":
            left.source += f" JOIN {right.source} ON {' AND '.join([on, *more])}"
        else:
            left.source += f" {how.replace(',', 'CROSS JOIN')} {right.source}"
            left.where += [on, *more]
        return Built(left.source, left.where, [*left.columns, *columns], left.owned, left.features)

    def tie(self, left: Built, right: Built) -> str | None:
        """Return a condition that only one owner's rows meet; now and then one that ties nothing."""
        pairs = [(a, b) for a in left.columns for b in right.columns if (a.owner and b.owner) or (a.visit and b.visit)]
        pairs = [pair for pair in pairs if not any(column.padded for column in pair)]
        if self.chance(4):
            pairs = [(a, b) for a in left.columns for b in right.columns if a.kind == b.kind]
        if not pairs:
            return None
        a, b = self.random.choice(pairs)
        equal = f"{a.text} = {b.text}"
        if self.chance(10):
            self.features.add("OR tie")
            return f"(({equal} AND {self.test(left.columns)}) OR ({self.test(right.columns)} AND {equal}))"
        return equal

    def shared(self, left: Built, right: Built) -> str | None:
        """Return a name that both sides have once, for USING, if it ties them."""
        names = [column.name for column in left.columns]
        ties = (c.name for c in right.columns if c.owner or c.visit)
        found = [c for name in ties if names.count(name) == 1 for c in left.columns if c.name == name]
        usable = [c.name for c in found if (c.owner or c.visit) and not c.padded]
        return None if right.where or not usable else self.random.choice(usable)

    def meeting(self, left: Built, right: Built) -> str | None:
        pairs = [(a, b) for a in left.columns for b in right.columns if a.name == b.name]
        if not pairs or self.chance(10):
            return "TRUE"
        a, b = self.random.choice(pairs)
        return f"{a.text} = {b.text}"

    def public(self) -> Built:
        """Return a derived public table: folded, or cut under a total order."""
        alias = self.alias()
        if self.chance(50):
            self.features.add("public fold")
            text = "SELECT site_id, COUNT(*) AS n, MAX(beds) AS beds FROM site GROUP BY site_id"
            names: tuple[tuple[str, Kind, bool], ...] = (
                ("site_id", "integer", False),
                ("n", "integer", False),
                ("beds", "integer", True),
            )
        else:
            self.features.add("public cut")
            text = "SELECT site_id, region FROM site ORDER BY region NULLS LAST, site_id NULLS LAST LIMIT 2"
            names = (("site_id", "integer", False), ("region", "text", False))
        columns = [Column(f"{alias}.{name}", name, kind, bounded=bounded) for name, kind, bounded in names]
        return Built(f"({text}) AS {alias}", [], columns, owned=False)

    def ask(self, built: Built, depth: int) -> None:
        """Add a condition in which a subquery stands inside an expression."""
        found = self.asked(built, depth)
        if found is None:
            return
        inner, behind = found
        column = self.random.choice(inner.columns)
        form = self.random.randrange(5)
        if form == 0:
            word = self.random.choice(("EXISTS", "NOT EXISTS"))
            built.features.add("EXISTS in OR")
            built.where.append(f"({self.test(built.columns)} OR {word} (SELECT 1 {behind}))")
        elif form == 1:
            built.features.add("scalar COUNT")
            built.where.append(f"(SELECT COUNT(*) {behind}) {self.random.choice(('> 1', '= 0', '<= 2'))}")
        elif form == 2:
            same = [mine for mine in built.columns if mine.kind == column.kind and column.kind != "boolean"]
            if same:
                word = self.random.choice(("MIN", "MAX"))
                built.features.add("scalar MAX")
                built.where.append(f"{self.random.choice(same).text} >= (SELECT {word}({column.text}) {behind})")
        elif form == 3:
            same = [mine for mine in built.columns if mine.kind == column.kind]
            if same:
                word = self.random.choice(("NOT IN", "NOT IN", "IN"))
                built.features.add("tied NOT IN")
                test = f"{self.random.choice(same).text} {word} (SELECT {column.text} {behind})"
                built.where.append(test if self.chance(60) else f"({test} OR {self.test(built.columns)})")
        else:
            bounded = [c for c in inner.columns if c.bounded]
            mine = [c for c in built.columns if c.bounded]
            if bounded and mine:
                built.features.add("scalar SUM")
                text = self.random.choice(bounded).text
                built.where.append(f"{self.random.choice(mine).text} < (SELECT SUM({text}) {behind})")

    def asked(self, built: Built, depth: int) -> tuple[Built, str] | None:
        """Return what a subquery in an expression finds, and its FROM and WHERE: tied to the owner, or public."""
        public = self.rows or self.chance(20)
        inner = self.table("site") if public else self.item(depth - 1)
        on = self.meeting(built, inner) if public else self.tie(built, inner)
        if on is None:
            return None
        inner.where += [on, *([self.test(inner.columns)] if self.chance(50) else [])]
        if self.chance(25):
            inner.where.append(self.test([*built.columns, *inner.columns]))
        built.features |= inner.features
        return inner, f"FROM {inner.source}{self.condition(inner)}"

    def semi_join(self, built: Built, depth: int) -> None:
        """Add a condition with a subquery."""
        inner = self.table("site") if self.rows else self.item(depth - 1)
        inner.where += [self.test(inner.columns)] if self.chance(60) else []
        on = self.meeting(built, inner) if self.rows else self.tie(built, inner)
        if on is None:
            return
        negated = self.chance(40)
        owners = [c for c in built.columns if c.owner and not c.padded], [c for c in inner.columns if c.owner]
        if all(owners) and self.chance(50):
            member, found = owners[0][0], owners[1][0]
            word = "NOT IN" if negated else "IN"
            if self.chance(30):
                inner.where.append(on)
            test = f"{member.text} {word} (SELECT {found.text} FROM {inner.source}{self.condition(inner)})"
        else:
            inner.where.append(on)
            if self.chance(40):
                inner.where.append(self.test([*built.columns, *inner.columns]))
            word = "NOT EXISTS" if negated else "EXISTS"
            same = [(a, b) for a in built.columns for b in inner.columns if a.kind == b.kind]
            if same and not negated and self.chance(30):
                a, b = self.random.choice(same)
                word = "IN"
                test = f"{a.text} IN (SELECT {b.text} FROM {inner.source}{self.condition(inner)})"
            else:
                test = f"{word} (SELECT {self.random.choice(('1', '*', 'NULL'))} FROM {inner.source}"
                test += f"{self.condition(inner)})"
        built.features |= {word} | inner.features
        built.where.append(test)

    # --- nested queries

    def nested(self, depth: int) -> Built:
        """Return a nested query under a name, in FROM or in WITH."""
        below = self.relation(depth)
        made = "nested" if self.rows else self.random.choice(("fold", "fold", "fold", "nested", "nested", "window"))
        if not self.rows and self.chance(20):
            found = self.united(below, depth)
            if found is not None:
                return found
        selected, columns, rest = {"fold": self.folded, "nested": self.picked, "window": self.ranked}[made](below)
        text = f"SELECT {', '.join(selected)} FROM {below.source}{self.condition(below)}{rest}"
        if self.chance(2):
            text += " LIMIT 3"
        return self.called(text, columns, {*below.features, made})

    def called(self, text: str, columns: list[Column], features: set[str]) -> Built:
        """Return a query under a name, in FROM or in WITH."""
        alias = self.alias()
        if self.chance(30):
            self.named.append(f"{alias} AS ({text})")
            source, word = f"{alias}", "WITH"
        else:
            source, word = f"({text}) AS {alias}", "FROM"
        found = [Column(f"{alias}.{c.name}", c.name, c.kind, c.owner, c.bounded, c.visit, c.padded) for c in columns]
        return Built(source, [], found, features={*features, word})

    def united(self, below: Built, depth: int) -> Built | None:
        """Return rows of two relations put together, the owner's key first on both sides."""
        other = self.relation(depth)
        sides = [[c for c in side.columns if c.owner and not c.padded] for side in (below, other)]
        if not all(sides):
            return None
        pairs = [(sides[0][0], sides[1][0])]
        for column in self.random.sample(below.columns, min(2, len(below.columns))):
            same = [c for c in other.columns if c.kind == column.kind]
            pairs += [(column, self.random.choice(same))] if same else []
        word = self.random.choice(("UNION ALL", "UNION", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL", "INTERSECT ALL"))
        self.features |= {"ties"} if word in ("EXCEPT ALL", "INTERSECT ALL") else set()  # which SQLite has not
        if self.chance(4):
            pairs = pairs[1:] or pairs
        texts = []
        for at, side in enumerate((below, other)):
            selected = ", ".join(f"{pair[at].text} AS u{place}" for place, pair in enumerate(pairs))
            texts.append(f"SELECT {selected} FROM {side.source}{self.condition(side)}")
        columns = [
            Column(
                "", f"u{place}", a.kind, a.owner and b.owner and not a.padded and not b.padded, a.bounded and b.bounded
            )
            for place, (a, b) in enumerate(pairs)
        ]
        return self.called(f" {word} ".join(texts), columns, {*below.features, *other.features, word})

    def ranked(self, below: Built) -> tuple[list[str], list[Column], str]:
        """Return a select list with window functions over one owner's rows.

        At times the order leaves ties, and the one answer that Discreet gives is not SQLite's.
        """
        selected, columns, rest = self.picked(below)
        selected[0] = selected[0].removeprefix("DISTINCT ")
        owners = [column for column in below.columns if (column.owner or column.visit) and not column.padded]
        if not owners or self.chance(3):
            owners = below.columns
        partition = [self.random.choice(owners).text]
        partition += [self.random.choice(below.columns).text] if self.chance(30) else []
        every = self.random.sample(below.columns, len(below.columns))
        suffixes = (" NULLS LAST", " DESC NULLS LAST", " DESC NULLS FIRST")
        order = [f"{column.text}{self.random.choice(suffixes)}" for column in every]
        if self.chance(30):
            order = order[:1]
            self.features.add("ties")
        column = self.random.choice(below.columns)
        ends = (
            "UNBOUNDED PRECEDING",
            "2 PRECEDING",
            "1 PRECEDING",
            "CURRENT ROW",
            "1 FOLLOWING",
            "UNBOUNDED FOLLOWING",
        )
        first = self.random.randrange(4)
        last = self.random.randrange(max(first, 2), len(ends))
        frame = f" ROWS BETWEEN {ends[first]} AND {ends[last]}"
        forms: list[tuple[str, Kind, bool, str]] = [
            ("ROW_NUMBER()", "integer", True, ""),
            ("RANK()", "integer", True, ""),
            ("DENSE_RANK()", "integer", True, ""),
            (f"LAG({column.text})", column.kind, column.bounded, ""),
            (f"LEAD({column.text}, 2)", column.kind, column.bounded, ""),
            (f"FIRST_VALUE({column.text})", column.kind, column.bounded, self.random.choice(("", frame))),
            (f"LAST_VALUE({column.text})", column.kind, column.bounded, frame),
            ("COUNT(*)", "integer", True, self.random.choice(("", frame))),
            (f"COUNT({column.text})", "integer", True, self.random.choice(("", frame))),
        ]
        if column.bounded:
            forms += [(f"SUM({column.text})", column.kind, True, self.random.choice(("", frame)))] * 2
            forms.append((f"AVG({column.text})", "number", True, self.random.choice(("", frame))))
        if column.kind != "boolean":
            forms.append((f"MAX({column.text})", column.kind, column.bounded, self.random.choice(("", frame))))
        over = f"PARTITION BY {', '.join(partition)} ORDER BY {', '.join(order)}"
        named = self.chance(20)
        if named:
            self.features.add("WINDOW")
            rest, over = f" WINDOW w AS ({over})", "w"
        for at, (text, kind, bounded, framed) in enumerate(self.random.sample(forms, 2)):
            selected.append(f"{text} OVER {'w' if named and not framed else f'({over}{framed})'} AS w{at}")
            columns.append(Column("", f"w{at}", kind, bounded=bounded))
            self.features.add(text.partition("(")[0] + " OVER")
        # SQLite has neither: the first oracle alone looks at them, as at ties.
        if not named and self.chance(12):
            self.features |= {"QUALIFY", "ties"}
            rest = " QUALIFY w0 IS NOT NULL"
        elif not named and self.chance(12):
            self.features |= {"DISTINCT ON", "ties"}
            selected[0] = f"DISTINCT ON ({partition[0]}) {selected[0]}"
            rest = f" ORDER BY {partition[0]}, {order[0]}"
        return selected, columns, rest

    def picked(self, below: Built) -> tuple[list[str], list[Column], str]:
        """Return a select list of some columns and expressions; all of it distinct at times."""
        some = self.random.sample(below.columns, self.random.randint(1, min(4, len(below.columns))))
        some += [column for column in below.columns if column.owner and not column.padded and column not in some][:1]
        selected, columns = [], []
        for at, column in enumerate(some):
            name = f"c{at}"
            text = column.text
            kept = column
            if self.chance(20) and not column.owner and not column.visit:
                text, kept = self.chosen(below, column)
            selected.append(f"{text} AS {name}")
            columns.append(Column(text, name, kept.kind, kept.owner, kept.bounded, kept.visit, kept.padded))
        owners = any(column.owner and not column.padded for column in columns)
        if owners and not self.rows and self.chance(20):
            selected[0] = f"DISTINCT {selected[0]}"
        return selected, columns, ""

    def folded(self, below: Built) -> tuple[list[str], list[Column], str]:
        """Return a select list of keys and aggregates, one of the keys the owner's, and the clauses behind."""
        owners = [column for column in below.columns if (column.owner or column.visit) and not column.padded]
        keys = self.random.sample(below.columns, self.random.choice((0, 0, 1)))
        if self.chance(20):
            self.features.add("expression as a key")
            text = f"CASE WHEN {self.test(below.columns)} THEN 'p' ELSE 'q' END"
            keys.append(Column(text, "e", "text"))
        if owners:
            keys = list(dict.fromkeys([self.random.choice(owners), *keys]))
        selected = [f"{key.text} AS g{at}" for at, key in enumerate(keys)]
        columns = [
            Column("", f"g{at}", key.kind, key.owner, key.bounded, key.visit, key.padded) for at, key in enumerate(keys)
        ]
        aggregates: list[tuple[str, Kind, bool]] = [("COUNT(*)", "integer", True)]
        for column in self.random.sample(below.columns, min(3, len(below.columns))):
            if column.bounded:
                aggregates += [(f"SUM({column.text})", column.kind, True), (f"AVG({column.text})", "number", True)]
            if column.kind != "boolean":
                word = self.random.choice(("MIN", "MAX"))
                aggregates.append((f"{word}({column.text})", column.kind, column.bounded))
            aggregates.append((f"COUNT(DISTINCT {column.text})", "integer", True))
        for at, (text, kind, bounded) in enumerate(self.random.sample(aggregates, min(2, len(aggregates)))):
            if self.chance(25) and "DISTINCT" not in text:
                self.features.add("FILTER in a fold")
                text = f"{text} FILTER (WHERE {self.test(below.columns)})"
            selected.append(f"{text} AS a{at}")
            columns.append(Column("", f"a{at}", kind, bounded=bounded))
        rest = f" GROUP BY {', '.join(key.text for key in keys)}" if keys else ""
        if keys and self.chance(30):
            sums = [f"SUM({column.text})" for column in below.columns if column.bounded]
            bounds = [f"{self.random.choice(sums)} BETWEEN 5 AND 60"] if sums else []
            rest += (
                f" HAVING {self.random.choice(['COUNT(*) > 1', 'COUNT(*) < 3', 'COUNT(*) BETWEEN 2 AND 3', *bounds])}"
            )
        return selected, columns, rest

    # --- expressions

    def test(self, columns: list[Column]) -> str:
        """Return a condition over rows."""
        column = self.random.choice(columns)
        constant = self.random.choice(_LITERALS[column.kind])
        forms: list[Callable[[], str]] = [
            lambda: f"{column.text} IS {self.random.choice(('NULL', 'NOT NULL'))}",
            lambda: f"{column.text} {self.random.choice(('=', '<>', '<=', '>'))} {constant}",
            lambda: f"({self.test(columns)} OR {self.test(columns)})",
            lambda: f"NOT ({self.test(columns)})",
        ]
        same = [c for c in columns if c.kind == column.kind and c is not column]
        if same:
            other = self.random.choice(same).text
            forms.append(lambda: f"{column.text} {self.random.choice(('=', '<>', '<='))} {other}")
        if column.kind in ("integer", "number"):
            forms.append(lambda: f"COALESCE({column.text}, 1) > {constant}")
            forms.append(lambda: f"{column.text} NOT BETWEEN 1 AND {constant}")
            forms.append(lambda: f"{column.text} BETWEEN {constant} AND 40")
            forms.append(lambda: f"({column.text} > {constant} AND {column.text} <= 30)")
        if column.kind == "text":
            forms.append(lambda: f"{column.text} NOT IN ({constant}, 'y')")
            forms.append(lambda: f"CASE {column.text} WHEN {constant} THEN TRUE ELSE {column.text} IS NULL END")
            forms.append(lambda: f"{self.word(column, columns)} {self.random.choice(('=', '<', 'LIKE'))} {constant}")
            forms.append(lambda: f"{column.text} {self.random.choice(('LIKE', 'NOT LIKE'))} '%o%'")
        if column.kind == "date":
            forms.append(lambda: f"YEAR({column.text}) = 2020 AND DAY({column.text}) > 1")
        forms.append(lambda: self.pairs(column, columns))
        numbers = [c for c in columns if c.bounded and c.kind in ("integer", "number")]
        if numbers:
            forms.append(lambda: f"{self.computed(numbers)} {self.random.choice(('<', '>='))} {self.computed(numbers)}")
        return self.random.choice(forms)()

    def pairs(self, column: Column, columns: list[Column]) -> str:
        """Return a condition that leaves some of the values of two columns together."""
        self.features.add("pairs")
        other = self.random.choice(columns)
        pairs = [
            f"({column.text} = {self.random.choice(_LITERALS[column.kind])}"
            f" AND {other.text} {self.random.choice(('=', '<='))} {self.random.choice(_LITERALS[other.kind])})"
            for _ in range(self.random.choice((2, 2, 3)))
        ]
        return f"({' OR '.join(pairs)})"

    def computed(self, numbers: list[Column]) -> str:
        """Return a number that is computed from bounded ones; those after it are of another type nowhere."""
        self.features.add("computed")
        a, b = self.random.choice(numbers).text, self.random.choice(numbers).text
        whole = [column.text for column in numbers if column.kind == "integer"]
        forms = [
            f"({a} + {b})",
            f"({a} - 2 * {b})",
            f"ABS({a} - 3)",
            f"({a} / 2.0)",
            f"ROUND({a} * 1.5)",
            f"FLOOR({a} / 7.0)",
            f"LEAST({a}, {b}, 7)",
            f"GREATEST({a}, 1)",
            f"SQRT(ABS({a}))",
            f"NULLIF({a}, 5)",
            f"(COALESCE({a}, 0) + 1)",
            *(f"({a} * 1.0 / {column})" for column in whole),
            *(f"({column} % 3)" for column in whole),
        ]
        return self.random.choice(forms)

    def word(self, column: Column, columns: list[Column]) -> str:
        """Return a text that is computed from a column of text."""
        self.features.add("computed text")
        other = self.random.choice([c for c in columns if c.kind == "text"]).text
        forms = ("UPPER({})", "SUBSTR({}, 1, 1)", "TRIM({})", "REPLACE({}, 'o', '0')", f"({{}} || '-' || {other})")
        return self.random.choice(forms).format(column.text)

    def chosen(self, built: Built, column: Column) -> tuple[str, Column]:
        """Return CASE or COALESCE over a column, and what is known of it."""
        literals = [value for value in _LITERALS[column.kind] if "." not in value] or ["0"]
        constant = self.random.choice(literals)
        if column.kind == "date":
            constant = "DATE '2020-01-02'"
        known = Column("", column.name, column.kind, bounded=column.bounded)
        if self.chance(40):
            return f"COALESCE({column.text}, {constant})", known
        if self.chance(30):
            same = [c for c in built.columns if c.kind == column.kind and c.bounded == column.bounded]
            other = self.random.choice(same)
            return f"CASE WHEN {self.test(built.columns)} THEN {column.text} ELSE {other.text} END", known
        otherwise = self.random.choice(("", f" ELSE {constant}"))
        return f"CASE WHEN {self.test(built.columns)} THEN {column.text}{otherwise} END", known

    def aggregate(self, built: Built) -> str:
        """Return an aggregate of a release."""
        column = self.random.choice(built.columns)
        text = column.text
        if self.chance(25):
            self.features.add("CASE")
            text, column = self.chosen(built, column)
        numbers = [c for c in built.columns if c.bounded and c.kind in ("integer", "number")]
        if numbers and self.chance(20):
            text, column = self.computed(numbers), numbers[0]
        if self.chance(6):
            asked = self.asked(built, 1)
            if asked is not None:
                self.features.add("subquery in an aggregate")
                return f"SUM((SELECT COUNT(*) {asked[1]}))"
        forms = ["COUNT(*)", f"COUNT({text})"]
        forms += [f"SUM({text})", f"AVG({text})"] * 2 if column.bounded else []
        forms += [f"COUNT(DISTINCT {c.text})" for c in built.columns if c.owner and not c.padded][:2]
        if self.chance(3):
            pair = [c for c in built.columns if c.kind != "number"][:2]
            if len(pair) == 2:
                self.features |= {"DISTINCT of two", "ties"}  # of SQLite's one
                return f"COUNT(DISTINCT {pair[0].text}, {pair[1].text})"
        if self.chance(8):
            return f"COUNT_IF({self.test(built.columns)})"
        found = self.random.choice(forms)
        if self.chance(20) and "DISTINCT" not in found:
            self.features.add("FILTER")
            found += f" FILTER (WHERE {self.test(built.columns)})"
        return found

    def key(self, built: Built) -> str:
        """Return a group key."""
        column = self.random.choice(built.columns)
        if self.chance(30):
            self.features.add("CASE key")
            values = self.random.choice((("'low'", "'high'"), ("1", "2"), ("TRUE", "FALSE")))
            return f"CASE WHEN {self.test(built.columns)} THEN {values[0]} ELSE {values[1]} END"
        if self.chance(15) and column.kind == "text":
            return f"COALESCE({column.text}, 'none')"
        if self.chance(40):
            self.features.add("computed key")
            if column.kind == "text":
                return self.random.choice((f"LENGTH({column.text})", self.word(column, built.columns)))
            if column.kind == "date":
                numbered = f"(YEAR({column.text}) * 100 + MONTH({column.text}))"
                return self.random.choice((f"MONTH({column.text})", f"DATE_TRUNC('month', {column.text})", numbered))
            if column.kind == "integer" and column.bounded:
                tens = f"FLOOR({column.text} / 10.0)"
                left = f"({column.text} - {column.text} % 10)"
                return self.random.choice((tens, f"({tens} * 10)", left, f"ABS({left} - 20)", f"({column.text} % 4)"))
        return column.text


def _padded(column: Column) -> Column:
    return Column(column.text, column.name, column.kind, column.owner, column.bounded, column.visit, padded=True)


def composed(world: World, seed: int) -> Composed:
    """Return the question of a seed."""
    return Composer(world, Random(seed)).question()  # noqa: S311 - examples, not noise
