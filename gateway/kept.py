"""What functions of immutable objects gave, kept by the identity of those objects.

Why this is sound: what is kept is a function of the objects and of nothing else, and they are held with it, so that an
identity is never another object's. What is looked up anew each time (whether an answer still stands, who may have it,
what remains) is no such function and is never kept here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The values used last, at most ``size`` of them, shared by threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._kept: OrderedDict[tuple[Hashable, ...], tuple[tuple[object, ...], Value]] = OrderedDict()

    def get(
        self,
        of: tuple[object, ...],
        mark: Hashable,
        make: Callable[[], Value],
        keep: Callable[[Value], bool] = lambda _: True,
    ) -> Value:
        """Return the value of these objects and this mark, made unless it is kept.

        ``keep`` says whether one that was made is: not what a busy moment spoiled.
        """
        key = (mark, *map(id, of))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found[1]
        made = make()  # outside the lock: two threads may make the same
        if not keep(made):
            return made
        with self._lock:
            self._kept[key] = (of, made)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made
