"""Fixtures of SQL text: a title, a question, and what comes of it; ``GOLDEN=write pytest`` writes them anew.

Each block is ``# title``, optional ``# name: value`` lines, the question, and under ``--`` headings what is expected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset
from gateway.sql.writing.post import post
from tests.oracles.databases import duckdb_dataset
from tests.oracles.questions import plan, written
from tests.sql.shop import SHOP

FOLDER = Path(__file__).with_name("fixtures")

ACCEPTED = ("accepted.sql", "expressions.sql")
REFUSED = ("refused.sql", "refused_expressions.sql")


@dataclass(frozen=True)
class Block:
    title: str
    options: tuple[tuple[str, str], ...]
    question: str
    expected: str

    @property
    def text(self) -> str:
        options = "".join(f"# {name}: {value}\n" for name, value in self.options)
        return f"# {self.title}\n{options}{self.question}\n{self.expected}\n"


def every(names: tuple[str, ...]) -> list[Block]:
    """The blocks of several files."""
    return [block for name in names for block in blocks(name)]


def blocks(name: str) -> list[Block]:
    found = []
    for part in (FOLDER / name).read_text().strip().split("\n\n"):
        lines = part.splitlines()
        heads = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
        options = tuple((key, value) for key, _, value in (head.partition(": ") for head in heads[1:]))
        rest = [line for line in lines if not line.startswith("# ")]
        first = next((at for at, line in enumerate(rest) if line.startswith("-- ")), len(rest))
        found.append(Block(heads[0], options, "\n".join(rest[:first]), "\n".join(rest[first:])))
    return found


def made(block: Block) -> str:
    """What the compiler makes of a block's question today."""
    options = dict(block.options)
    dataset = duckdb_dataset(SHOP)
    if "delta" in options:
        dataset = replace(dataset, per_query=replace(dataset.per_query, delta=int(options["delta"])))
    if "enforced" in options:
        dataset = _enforcing(dataset, *options["enforced"].split("."))
    dialect = options.get("dialect", "duckdb")
    if "refused" in options or block.expected.startswith("-- refused"):
        return _refusal(block, dataset, dialect)
    shown = []
    asked = written(block.question, "gaussian" if options.get("noise") == "gaussian" else "laplace")
    for engine in ("duckdb", "postgres"):
        found = plan(asked, replace(dataset, dialect=engine), dialect)
        shown += [f"-- {engine}\n{statement.sql};" for statement in found.statements]
        shown += [f"-- {engine}, public\n{read.sql};" for read in found.publics]
    for statement in found.statements:
        shown += [
            f"-- {measure.name}: {measure.kind} in {measure.unit}, l1 {measure.l1}, linf {measure.linf}"
            for measure in statement.measures
        ]
        shown += [f"-- block l1 {block.l1}, l2 squared {block.l2_squared}" for block in statement.blocks]
    above = None if found.whole else post(found.query)
    return "\n".join([*shown, *([f"-- post\n{above};"] if above else [])])


def _enforcing(dataset: Dataset, table: str, column: str) -> Dataset:
    """A dataset whose database enforces that a column of a table is unique."""
    tables = (replace(t, unique=t.unique | {frozenset({column})}) if t.name == table else t for t in dataset.tables)
    return replace(dataset, tables=tuple(tables))


def _refusal(block: Block, dataset: Dataset, dialect: str | None) -> str:
    options = dict(block.options)
    try:
        asked = written(block.question, "gaussian" if options.get("noise") == "gaussian" else "laplace")
        plan(replace(asked, epsilon=float(options.get("epsilon", "1"))), dataset, dialect)
    except SqlRefused as refusal:
        at = refusal.position
        return f"-- refused {refusal.code}" + (f" at {at.line}:{at.column}" if at is not None else "")
    return "-- refused not at all"


def write() -> None:
    """Write what is expected anew; the difference is to be read as SQL before it is committed."""
    for name in (*ACCEPTED, *REFUSED):
        texts = [replace(block, expected=made(block)).text for block in blocks(name)]
        (FOLDER / name).write_text("\n".join(texts))
