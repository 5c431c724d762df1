"""Serve a gateway that kills itself at the point of a question that its key names: ``dying.py FOLDER serve …``.

Under the Idempotency-Key ``die-executed-2`` a question kills the process at ``executed``, the first two times that it
gets there, over all starts: what is left in ``FOLDER`` counts them. The points lie between the steps of
``gateway/query.py`` and ``gateway/execution.py``.
"""

from __future__ import annotations

import os
import signal
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from budget.ledger import ChargeRequest
from gateway import execution, query
from gateway.auth.principal import Principal
from gateway.cli import main
from gateway.feeding import Feeding
from gateway.service import Service
from gateway.store import committer
from gateway.submission import Submission
from gateway.wire import QueryRequest, QueryResponse

POINTS: Final = ("charging", "charged", "read", "executed", "settling", "settled")

_asking: ContextVar[tuple[str, str]] = ContextVar("asking")


def die(point: str, folder: Path) -> None:
    """Kill this very process if the question asks for it here, unless that was done often enough."""
    analyst, key = _asking.get()
    named, times = key.removeprefix("die-").rsplit("-", 1)
    if named != point:
        return
    for number in range(int(times)):
        try:
            (folder / f"{analyst}.{key}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        os.kill(os.getpid(), signal.SIGKILL)


def arrange(folder: Path) -> None:
    """Put a possible death at every point."""

    def before(point: str, work: Any) -> Any:
        def dying(*args: Any, **named: Any) -> Any:
            die(point, folder)
            return work(*args, **named)

        return dying

    def written(work: Any) -> Any:
        def dying(conn: Any, acts: Any, books: Any) -> Any:
            done = work(conn, acts, books)
            for act in acts:
                die("charging" if isinstance(act, ChargeRequest) else "settling", folder)
            return done

        return dying

    def known(
        service: Service,
        principal: Principal,
        request: QueryRequest,
        idempotency_key: str | None,
        submission: Submission | None = None,
    ) -> QueryResponse:
        fatal = idempotency_key is not None and idempotency_key.startswith("die-")
        _asking.set((principal.name, str(idempotency_key) if fatal else "die--0"))
        return answer(service, principal, request, idempotency_key, submission)

    def fed(self: Feeding, place: int, found: Any) -> Any:
        if place in range(1, len(self.plan.releases)):
            die("fed", folder)
        return ready(self, place, found)

    ready = Feeding.ready
    Feeding.ready = fed  # type: ignore[method-assign] # what feeds a release is kept, and its statement is not sent
    answer = query.answer
    query.answer = known
    committer.do_all = written(committer.do_all)  # type: ignore[attr-defined] # facts are written and not committed
    query.execute = before("charged", query.execute)  # type: ignore[attr-defined] # committed; nothing handed over
    execution.release = before("read", execution.release)  # type: ignore[attr-defined] # the database has answered; no noise yet
    execution._settle = before("executed", execution._settle)  # noise is drawn and nothing persisted
    query._answered = before("settled", query._answered)  # the outcome stands and nothing is sent


if __name__ == "__main__":
    arrange(Path(sys.argv[1]))
    sys.argv = ["discreet", *sys.argv[2:]]
    main()
