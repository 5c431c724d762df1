"""A home without data: settings, control database, key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway import admin
from gateway.auth.keys import SigningKey, load
from gateway.control import open_control
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Home:
    """What authentication needs."""

    settings: Settings
    control: Engine
    key: SigningKey


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    settings = Settings(
        home=tmp_path / "home",
        oidc_issuer="https://id.example.org",
        oidc_jwks_url="https://id.example.org/keys",
        oidc_algorithms=("RS256",),
    )
    admin.init(settings)
    control = open_control(settings)
    yield Home(settings, control, load(settings.signing_key_file))
    control.dispose()
