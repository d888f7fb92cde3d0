"""Timing two things in turn, and the peak memory of a process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Measurement, Timer

QUIET = 0.95
"""The least :func:`share_of_machine` of a machine on which figures may be published."""


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
    """Seconds per call, medians; ``spread`` is the larger interquartile range over its median."""

    ours: float
    theirs: float
    spread: float


def share_of_machine(seconds: float = 0.3) -> float:
    """The share of all processors' time that this process gets as it asks for all of it: 1 where
    nothing else runs. A loop of hashes on every processor, in CPU time over elapsed time."""
    processors, block = os.cpu_count() or 1, bytes(1 << 16)
    started, used = time.perf_counter(), time.process_time()

    def ask(_: int) -> None:
        while time.perf_counter() < started + seconds:
            hashlib.sha256(block)

    with ThreadPoolExecutor(processors) as pool:
        list(pool.map(ask, range(processors)))
    elapsed = time.perf_counter() - started
    return (time.process_time() - used) / (elapsed * processors)


def in_turn(
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    rounds: int = 5,
    seconds: float = 0.4,
    after: Callable[[], None] | None = None,
) -> Pair:
    """Medians of both over ``rounds`` rounds of at least ``seconds`` each, one after the other.

    ``seconds`` 0 is one call a round, for what takes long. ``after`` is a GPU's synchronisation.
    """
    sides = []
    for call in (ours, theirs):
        call()  # Not timed: first calls allocate.
        statement = "call()" if after is None else "call(); after()"
        sides.append(
            Timer(
                statement,
                globals={"call": call, "after": after},
                num_threads=torch.get_num_threads(),
            )
        )
    found: list[list[Measurement]] = [[], []]
    for _ in range(rounds):
        for timer, measurements in zip(sides, found, strict=True):
            measurements.append(
                timer.blocked_autorange(min_run_time=seconds) if seconds else timer.timeit(1)
            )
    merged = [next(iter(Measurement.merge(one))) for one in found]
    spread = max(one.iqr / one.median for one in merged)
    return Pair(merged[0].median, merged[1].median, spread)


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
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f"benchmarks.{module} {task} failed:\n{run.stderr[-3000:]}")
        return json.loads(answer.read_text(encoding="utf-8"))
