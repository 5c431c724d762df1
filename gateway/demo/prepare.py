"""A gateway of the demo's own: fresh home and ledger, real data, one analyst with a grant."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

from gateway import admin
from gateway.auth.principal import Principal
from gateway.demo.data import load
from gateway.service import Service, open_service
from gateway.settings import load as load_settings

DATASET: Final = "health"
ANALYST: Final = Principal("ada", "analyst")
GRANT: Final = ("3", "1e-6")
"""What the analyst may spend: epsilon and delta."""

ACTOR: Final = "demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """A gateway ready to be asked, the folder that it lives in, and its analyst's token."""

    service: Service
    folder: Path
    token: str


def folder() -> Path:
    """Return the folder that all runs share: DISCREET_HOME, else ``.demo`` where the command is run."""
    return Path(os.environ.get("DISCREET_HOME") or ".demo").expanduser().absolute()


@contextmanager
def prepared(shared: Path) -> Iterator[Demo]:
    """Open a gateway on the data in ``shared``, in a new folder beside them, and close it again.

    A fresh ledger each time grants the budget anew. That is honest only because nobody but the one who runs the demo
    sees its answers; a real gateway keeps its ledger for ever. Nothing is deleted.
    """
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    load(shared / "health.duckdb")
    home = Path(tempfile.mkdtemp(prefix=f"run-{datetime.now(UTC):%Y%m%d-%H%M%S}-", dir=shared))
    # A control database or key that the environment names is somebody's real one.
    settings = load_settings(home=home, database=None, signing_key=None, process_folder=None)
    admin.init(settings)
    service = open_service(settings)
    try:
        admin.apply_dataset(service.control, settings, policy(), actor=ACTOR, folder=shared)
        admin.add_analyst(service.control, ANALYST.name, actor=ACTOR)
        epsilon, delta = GRANT
        admin.set_budget(service.control, DATASET, ANALYST.name, epsilon=epsilon, delta=delta, actor=ACTOR)
        token, _ = admin.issue_token(
            service.control, settings, service.key, ANALYST.name, ANALYST.role, actor=ACTOR, seconds=8 * 3600
        )
        yield Demo(service, home, token)
    finally:
        service.close()


def policy() -> str:
    """Return the demo's policy file."""
    return (files("gateway.demo") / "health.yaml").read_text(encoding="utf-8")
