"""The policy file: YAML text in, a document of checked form out; what it means is resolved against a database later.

The text is read as JSON-like YAML 1.2: only ``true`` and ``false`` are booleans (the country ``no`` is text), ``017``
is text rather than octal, decimals are exact, and aliases, merge keys and duplicate keys are refused. A bare ``?``
stands for what somebody has still to decide (``dataset suggest`` writes it), and every one that is left is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from gateway.policy.model import Type

MAX_TEXT = 256 * 1024
MAX_DEPTH = 12
MAX_VALUES = 10_000
MAX_TABLES = 1_000
MAX_VIEW = 65_536
MAX_COLUMNS = 2_000
MAX_NAME = 128
MAX_DIGITS = 60

_NUMBER = re.compile(r"\A[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?\Z")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a policy: where (``tables.visit.owner``) and what, for the admin who wrote it."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class PolicyInvalid(ValueError):
    """A policy that cannot be applied, with all its problems in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def _scalar(value: object) -> object:
    if isinstance(value, bool | int | Decimal | str | date):
        return value
    raise ValueError("a number, text, boolean or date is needed here")


def exact(value: object) -> Decimal | None:
    """Return the finite number of sane size that a scalar is, or that its text says; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, str) and not (len(value) <= MAX_DIGITS and _NUMBER.match(value)):
        return None
    number = Decimal(value)
    # ``1e999999999`` is a short text and, as a fraction, a gigabyte
    sane = number.is_finite() and abs(number.adjusted()) <= MAX_DIGITS and len(number.as_tuple().digits) <= MAX_DIGITS
    return number if sane else None


def _amount(value: object) -> object:
    if exact(value) is None:
        raise ValueError("a finite number is needed here")
    return value


def _name(value: object) -> object:
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable():
        return value
    raise ValueError(f"a name of at most {MAX_NAME} printable characters is needed here (quote it if it is a number)")


Scalar: TypeAlias = Annotated[Any, BeforeValidator(_scalar)]
"""A bound or a value as written: bool, int, Decimal, str, date or datetime; typed by the column when it is resolved."""

Figure: TypeAlias = Annotated[Any, BeforeValidator(_amount)]
"""An epsilon or delta as written; ``mechanisms.loss`` reads it exactly."""

Name: TypeAlias = Annotated[str, BeforeValidator(_name)]


def _form(value: object) -> str:
    return "<mapping>" if isinstance(value, dict | BaseModel) else "<plain>"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ColumnSpec(_Part):
    """One declared column; ``nullable`` of None leaves it to the database's NOT NULL."""

    type: Type
    lower: Scalar | None = None
    upper: Scalar | None = None
    values: Annotated[list[Scalar], Field(min_length=1, max_length=MAX_VALUES)] | None = None
    nullable: bool | None = None


class TableSpec(_Part):
    """One declared table; ``columns`` of None means none for a private table and all readable ones for a public one."""

    public: bool = False
    key: Name | None = None
    owner: (
        Annotated[Annotated[Name, Tag("<plain>")] | Annotated[dict[Name, Name], Tag("<mapping>")], Discriminator(_form)]
        | None
    ) = None
    max_rows_per_unit: Annotated[int, Field(ge=1, le=2**31)] | None = None
    also_about: dict[Name, Literal["unprotected"]] = {}
    row_wise_view: bool = False
    columns: Annotated[dict[Name, ColumnSpec], Field(max_length=MAX_COLUMNS)] | None = None


class UnitSpec(_Part):
    """The privacy unit: a value of ``key``, of that table or (without one) of the owner column of each table."""

    table: Name | None = None
    key: Name


class BudgetSpec(_Part):
    """The cap over all analysts together."""

    epsilon: Figure
    delta: Figure = 0
    gaussian: bool = False


class PerQuerySpec(_Part):
    """What one request may cost."""

    max_epsilon: Figure
    delta: Figure = 0


class DataVersionSpec(_Part):
    """When the data count as changed by themselves: at the start of each day, Monday or month, at a time of day."""

    every: Literal["day", "week", "month"]
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "00:00"
    time_zone: Name = "UTC"


class Document(_Part):
    """A policy file of checked form; nothing is known yet of the database that it speaks of."""

    dataset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    engine: Annotated[str, Field(min_length=1, max_length=2_000)]
    privacy_unit: Annotated[
        Annotated[Literal["row"], Tag("<plain>")] | Annotated[UnitSpec, Tag("<mapping>")], Discriminator(_form)
    ]
    tables: Annotated[dict[Name, TableSpec], Field(min_length=1, max_length=MAX_TABLES)]
    budget: BudgetSpec
    per_query: PerQuerySpec
    max_groups_contributed: Annotated[int, Field(ge=1, le=2**31)] | None = None
    data_version: DataVersionSpec | None = None
    views: Annotated[
        dict[Name, Annotated[str, Field(min_length=1, max_length=MAX_VIEW)]], Field(max_length=MAX_TABLES)
    ] = {}


