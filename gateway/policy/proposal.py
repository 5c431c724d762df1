"""A guessed policy as YAML for an administrator to finish: a comment says why, a ``?`` what only people can decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from gateway.policy.model import Physical
from gateway.policy.suggest import Guess, Link, TableGuess, own_key
from gateway.policy.typed import undeclared

_PLAIN: Final = re.compile(r"\A[A-Za-z_][A-Za-z0-9_]*\Z")
_WORDS: Final = frozenset({"true", "false", "null"})

_HEAD: Final = """\
# Proposed from the catalogue alone: no row was read, and names prove nothing. Check every line.
# Each ? is yours to decide; `discreet dataset apply` refuses the file while one is left.
# All of this is public to analysts: take bounds from the design of the data, never from single people's rows.
# Take out tables and columns that nobody needs to ask about."""
_FOOT: Final = """\
# The cap over all analysts together, and the most that one request may cost.
budget: {epsilon: ?, delta: 1e-6}
per_query: {max_epsilon: ?, delta: 1e-9}"""


def dataset_name(stem: str) -> str:
    """Return a name for a dataset after a file's or a database's: small letters, digits, ``_`` and ``-``."""
    name = re.sub(r"[^a-z0-9_-]+", "_", stem.lower()).strip("_-")[:63]
    return name if re.match(r"[a-z]", name) else f"data_{name}"[:63].rstrip("_")


def write(found: Guess, dataset: str, engine: str, *, shortened: bool = False) -> str:
    """Return the policy file's text; ``shortened`` if the engine's URL stands without its password or token."""
    lines = [_HEAD, f"dataset: {_quoted(dataset)}"]
    if shortened:
        lines.append("# The password is left out: give the gateway a role that can SELECT and nothing else.")
    lines += [f"engine: {json.dumps(engine, ensure_ascii=not engine.isprintable())}", *_unit(found), "tables:"]
    for table in found.tables:
        lines += _table(table)
    return "\n".join([*lines, _FOOT]) + "\n"


def _unit(found: Guess) -> Iterator[str]:
    unit = found.unit
    if unit is None:
        yield "# Who is protected? No table looks like one of people. Say {table: T, key: K}, {key: K} where no table"
        yield "# has one row for each of them, or row if each row of a private table is somebody of their own."
        if found.candidates:
            yield f"# Tables with a key: {_listed(found.candidates)}"
        yield "privacy_unit: ?"
        return
    yield f"# Who is protected. Guessed from: {'; '.join(map(_comment, unit.reasons))}."
    if unit.others:
        yield f"# It could also be {_listed(unit.others)}."
    table = "" if unit.table is None else f"table: {_quoted(unit.table)}, "
    yield f"privacy_unit: {{{table}key: {_quoted(unit.key)}}}"


def _listed(candidates: tuple[tuple[str, str], ...]) -> str:
    shown = [f"{{table: {_quoted(table)}, key: {_quoted(key)}}}" for table, key in candidates[:8]]
    return ", ".join(shown) + (" …" if len(candidates) > 8 else "")


def _table(table: TableGuess) -> Iterator[str]:
    name = _quoted(table.name)
    if not table.name.isprintable():
        yield f"  # {name}: a name that is not printable; a view can give it another"
        return
    if table.role == "view":
        yield f"  # {name}: a view. It may stand here with an owner and row_wise_view: true (see docs/policy.md)."
        return
    yield f"  {name}:"
    match table.role:
        case "owned":
            yield from _owner(table)
        case "undecided":
            yield "    # No path leads from here to who is protected. If anybody may see the table as it is: true."
            yield "    # Else give it an owner, or take it out."
            yield "    public: ?"
            key = own_key(table.name, table.shape)
            if key is not None:
                yield f"    key: {_quoted(key)}"
        case "unit":
            pass
    if table.also:
        yield "    # They lead to further people, whom these rows' owner does not protect. Accept it by: unprotected"
        yield f"    also_about: {{{', '.join(f'{_quoted(column)}: ?' for column in table.also)}}}"
    if table.role != "undecided":
        yield "    columns:"
        for column, physical, not_null in table.shape.columns:
            yield "      " + _column(column, physical, not_null=not_null, key=column in table.keys)


def _owner(table: TableGuess) -> Iterator[str]:
    owner = table.owner
    if isinstance(owner, Link):
        why = "a declared foreign key" if owner.declared else "guessed from the names"
        reference = f"{owner.target}.{owner.key}"
        plain = _PLAIN.match(owner.target) and _PLAIN.match(owner.key)
        yield f"    owner: {{{_quoted(owner.column)}: {reference if plain else json.dumps(reference)}}}  # {why}"
        own = owner.column
    else:
        own = owner or ""
        yield f"    owner: {_quoted(own)}  # guessed from its name"
    if frozenset({own}) not in table.shape.unique:
        yield "    # max_rows_per_unit: 10   # rows that one of them may have; without it each request finds a bound"


def _column(name: str, physical: Physical | None, *, not_null: bool, key: bool) -> str:
    if not name.isprintable():
        return f"# {_quoted(name)}: a name that is not printable; a view can give it another"
    if physical is None:
        return f"# {_quoted(name)}: of a type that is not read; a view can cast it"
    kind = undeclared(name, physical, not_null=not_null).type
    bounds = ", lower: ?, upper: ?" if kind not in ("text", "boolean") and not key else ""
    listed = "  # with values: [A, B] its groups are public" if kind == "text" and not key else ""
    return f"{_quoted(name)}: {{type: {kind}{bounds}}}{listed}"


def _quoted(name: str) -> str:
    """Return a name as YAML; what is not printable cannot end a line, since it is escaped."""
    plain = _PLAIN.match(name) and name.lower() not in _WORDS
    return name if plain else json.dumps(name, ensure_ascii=not name.isprintable())


def _comment(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
