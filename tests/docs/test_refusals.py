"""Every code that a refusal can have is described, and every described code exists."""

from __future__ import annotations

import ast
import re

from gateway import errors
from gateway.http import problems
from gateway.sql.refusals import CODES
from tests.docs.pages import ROOT, page, rows

SQL, HTTP, PRICE = "The SQL", "The request, the token and the gateway", "The price and the charge"
CODE = r"[a-z]+(-[a-z]+)+"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page("docs/refusals.md"), re.MULTILINE | re.DOTALL))


def described(section: str) -> dict[str, str]:
    return {row[0].strip("`"): row[1] for row in rows(SECTIONS[section]) if row[0].startswith("`")}


def raised() -> set[str]:
    """Return the codes that the gateway's own sources write beside an error of the tree."""
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    found = {"execution-failed"}
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            first = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            # Subclasses state their code where they call ``__init__``.
            if isinstance(first, str) and (called in names or (called == "__init__" and re.fullmatch(CODE, first))):
                found.add(first)
    return found


def test_the_page_has_these_sections() -> None:
    assert set(SECTIONS) == {SQL, PRICE, HTTP}


def test_sql_codes_are_described_by_their_own_sentences() -> None:
    assert described(SQL) == dict(CODES)


def test_codes_of_the_interface_are_described_by_their_own_sentences() -> None:
    assert described(HTTP) == {code: text for code, text in problems.CODES.items() if code not in described(PRICE)}


def test_every_code_that_is_raised_is_described() -> None:
    every = {code for section in SECTIONS for code in described(section)}
    assert raised() - every == set()


def test_the_codes_of_price_and_charge_exist() -> None:
    assert set(described(PRICE)) - raised() - set(problems.CODES) == set()
