"""Timing two things in turn, and the peak memory of a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from timeit import Timer
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what, against: the two sides, in words.
        ours, theirs: medians, in ``unit``.
        ratio: what the goal is about, as ``kind`` says.
        goal: as the table shows it; ``met`` whether it is met (None without a goal).
        note: what belongs to the figures, such as a limit.
    """

    topic: str
    what: str
    against: str
    ours: float
    theirs: float
    unit: str
    kind: str
    ratio: float
    goal: str
    met: bool | None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Pair:
    """Seconds per call, medians."""

    ours: float
    theirs: float


def in_turn(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    rounds: int = 5,
    seconds: float = 0.4,
    after: Callable[[], None] | None = None,
) -> Pair:
    """Medians of both, call by call in turn: in blocks of calls each side would find its own data
    in the processor's caches.

    At least ``rounds`` calls of each, and ``rounds * seconds`` of both together. ``after`` is a
    GPU's synchronisation.
    """
    statement = "call()" if after is None else "call(); after()"
    sides = [Timer(statement, globals={"call": call, "after": after}) for call in (ours, theirs)]
    for timer in sides:
        timer.timeit(1)  # First calls allocate.
    taken: list[list[float]] = [[], []]
    spent = 0.0
    while len(taken[0]) < rounds or spent < rounds * seconds:
        for timer, times in zip(sides, taken, strict=True):
            times.append(timer.timeit(1))
            spent += times[-1]
    return Pair(*map(statistics.median, taken))


def times_faster(
    topic: str, what: str, against: str, pair: Pair, goal: float | None, note: str = ""
) -> Row:
    """A row whose ratio says how many times faster this side is."""
    ratio = pair.theirs / pair.ours
    return Row(
        topic,
        what,
        against,
        pair.ours * 1e3,
        pair.theirs * 1e3,
        "ms",
        "times faster",
        ratio,
        "" if goal is None else f">= {goal:g}",
        None if goal is None else ratio >= goal,
        note,
    )


def part_of(
    topic: str,
    what: str,
    against: str,
    ours: float,
    theirs: float,
    unit: str,
    goal: float | None,
    note: str = "",
    at_least: bool = False,
) -> Row:
    """A row whose ratio is this side over the other, which is to be at most (or least) ``goal``."""
    ratio = ours / theirs
    sign = ">=" if at_least else "<="
    met = None if goal is None else (ratio >= goal if at_least else ratio <= goal)
    shown = "" if goal is None else f"{sign} {goal:g}"
    return Row(topic, what, against, ours, theirs, unit, "of it", ratio, shown, met, note)


def in_own_process(module: str, task: str, *arguments: str) -> dict[str, Any]:
    """``main(task, *arguments)`` of ``benchmarks.<module>`` in a fresh process; its answer.

    The answer has ``peak_bytes`` besides: the most memory that the process ever held (Linux).

    Raises:
        RuntimeError: with the end of what it said, if it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.in_process", module, task, str(answer), *arguments],
            cwd=Path(__file__).parent.parent,
            # As for a user, modules are compiled once and not at every start.
            env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"benchmarks.{module} {task} failed:\n{run.stderr[-3000:]}")
        return json.loads(answer.read_text(encoding="utf-8"))
