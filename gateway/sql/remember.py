"""Remember what a pass says of a node while one text is compiled: each node is asked about many times.

Why this is sound: nodes are immutable and a pass is a function of the node and the dataset, so that the same node has
the same answer; what is remembered is held by identity, with the node, and is let go with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

Node = TypeVar("Node")
Given = TypeVar("Given")
Found = TypeVar("Found")

_ANSWERS: ContextVar[dict[tuple[int, int, int], tuple[Any, Any, Any]] | None] = ContextVar("answers", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Remember until the block ends; a text compiled inside another's compilation has a memory of its own."""
    token = _ANSWERS.set({})
    try:
        yield
    finally:
        _ANSWERS.reset(token)


def remembered(compute: Callable[[Node, Given], Found]) -> Callable[[Node, Given], Found]:
    """Return a pass that is computed once for each node while a text is compiled, and each time otherwise."""

    @wraps(compute)
    def asked(node: Node, given: Given) -> Found:
        answers = _ANSWERS.get()
        if answers is None:
            return compute(node, given)
        key = (id(compute), id(node), id(given))
        if key not in answers:
            # The node and what is given are kept too: an identity is one only as long as they live.
            answers[key] = (compute(node, given), node, given)
        found: Found = answers[key][0]
        return found

    return asked
