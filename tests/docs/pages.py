"""The documents as the tests read them: pages, code blocks, table rows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Return the text of one page, named from the project's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return [body for found, body in _BLOCK.findall(text) if found == language]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row, header and rule left out of no table."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def named(text: str) -> set[str]:
    """Return every name that stands alone in code quotes in the first cell of a table row."""
    return {name for row in rows(text) for name in re.findall(r"`([^`]+)`", row[0])}
