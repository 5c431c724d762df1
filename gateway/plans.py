"""Plans by question: the same text at the same price, under the same policy, data version and copy, is planned once.

Why this is sound: planning is a function of the question, the dataset's versions and nothing else (``gateway.sql`` is
pure), so that a kept plan is the plan that would be made. Refusals are not kept. Who asks is no part of the key: that a
plan was made before shows only in time, which the promise excludes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock

from gateway.errors import SqlRefused
from gateway.policy.model import Dataset, Preparation
from gateway.sql.compile import Question, compile_query
from gateway.sql.planning.plan import Plan

LARGEST = 200_000
"""Characters of bounded SQL and question, and values of groups that the question takes from an earlier answer, beyond
which a plan is made anew each time."""

_Key = tuple[str, int, int, Preparation | None, Question]


class Plans:
    """The plans used last, at most ``size`` of them, shared by threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[_Key, Plan] = OrderedDict()

    def get(self, question: Question, dataset: Dataset) -> Plan:
        """Return the plan that answers a question on a dataset, or refuse it; see ``compile_query``.

        A text that does not name the time is planned without it, so that its plan is kept for longer than a minute.
        """
        timeless = replace(question, now=None)
        found = self._find(timeless, dataset) or self._find(question, dataset)
        if found is not None:
            return found
        # Outside the lock: two threads may make the same.
        try:
            return self._keep(timeless, dataset, compile_query(timeless, dataset))
        except SqlRefused:
            if question.now is None:
                raise
        return self._keep(question, dataset, compile_query(question, dataset))

    def _find(self, question: Question, dataset: Dataset) -> Plan | None:
        key = _key(question, dataset)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def _keep(self, question: Question, dataset: Dataset, made: Plan) -> Plan:
        listed = sum(len(each.rows) * len(each.columns) for each in question.bounds.given)
        if len(question.text) + listed + sum(len(release.sql) for release in made.statements) <= LARGEST:
            with self._lock:
                self._kept[_key(question, dataset)] = made
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
        return made

    def __len__(self) -> int:
        """Return how many plans are kept."""
        return len(self._kept)


def _key(question: Question, dataset: Dataset) -> _Key:
    return (dataset.name, dataset.version, dataset.data_version, dataset.preparation, question)
