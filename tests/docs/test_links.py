"""Links between the documents lead somewhere, and no document or source names a place of its making."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_exist(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert missing == []


def test_there_are_pages_to_check() -> None:
    names = {path.name for path in PAGES}
    expected = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "promise.md", "policy.md", "http.md", "settings.md"}
    assert expected <= names
