"""Names."""

from __future__ import annotations

import pytest

from gateway.auth.principal import valid_name


@pytest.mark.parametrize("name", ["ada", "ada@example.org", "auth0|5f7c8ec7", "A-1.b_c+d:e=f", "x" * 200, "7"])
def test_names(name: str) -> None:
    assert valid_name(name)


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "a\n", "\n", "é", "-a", ".a", "x" * 201, "a\0", "a'b", "<b>"])
def test_what_is_no_name(name: str) -> None:
    assert not valid_name(name)
