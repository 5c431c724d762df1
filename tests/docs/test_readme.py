"""The first query of the README, asked by curl, by client and by command line of a gateway that serves the demo."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.demo.serving import Address, serving
from tests.docs.pages import ROOT, blocks, page

README = page("README.md")
FIRST = README[README.index("## A first query") : README.index("## Your own data")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with serving(tmp_path_factory.mktemp("demo")) as address:
        yield address


@pytest.fixture
def environment(gateway: Address, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in [name for name in os.environ if name.startswith("DISCREET_")]:
        monkeypatch.delenv(name)
    told = {"DISCREET_URL": gateway.url, "DISCREET_TOKEN": gateway.token}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    return told


def test_by_curl(environment: dict[str, str]) -> None:
    (command,) = [block for block in blocks(FIRST, "sh") if block.startswith("curl ")]
    words = [Template(word).substitute(environment) for word in shlex.split(command.replace("\\\n", " "))]
    program, silent, url, *rest = words
    assert (program, silent) == ("curl", "-s")
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    (body,) = [value for option, value in pairs if option == "-d"]
    assert {option for option, _ in pairs} == {"-H", "-d"}
    for _ in range(2):
        response = httpx.post(url, headers=headers, content=body, timeout=30, trust_env=False)
        assert response.status_code == 200, response.text
        assert response.json()["columns"][0]["name"] == "people"
    budget = httpx.get(f"{environment['DISCREET_URL']}/v1/budget", headers=headers, timeout=30, trust_env=False).json()
    assert budget[0]["epsilon_spent"] == json.loads(body)["epsilon"], "sent twice, paid once"


def test_by_the_client(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(FIRST, "python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 (our own page)
    names["client"].close()
    shown = capsys.readouterr().out
    assert "people" in shown
    assert "remaining on health: ε = 2.9 of 3" in shown


def test_by_the_command_line(environment: dict[str, str]) -> None:
    lines = [line for block in blocks(FIRST, "sh") for line in block.splitlines() if line.startswith("discreet ")]
    assert len(lines) == 3
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_the_targets_of_make_exist(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {target for text in (README, page("CONTRIBUTING.md")) for target in re.findall(r"`?make ([a-z]+)", text)}
    named -= {"sense"}
    assert {"demo", "test"} <= named <= targets
