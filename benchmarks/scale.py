"""A profile of any number of prompts by many workers: their results are merged as a tree.

``python -m benchmarks.scale [PROMPTS] [WORKERS]``. The states are drawn and no model is run, so
that the figures are of what a profile remembers and merges. Ray merges where it is installed, else
this process; both in the same tree.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zimage_layer_lab.core.profile.profile import ProfileStats

from .in_process import peak_bytes

BLOCKS, WIDTH, TOKENS, BATCH = 2, 16, 8, 256
"""Of the simulation: small, as time and memory against prompts are asked for."""
REAL_BLOCKS, REAL_WIDTH = 36, 2560
PROMPTS, WORKERS = 10_000_000, 1_000


def states(number: int, prompts: int) -> torch.Tensor:
    """(prompts, TOKENS, WIDTH) of batch ``number``: a sink at position 0, a loud dimension."""
    generator = torch.Generator().manual_seed(number)
    drawn = torch.randn(prompts, TOKENS, WIDTH, generator=generator)
    drawn[..., 3] *= 20
    drawn[:, 0, 5] += 5000
    return drawn


def measured(first: int, prompts: int) -> tuple[ProfileStats, np.ndarray]:
    """One worker's statistics of ``prompts`` prompts from number ``first``, and of the same states
    (3, WIDTH) the count, the sum and the sum of squares in float64."""
    stats, sums = ProfileStats(BLOCKS, WIDTH, (1,)), np.zeros((3, WIDTH))
    for start in range(first, first + prompts, BATCH):
        numbers = range(start, min(start + BATCH, first + prompts))
        drawn = states(start, len(numbers))
        stats.update_batch({1: drawn}, torch.ones(drawn.shape[:2], dtype=torch.bool), numbers)
        rows = drawn.double().flatten(0, 1).numpy()
        sums += np.stack([np.full(WIDTH, len(rows)), rows.sum(0), np.square(rows).sum(0)])
    return stats, sums


def both(one: tuple[ProfileStats, Any], other: tuple[ProfileStats, Any]) -> tuple:
    """Two workers' results as one."""
    return one[0].merge(other[0]), one[1] + other[1]


def tree(results: Iterable[Any], merge: Callable[[Any, Any], Any]) -> Any:
    """All ``results`` merged, each with one of as many: a logarithm of them is held at once."""
    held: list[tuple[int, Any]] = []
    for result in results:
        level = 0
        while held and held[-1][0] == level:
            result, level = merge(held.pop()[1], result), level + 1
        held.append((level, result))
    _, merged = held.pop()
    while held:
        merged = merge(held.pop()[1], merged)
    return merged


def simulate(prompts: int, workers: int) -> dict[str, Any]:
    """Measure and merge; the figures, and by how much the std and the mean are off."""
    share, started = -(-prompts // workers), time.perf_counter()
    shares = [(first, min(share, prompts - first)) for first in range(0, prompts, share)]
    if importlib.util.find_spec("ray"):
        import ray

        ray.init(include_dashboard=False, logging_level="ERROR")
        measure, merge = ray.remote(measured), ray.remote(both)
        stats, sums = ray.get(tree((measure.remote(*one) for one in shares), merge.remote))
        ray.shutdown()
    else:
        stats, sums = tree((measured(*one) for one in shares), both)
    seconds = time.perf_counter() - started
    count, mean = sums[0], sums[1] / sums[0]
    std = np.sqrt((sums[2] - count * np.square(mean)) / (count - 1))
    found = stats.dimensions[1].all
    return {
        "prompts": stats.prompts,
        "results merged": len(shares),
        "on": "Ray" if importlib.util.find_spec("ray") else "one process",
        "microseconds per prompt": seconds / prompts * 1e6,
        "bytes of the result": len(pickle.dumps(stats)),
        "peak MiB of this process": peak_bytes() / 2**20,
        "std off by, of itself": float(np.max(np.abs(found.std.numpy() / std - 1))),
        "mean off by, in stds": float(np.max(np.abs(found.mean.numpy() - mean) / std)),
        "sinks at position 0": dict(stats.sinks[1].by_position()).get(0, 0),
    }


def real_merge() -> dict[str, float]:
    """What one worker's result of a model like Qwen3-4B takes to send and to merge."""
    stats = ProfileStats(REAL_BLOCKS, REAL_WIDTH)
    drawn = torch.randn(1, 64, REAL_WIDTH, generator=torch.Generator().manual_seed(0))
    selected = torch.ones(1, 64, dtype=torch.bool)
    for index in stats.indices:
        stats.update_layer(index, drawn, selected, [0])
    stats.finish_batch(selected)
    started = time.perf_counter()
    stats.merge(stats)
    seconds = time.perf_counter() - started
    return {"MiB of a result": len(pickle.dumps(stats)) / 2**20, "seconds to merge two": seconds}


def main() -> None:
    prompts, workers = (*map(int, sys.argv[1:]), *(PROMPTS, WORKERS)[len(sys.argv) - 1 :])
    figures = {"simulated": simulate(prompts, workers), "36 blocks, 2560 wide": real_merge()}
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    # ComfyUI has packages of the same names as this folder's parent.
    root = Path(__file__).resolve().parent.parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    main()
