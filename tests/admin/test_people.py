"""Analysts, admins, tokens: what HTTP does not reach."""

from __future__ import annotations

import pytest

from gateway import admin
from gateway.errors import NotFound
from tests.auth.conftest import Home, home  # noqa: F401 (a fixture)


def test_the_first_admin_comes_to_be_with_a_token(home: Home) -> None:  # noqa: F811
    with pytest.raises(NotFound):
        admin.issue_token(home.control, home.settings, home.key, "root", "admin", actor="os:me")
    text, issued = admin.issue_token(
        home.control, home.settings, home.key, "root", "admin", actor="os:me", create_admin=True
    )
    assert text.count(".") == 2
    assert issued.role == "admin"
    (root,) = admin.list_analysts(home.control)
    assert (root.name, root.role) == ("root", "admin")


def test_no_analyst_comes_to_be_that_way(home: Home) -> None:  # noqa: F811
    with pytest.raises(NotFound):
        admin.issue_token(home.control, home.settings, home.key, "eve", "analyst", actor="me", create_admin=True)
    assert admin.list_analysts(home.control) == []


def test_acts_are_noted_with_their_actor(home: Home) -> None:  # noqa: F811
    admin.add_analyst(home.control, "ada", actor="root")
    admin.disable_analyst(home.control, "ada", actor="root")
    _, issued = admin.issue_token(home.control, home.settings, home.key, "ada", "analyst", actor="root")
    admin.revoke_token(home.control, home.settings, issued.id, actor="other")
    noted = [(each.actor, each.act, each.subject) for each in admin.list_acts(home.control)]
    assert noted == [
        ("other", "token-revoke", issued.id),
        ("root", "token-issue", "ada"),
        ("root", "disable", "ada"),
        ("root", "analyst-add", "ada"),
    ]


def test_an_act_that_fails_is_not_noted(home: Home) -> None:  # noqa: F811
    with pytest.raises(NotFound):
        admin.disable_analyst(home.control, "nobody", actor="root")
    assert admin.list_acts(home.control) == []
