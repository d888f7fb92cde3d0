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
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from zimage_layer_lab.core.profile.merging import merge_groups
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


def told(results: Iterable[Any], total: int) -> Iterator[Any]:
    """``results``, and on the error stream how many there were so far."""
    for number, result in enumerate(results, start=1):
        sys.stderr.write(f"\r{number} of {total} results" + "\n" * (number == total))
        yield result


def on_ray(shares: Sequence[tuple[int, int]]) -> tuple[Any, float]:
    """All shares measured and merged by Ray, and the seconds since its workers were ready."""
    import ray

    sys.stderr.write("Starting Ray and a worker for each CPU ...\n")
    ray.init(include_dashboard=False, logging_level="ERROR")
    measure, merge = ray.remote(measured), ray.remote(both)
    # The start of Ray, and of torch in each worker, takes as long for any number of prompts.
    ray.get([measure.remote(0, 0) for _ in range(int(ray.cluster_resources()["CPU"]))])
    started = time.perf_counter()
    references = deque(measure.remote(*one) for one in shares)

    def arriving() -> Iterator[Any]:
        while references:
            ray.wait([references[0]], fetch_local=False)
            yield references.popleft()

    [(merged, _)] = merge_groups(told(arriving(), len(shares)), merge.remote, len(shares))
    result, seconds = ray.get(merged), time.perf_counter() - started
    ray.shutdown()
    return result, seconds


def in_one_process(shares: Sequence[tuple[int, int]]) -> tuple[Any, float]:
    """All shares measured and merged here, and the seconds that took."""
    started = time.perf_counter()
    results = told((measured(*one) for one in shares), len(shares))
    [(merged, _)] = merge_groups(results, both, len(shares))
    return merged, time.perf_counter() - started


def simulate(prompts: int, workers: int) -> dict[str, Any]:
    """Measure and merge; the figures, and by how much the std and the mean are off."""
    share = -(-prompts // workers)
    shares = [(first, min(share, prompts - first)) for first in range(0, prompts, share)]
    has_ray = importlib.util.find_spec("ray") is not None
    (stats, sums), seconds = on_ray(shares) if has_ray else in_one_process(shares)
    count, mean = sums[0], sums[1] / sums[0]
    std = np.sqrt((sums[2] - count * np.square(mean)) / (count - 1))
    found = stats.dimensions[1].all
    return {
        "prompts": stats.prompts,
        "results merged": len(shares),
        "on": "Ray" if has_ray else "one process",
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
