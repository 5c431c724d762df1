"""The page about the client names every method, member and error, and no others."""

from __future__ import annotations

import inspect
import re
from typing import Any

from gateway.client import errors
from gateway.client.client import Client
from gateway.client.result import Result
from tests.docs.pages import blocks, named, page

PAGE = page("docs/client.md")
RESULTS, ERRORS = PAGE.index("## Results"), PAGE.index("## Errors")


def public(kind: type[Any]) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_methods_are_described() -> None:
    assert named(PAGE[:RESULTS]) == public(Client)


def test_members_of_results_are_described() -> None:
    assert named(PAGE[RESULTS:ERRORS]) == public(Result)


def test_errors_are_described() -> None:
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert named(PAGE[ERRORS:]) == {name for name in tree if name not in {"GatewayError", "ValidationError"}}


def test_the_defaults_named_are_the_defaults() -> None:
    (call,) = re.findall(r"`Client\(url, token, (.*?)\)`", PAGE)
    named_defaults = dict(part.split("=") for part in call.split(", "))
    parameters = inspect.signature(Client).parameters
    assert {name: repr(parameters[name].default) for name in named_defaults} == named_defaults


def test_the_code_makes_a_client() -> None:
    (code,) = blocks(PAGE, "python")
    names: dict[str, Any] = {}
    exec(compile(code, "client.md", "exec"), names)  # noqa: S102 (our own page)
    with names["client"] as client:
        assert "TOKEN" not in repr(client)
