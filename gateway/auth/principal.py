"""Who is asking, once it is proven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Role: TypeAlias = Literal["analyst", "admin"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:|=-]{0,199}")


@dataclass(frozen=True, slots=True)
class Principal:
    """An analyst or admin, as the control database knows them at the moment of the request."""

    name: str
    role: Role


def valid_name(name: str) -> bool:
    """Return whether a name can be a principal's or a dataset's: letters, digits and ``._@+:|=-``, at most 200.

    No spaces and no slashes, so that a name stands unchanged in paths, logs and the ledger's scopes; wide enough for
    e-mail addresses and the subjects of identity providers.
    """
    return _NAME.fullmatch(name) is not None