class _Undecided:
    """What a bare ``?`` is read as."""


UNDECIDED: Final = _Undecided()


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, merge keys, duplicate keys, octals, sexagesimals or binary floats.

    Nor with complex keys, whose sign ``?`` is a value here.
    """

    depth = 0

    def fetch_key(self) -> None:
        self.save_possible_simple_key()
        self.allow_simple_key = False
        start = self.get_mark()
        self.forward()
        self.tokens.append(yaml.ScalarToken("?", plain=True, start_mark=start, end_mark=self.get_mark()))

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deeply", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, "keys are text (quote them)", key.start_mark)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands here twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_undecided(self, _node: yaml.ScalarNode) -> _Undecided:
        return UNDECIDED

    def construct_exact(self, node: yaml.ScalarNode) -> Decimal:
        text = str(self.construct_scalar(node)).lower()
        return Decimal(text.replace(".inf", "inf").replace(".nan", "nan"))

    def construct_date(self, node: yaml.ScalarNode) -> object:
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, f"not a date: {error}", node.start_mark) from None


_Loader.yaml_implicit_resolvers = {}
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_exact)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_date)
_Loader.add_constructor("!undecided", _Loader.construct_undecided)
_Loader.add_implicit_resolver("!undecided", re.compile(r"\A\?\Z"), ["?"])
for _tag, _pattern, _first in (
    ("bool", r"\A(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    ("int", r"\A[-+]?(?:0|[1-9][0-9]*)\Z", "-+0123456789"),
    (
        "float",
        r"\A(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*)(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        "-+0123456789.",
    ),
    ("null", r"\A(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    (
        "timestamp",
        r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?[ ]?(?:Z|[-+][0-9]{2}:[0-9]{2})?)?\Z",
        "0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def load(text: str) -> Document:
    """Return the document of a policy file's text; ``PolicyInvalid`` with every problem of its form."""
    if len(text) > MAX_TEXT:
        raise PolicyInvalid([Problem("", f"the file is longer than {MAX_TEXT} characters")])
    try:
        loaded = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader, narrowed further
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise PolicyInvalid([Problem(where, str(error.problem or "not YAML"))]) from None
    except yaml.YAMLError:
        raise PolicyInvalid([Problem("", "not YAML text")]) from None
    except ValueError:
        # Python's own limit on the digits of an integer: no bound or amount comes near it
        raise PolicyInvalid([Problem("", "a number is too long")]) from None
    return check(loaded)


def check(loaded: object) -> Document:
    """Return the document that a loaded mapping is; ``PolicyInvalid`` with every problem of its form."""
    if not isinstance(loaded, dict):
        raise PolicyInvalid([Problem("", "a policy is a mapping: dataset, engine, privacy_unit, tables, …")])
    undecided = [
        Problem(path, "still to be decided: put what holds in place of the question mark")
        for path in _undecided(loaded, "")
    ]
    if undecided:
        raise PolicyInvalid(undecided)
    try:
        return Document.model_validate(loaded)
    except ValidationError as error:
        raise PolicyInvalid(_problems(error)) from None


def _undecided(loaded: object, path: str) -> Iterator[str]:
    """Yield where a bare question mark stands, in the order of the file."""
    if loaded is UNDECIDED:
        yield path
    elif isinstance(loaded, dict):
        for name, value in loaded.items():
            yield from _undecided(value, f"{path}.{name}" if path else str(name))
    elif isinstance(loaded, list):
        for value in loaded:
            yield from _undecided(value, path)


def _problems(error: ValidationError) -> list[Problem]:
    found: dict[tuple[str, str], Problem] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        steps = [step for step in each["loc"] if step not in _OWN_STEPS]
        path = ".".join(map(str, steps))
        message = _SAID.get(each["type"], each["msg"].removeprefix("Value error, "))
        found.setdefault((path, message), Problem(path, message))
    return list(found.values())


# union members and the keys of mappings are pydantic's own steps, not the file's
_OWN_STEPS = frozenset({"<plain>", "<mapping>", "[key]"})
_SAID = {"extra_forbidden": "unknown key", "missing": "missing"}
