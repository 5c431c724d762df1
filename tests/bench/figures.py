"""What a measurement is, and how several are taken beside each other."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

BLOCKS: Final = 9

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number: the median over blocks, and the least and greatest of them."""

    name: str
    unit: str
    median: float
    least: float
    greatest: float


def timed(work: Work) -> float:
    """Return how many seconds something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleaved(works: Mapping[str, Work], blocks: int = BLOCKS) -> dict[str, list[float]]:
    """Return seconds by name and block; every block runs each work once, so that a busy moment meets them alike.

    One block before the first is not counted: files are read and code is compiled in it.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(blocks + 1):
        for name, work in works.items():
            seconds = timed(work)
            if number:
                found[name].append(seconds)
    return found


def figure(name: str, unit: str, values: list[float]) -> Figure:
    """Return the figure of one value a block."""
    return Figure(name, unit, median(values), min(values), max(values))


def ratios(name: str, of: list[float], to: list[float]) -> Figure:
    """Return how many times as long one work takes as the other, block by block."""
    return figure(name, "×", [mine / other for mine, other in zip(of, to, strict=True)])


def made_apart(path: Path, statements: Sequence[str]) -> None:
    """Make a DuckDB file by another process, whose memory is not this one's."""
    subprocess.run([sys.executable, "-c", _MAKE, str(path), *statements], check=True)


_MAKE: Final = """
import sys, duckdb
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("SET enable_progress_bar = false")
    for statement in sys.argv[2:]:
        connection.execute(statement)
"""


def peak() -> int:
    """Return the most memory that this process has held so far, in megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // (1024 if sys.platform != "darwin" else 1024 * 1024)
