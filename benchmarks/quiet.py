"""Whether this machine does anything else: a probe loop on as many threads as torch uses."""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch

from .measure import Row

SECONDS = 0.3
RAN, SLOWER = 0.95, 1.15
"""A quiet machine runs the loop for this part of the time at least, and nine of ten of its turns
take at most so much longer than the fastest of the thread."""
_DATA = bytes(1 << 20)


class Probe(NamedTuple):
    """What the loop found.

    Attributes:
        ran: the smallest part of the time for which one of the threads had a core: CPU seconds over
            seconds.
        slower: the largest 90th percentile of a thread's turns over its fastest turn.
    """

    ran: float
    slower: float

    @property
    def is_quiet(self) -> bool:
        return self.ran >= RAN and self.slower <= SLOWER

    def __str__(self) -> str:
        return (
            f"the probe loop ran for {self.ran:.0%} of the time, at least {RAN:.0%} are wanted; "
            f"its turns took up to {self.slower:.2f} x the fastest, at most {SLOWER:g} are"
        )


def probe(seconds: float = SECONDS) -> Probe:
    """Run the loop for ``seconds`` on every thread at once."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(_spin, [seconds] * threads))
    return Probe(min(one.ran for one in found), max(one.slower for one in found))


def _spin(seconds: float) -> Probe:
    """The loop on one thread. A hash of a megabyte lets the others run (it drops Python's lock)."""
    turns = []
    began, worked = time.perf_counter(), time.thread_time()
    last = began
    while last - began < seconds or len(turns) < 2:
        hashlib.sha256(_DATA).digest()
        now = time.perf_counter()
        turns.append(now - last)
        last = now
    ran = (time.thread_time() - worked) / (last - began)
    return Probe(ran, statistics.quantiles(turns, n=10)[-1] / min(turns))


def wait_until_quiet(patience: float, look: Callable[[], Probe] = probe) -> Probe:
    """The first look that finds the machine quiet, or the last one of ``patience`` seconds."""
    end = time.monotonic() + patience
    while not (found := look()).is_quiet and time.monotonic() < end:
        time.sleep(1.0)
    return found


def judged(
    rows: Iterable[Row], patience: float, look: Callable[[], Probe] = probe
) -> Iterator[tuple[Row, Probe]]:
    """Each row as it is measured, with the look before it if that found the machine at work, else
    the one after it. Before each row up to ``patience`` seconds are waited for quiet."""
    before = wait_until_quiet(patience, look)
    for row in rows:
        after = look()
        yield row, after if before.is_quiet else before
        before = after if after.is_quiet else wait_until_quiet(patience, look)
