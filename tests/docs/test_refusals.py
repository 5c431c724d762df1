"""Every code that a refusal can have is described, and every described code exists."""

from __future__ import annotations

import ast
import re

from gateway import errors
from gateway.sql.refusals import CODES
from tests.docs.pages import ROOT, page, rows

SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page("docs/refusals.md"), re.MULTILINE | re.DOTALL))


def described(section: str) -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in rows(SECTIONS[section]) if row[0].startswith("`")}


def raised() -> set[str]:
    """Return the codes that the gateway's own sources write beside an error of the tree, SQL refusals apart."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    found = {"execution-failed"}
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
                first = node.args[0]
                if called in names and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_the_sql_codes_are_described_by_their_own_sentences() -> None:
    assert described("The SQL") == dict(CODES)


def test_every_other_code_is_described() -> None:
    others = {code for section in SECTIONS if section != "The SQL" for code in described(section)}
    assert others == raised() - set(CODES)
