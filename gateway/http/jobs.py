"""Questions that are being answered, and those that took longer than their client's request: found by id.

A question goes on when its request has ended. What it comes to stands in the ledger, where it is found by its id;
what is not in the ledger (a refusal that came late, an answer that cost nothing) is kept here for some minutes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from starlette.responses import Response

from gateway.submission import Submission
from gateway.wire import QueryRequest, QueryResponse

KEPT_SECONDS: Final = 600.0
KEPT: Final = 64
KEPT_EACH: Final = 16
KEPT_CELLS: Final = 500_000
"""How long, and how many, of those that have ended are kept: in all, of one analyst, and how many values of one
analyst's answers, beyond the last of them.

Why each analyst has limits of their own: the memory that answers at no charge take is no more than a few questions in
flight take, however often they are asked, and nobody's flood makes room by what is another's.
"""

INSIST_SECONDS: Final = 0.2
"""How often a cancellation is said again until the question has ended."""


Found = tuple[QueryResponse, Response]
"""An answer, and how it is sent to the request that asked."""


@dataclass(slots=True, eq=False)
class Job:
    """One question of one analyst; ``began`` and ``ended`` on the clock that only goes forward.

    ``found`` or ``error`` is what it came to; ``late`` if its client was told to come again.
    """

    submission: Submission
    analyst: str
    request: QueryRequest
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    late: bool = False
    found: Found | None = None
    error: Exception | None = None
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, work: Awaitable[Found]) -> None:
        """Answer the question, and keep what it came to."""
        try:
            self.found = await work
        except Exception as error:
            self.error = error
        finally:
            self.ended = time.monotonic()
            self._done.set()

    @property
    def cells(self) -> int:
        """How many values the answer has that is kept here."""
        return 0 if self.found is None else len(self.found[0].rows) * len(self.found[0].columns)

    async def within(self, seconds: float | None) -> bool:
        """Wait for the end, at most that long if it is said, and return whether it has come; it goes on if not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._done.wait()
        return self._done.is_set()

    def patience(self, seconds: float, quantum: float) -> float:
        """Return how long a look at it waits that is to wait so many seconds: until a multiple of the quantum since it
        was submitted.

        Why a multiple of these: whether it had ended by an instant that lies so many seconds after the look would tell
        looks that are sent at many instants when it ended more finely.
        """
        if not quantum or not seconds:
            return seconds
        passed = time.monotonic() - self.began
        return math.ceil((passed + seconds) / quantum) * quantum - passed

    def wait(self, quantum: float) -> float:
        """Return in how many seconds its end may be seen, zero or less if it may be now: at multiples of the quantum
        since it was submitted.
        """
        if not quantum or self.ended is None:
            return 0.0
        return self.began + max(1, math.ceil((self.ended - self.began) / quantum)) * quantum - time.monotonic()


class Jobs:
    """The questions of one application, by id; used from its event loop alone."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, submission: Submission, analyst: str, request: QueryRequest, work: Awaitable[Found]) -> Job:
        """Begin to answer a question."""
        job = self._jobs[submission.id] = Job(submission, analyst, request, submission.began)
        self._go(self._conducted(job, work))
        return job

    def find(self, query_id: str, analyst: str) -> Job | None:
        """Return a question of that analyst, or None."""
        job = self._jobs.get(query_id)
        return job if job is not None and job.analyst == analyst else None

    def forget(self, job: Job) -> None:
        """Keep a question no longer."""
        if self._jobs.get(job.submission.id) is job:
            del self._jobs[job.submission.id]

    async def cancel(self, job: Job, quantum: float) -> None:
        """Cancel a question at the next multiple of the quantum since its submission, and return then.

        Why not at once: whether it had ended by an instant of the client's choice would tell that instant more finely.
        """
        passed = time.monotonic() - job.began
        if quantum:
            await asyncio.sleep(math.ceil(passed / quantum) * quantum - passed)
        if job.ended is None and not job.submission.cancelled:  # said once, it is insisted upon already
            job.submission.cancel()
            self._go(_insist(job))

    async def drain(self) -> None:
        """Wait until every question has ended: what executes needs its database until then."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _conducted(self, job: Job, work: Awaitable[Found]) -> None:
        await job.run(work)
        if not job.late:
            self.forget(job)
            return
        if job.found is not None:
            # What stands in the ledger is read from there; of the rest, the text as it was asked for is not kept.
            found, _ = job.found
            job.found = None if found.query_id == job.submission.id else (found, Response())
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self.forget, job)
        ended = sorted((each for each in self._jobs.values() if each.ended is not None), key=_newest)
        mine = [each for each in ended if each.analyst == job.analyst]
        cells = list(accumulate(each.cells for each in mine))
        large = [each for each, sum_of in zip(mine[1:], cells[1:], strict=True) if each.cells and sum_of > KEPT_CELLS]
        for each in (*mine[KEPT_EACH:], *large, *ended[KEPT:]):
            self.forget(each)


def _newest(job: Job) -> float:
    return -(job.ended or 0.0)


async def _insist(job: Job) -> None:
    while not await job.within(INSIST_SECONDS):
        job.submission.cancel()
