"""A policy proposed for a database that is none yet: its catalogue is read, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from gateway.admin.datasets import opened_engine
from gateway.engines import base
from gateway.errors import RequestInvalid
from gateway.policy import proposal
from gateway.policy.document import MAX_TABLES, PolicyInvalid
from gateway.policy.suggest import Guess, guess
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed policy: the guess, and the YAML text that an administrator finishes."""

    dataset: str
    engine: str
    guess: Guess
    policy: str


def suggest_policy(settings: Settings, url: str) -> Proposal:
    """Return a policy proposed for a database; a relative file is relative to the working directory.

    Nothing is stored and no row is read. Raises ``RequestInvalid`` (``policy-invalid`` for a URL that is none,
    ``nothing-to-suggest``) or ``Unavailable`` (``engine-unavailable``).
    """
    from gateway.engines.open import redacted

    try:
        with opened_engine(url, None, settings) as engine:
            names = sorted(engine.tables())[:MAX_TABLES]
            with engine.session(base.Limits(settings.statement_seconds)) as session:
                shapes = session.schema(names)
    except PolicyInvalid as error:
        raise RequestInvalid("request-invalid", f"That names no database: {error.problems[0].message}.") from None
    if not shapes:
        raise RequestInvalid(
            "request-invalid",
            "The database shows no table or view.",
            hint="The gateway's role needs the right to read, and the URL may have to name a schema.",
        )
    found = guess(shapes)
    shown = redacted(url)
    stem = PurePosixPath(unquote(urlsplit(url).path)).stem or "data"
    name = proposal.dataset_name(stem)
    shortened = len(shown) < len(url)
    return Proposal(name, shown, found, proposal.write(found, name, shown, shortened=shortened))
