"""What a client asked, as the one JSON that it has: a key is bound to it, and it is kept with the answer."""

from __future__ import annotations

import hashlib
import json
import secrets

from pydantic import ValidationError

from budget.chain import canonical_json
from budget.records import Record
from gateway import wire
from gateway.target import Targeted


def said(request: wire.QueryRequest) -> str:
    """Return a request in its one JSON."""
    sent = request.sent if isinstance(request, Targeted) else request
    dumped = sent.model_dump(mode="json", exclude={"dry_run", *(() if sent.error_target else ("error_target",))})
    try:
        return canonical_json(dumped)
    except ValueError:
        # A price that is no finite number is never charged, so that this equals the digest of no request that was.
        return repr(dumped)


def labels(record: Record) -> dict[str, str]:
    """Return the labels of the request that a charge was made for; none where the ledger keeps none of it."""
    try:
        found = json.loads(record.charge.mechanism).get("labels")
    except (ValueError, AttributeError):
        return {}
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def request_hash(request: wire.QueryRequest) -> bytes:
    """Return the digest that binds an idempotency key to one request."""
    return hashlib.sha256(said(request).encode()).digest()


def asked(record: Record) -> wire.QueryRequest | None:
    """Return the request that a charge was made for, as it is kept with the answer; None where none is.

    What was bought holds what its first asker said, which is nobody else's to see: the charge's own digest tells.
    """
    if record.outcome is None or not record.outcome.payload:
        return None
    try:
        found = json.loads(record.outcome.payload).get("asked")
    except ValueError:
        return None
    if not isinstance(found, str):
        return None
    digest = hashlib.sha256(found.encode()).digest()
    if not secrets.compare_digest(digest, record.charge.request_hash):
        return None
    try:
        return wire.QueryRequest.model_validate_json(found)
    except ValidationError:  # another version of the gateway wrote it
        return None
