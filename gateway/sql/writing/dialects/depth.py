"""How deep a parser's stack a text of ours fills, for engines whose stack is small.

An upper bound, by the unfinished rules of SQLite's grammar at each word: ``x AS (`` waits with six entries, an operator
with its left side with two or three, ``CASE … WHEN e THEN`` with six. The texts are those that the rewriting makes, in
which every function and operation stands in parentheses of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[A-Za-z_][A-Za-z_0-9.]*|[0-9][0-9.eE]*|<>|<=|>=|\|\||[^\s]")

_OPERATORS = frozenset({"=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "||", "AND", "OR", "IN", "COLLATE", "IS"})
_PENDING = {
    "SELECT": 4,  # SELECT, distinct, columns and a comma
    "FROM": 5,  # SELECT, distinct, columns, FROM, the tables before
    "JOIN": 6,
    "ON": 8,  # a table's name, alias and ON
    "WHERE": 6,
    "BY": 7,
    "HAVING": 7,
    "OVER": 6,
}
_BRANCH = {"WHEN": 4, "THEN": 6, "ELSE": 4}
_OPENED = {"AS": 6, "OVER": 8, "IN": 3, "EXISTS": 2, "NOT": 1}


@dataclass(slots=True)
class _Open:
    """What is unfinished since a parenthesis or a CASE was opened: its own entries, and those of a clause within."""

    own: int
    clause: int = 0
    case: bool = False


def parser_depth(sql: str) -> int:
    """Return an upper bound of the parser's stack over a text of the rewriting."""
    stack, depth, deepest = [_Open(2)], 2, 2
    before = ""
    for found in _WORD.finditer(sql):
        word = found[0]
        top = stack[-1]
        depth -= top.own + top.clause
        if word == "(":
            waiting = 2 * (before in _OPERATORS) + _OPENED.get(before, 5 if _is_name(before) else 0)
            depth += top.own + top.clause
            stack.append(_Open(1 + waiting))
        elif word == "CASE":
            depth += top.own + top.clause
            stack.append(_Open(2 + 2 * (before in _OPERATORS), case=True))
        elif word == ")" or (word == "END" and top.case):
            stack.pop()
            depth -= stack[-1].own + stack[-1].clause
        elif top.case and word in _BRANCH:
            top.clause = _BRANCH[word]
        elif word in _PENDING:
            top.clause = _PENDING[word]
        elif word == "," and not top.clause:
            top.clause = 2
        depth += stack[-1].own + stack[-1].clause
        # an operand, its operator and the next operand on top of what is open; BETWEEN has two more
        deepest = max(deepest, depth + 5)
        before = word
    return deepest


def selects(sql: str) -> int:
    """Return how many SELECTs of a text of the rewriting stand one within the other."""
    opened: list[bool] = []
    depth = deepest = 0
    for found in _WORD.finditer(sql):
        match found[0]:
            case "(":
                opened.append(False)
            case ")":
                depth -= opened.pop()
            case "SELECT" if opened and not opened[-1]:
                opened[-1] = True
                depth += 1
                deepest = max(deepest, depth)
    return deepest + 1


def _is_name(word: str) -> bool:
    return bool(word) and (word[0].isalpha() or word[0] == "_") and word not in _PENDING and word not in _BRANCH
