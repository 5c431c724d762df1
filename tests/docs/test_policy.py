"""The page about policies and the reader of policies say the same."""

from __future__ import annotations

import re

from gateway.policy import document
from tests.docs.pages import blocks, named, page

PAGE = page("docs/policy.md")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_field_is_described() -> None:
    assert named(SECTIONS["At the top"]) == set(document.Document.model_fields)
    assert named(SECTIONS["A table"]) == set(document.TableSpec.model_fields)
    assert named(SECTIONS["A column"]) == set(document.ColumnSpec.model_fields)


def test_the_fields_of_parts_are_named() -> None:
    for part in (document.BudgetSpec, document.PerQuerySpec, document.UnitSpec, document.DataVersionSpec):
        for name in part.model_fields:
            assert re.search(rf"`[^`]*{name}[^`]*`", SECTIONS["At the top"]), name


def test_the_policy_shown_is_one() -> None:
    (shown,) = blocks(PAGE, "yaml")
    assert document.load(shown).dataset == "clinic"
