"""Fixtures shared by all tests, and whether hypothesis looks for new examples.

The tests that decide whether a change lands take the same examples each time, so that the same tree has the same
outcome. ``HYPOTHESIS_PROFILE=new make test`` (or ``make audit``) looks for others: do so after a change to what an
oracle guards. No test is about speed, so none has a deadline.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis.internal.conjecture import providers

from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

# Constants of the modules that happen to be loaded would make examples hang on which tests ran before in this process.
providers._get_local_constants = lambda: providers._local_constants

settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("new", derandomize=False, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
