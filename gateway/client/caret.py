"""A place in a SQL text, shown as a caret under its line."""

from __future__ import annotations

import unicodedata

WIDTH = 100
"""Columns of a line that are shown around the place; a longer line is cut."""


def visible(text: str) -> str:
    """Return a text that a terminal or a log may print: control and formatting characters replaced, tabs as one space.

    Group keys and error texts can hold what somebody else wrote, and an escape sequence in them would be obeyed.
    """
    return "".join(
        " " if character in "\t\n\r" else "\N{REPLACEMENT CHARACTER}" if _unprintable(character) else character
        for character in text
    )


def caret(sql: str, line: int, column: int) -> str | None:
    """Return that line of the SQL with a caret under that column (both from 1), None if the text has no such place."""
    lines = sql.split("\n")
    if not 1 <= line <= len(lines) or not 1 <= column <= len(lines[line - 1]) + 1:
        return None
    shown = visible(lines[line - 1].removesuffix("\r"))
    at = min(column - 1, len(shown))
    start = max(0, min(at - WIDTH // 2, len(shown) - WIDTH))
    piece = shown[start : start + WIDTH]
    lead = "…" if start else ""
    tail = "…" if start + WIDTH < len(shown) else ""
    pad = " " * (len(lead) + _columns(piece[: at - start]))
    return f"{lead}{piece}{tail}\n{pad}^"


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return _columns(visible(text))


def _columns(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
