"""Every command is described with all its options, and every command line in the documents can be parsed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.cli.commands import app
from tests.docs.pages import PAGES, ROOT, blocks, page, rows


def commands() -> dict[str, Any]:
    """Return every command by its full name (typer's own kind of command, which it does not export)."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        children = getattr(command, "commands", None)
        if children is None:
            yield name, command
        for part, child in (children or {}).items():
            yield from walk(child, f"{name} {part}".strip())

    return dict(walk(typer.main.get_command(app), ""))


def options(command: Any) -> set[str]:
    every = (option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts))
    return {option for option in every if option.startswith("--")} - {"--help"}


def test_commands_and_options_are_described() -> None:
    described = {
        row[0].strip("`"): set(re.findall(r"`(--[a-z-]+)`", row[1]))
        for row in rows(page("docs/commands.md"))
        if row[0].startswith("`")
    }
    assert described == {name: options(command) for name, command in commands().items()}


def lines() -> list[tuple[str, str]]:
    """Return every ``discreet`` line in the shell blocks of the documents."""
    return [
        (path.relative_to(ROOT).as_posix(), line)
        for path in PAGES
        for block in blocks(path.read_text(encoding="utf-8"), "sh")
        for line in block.splitlines()
        if line.startswith("discreet ")
    ]


def test_there_are_lines_to_parse() -> None:
    assert len(lines()) >= 8


@pytest.mark.parametrize(("path", "line"), lines())
def test_command_lines_parse(path: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for policy in ("policy.yaml", "examples/health.yaml"):
        (tmp_path / policy).parent.mkdir(exist_ok=True)
        (tmp_path / policy).touch()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    known = commands()
    name = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known)
    known[name].make_context(name, words[len(name.split()) :])
