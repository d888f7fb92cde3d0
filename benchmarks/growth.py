"""How the cost grows with tokens, layers and prompts: figures and a picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.benchmark import Timer
from zimage_layer_lab.cli.model.language_model import load_smollm2
from zimage_layer_lab.core import mask_states
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.profile.profile import ProfileStats

from . import encoding
from .measure import in_own_process

WIDTH = 2560
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)
LAYERS, LAYER_TOKENS = (1, 2, 4, 8, 16, 37), 64
PROMPTS = (10, 100, 1_000, 10_000)
SHORT_PROMPT = 8
"""Tokens of a prompt where there are many: 10,000 are measured on a laptop's two cores."""


def measure(prompts: Sequence[int] = PROMPTS) -> dict[str, Any]:
    """Seconds and MiB by size; ``prompts`` can be fewer for a quick look."""
    return {
        "tokens": _each_alone("tokens", TOKENS),
        "layers": encoding.cost_of_states(LAYERS, LAYER_TOKENS),
        "prompts": _each_alone("prompts", prompts),
    }


def _each_alone(task: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [{"size": size, **in_own_process("growth", task, str(size))} for size in sizes]


def main(task: str, size: str) -> dict[str, float]:
    """In a process of its own: the cost of one size."""
    return {"tokens": _tokens, "prompts": _prompts}[task](int(size))


def _tokens(count: int) -> dict[str, float]:
    states = torch.randn(1, count, WIDTH)
    states[..., 0] *= 1000
    return {
        "mask": _median_seconds(lambda: mask_states(states, threshold=10.0)),
        "normalise": _median_seconds(lambda: normalize(states, "per dimension")),
    }


def _prompts(count: int) -> dict[str, float]:
    """All states of SmolLM2 over so many short prompts."""
    model = load_smollm2()
    stats = ProfileStats(model.blocks, model.width)
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    left = count
    while left:
        rows = min(left, 256)
        ids = torch.randint(100, 40_000, (rows, SHORT_PROMPT), generator=generator).tolist()
        numbers = range(stats.prompts, stats.prompts + rows)
        valid = model.stream_states(
            ids,
            range(model.blocks + 1),
            lambda i, hidden, valid, n=numbers: stats.update_layer(i, hidden, valid, n),
        )
        stats.finish_batch(valid)
        left -= rows
    return {"seconds": time.perf_counter() - started}


def _median_seconds(call: Callable[[], Any], rounds: int = 15) -> float:
    call()
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return statistics.median(timer.timeit(1).median for _ in range(rounds))


def draw(figures: dict[str, Any], path: Path, machine: str) -> None:
    """The picture of :func:`measure`'s figures as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    tokens, layers, prompts = (figures[name] for name in ("tokens", "layers", "prompts"))
    axes[0].set(xscale="log", yscale="log", xlabel=f"tokens of width {WIDTH}")
    axes[0].set_title("Mask with its report; normalise")
    _times(axes[0], tokens, "mask", "normalise")
    axes[1].set_title(f"States from one pass, {layers[0]['blocks']} blocks of Qwen3-4B's width")
    axes[1].set_xlabel(f"states taken, {layers[0]['tokens']} tokens")
    _times(axes[1], layers, "seconds")
    axes[1].set_ylim(0, 1.1 * max(one["seconds"] for one in layers))
    axes[2].set(xscale="log", yscale="log", xlabel=f"prompts of {SHORT_PROMPT} tokens")
    axes[2].set_title("Profile of all 31 states, SmolLM2")
    _times(axes[2], prompts, "seconds")
    figure.suptitle(machine, fontsize=8, color="0.4")
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    temporary.replace(path)
    pyplot.close(figure)


def _times(axis: Any, figures: Sequence[dict[str, float]], *names: str) -> None:
    """Seconds on the left, the process's peak memory on the right."""
    sizes = [one["size"] for one in figures]
    for number, name in enumerate(names):
        label = "time" if name == "seconds" else f"time, {name}"
        axis.plot(
            sizes, [one[name] for one in figures], marker="o", color=f"C{number}", label=label
        )
    axis.set_ylabel("seconds")
    memory = axis.twinx()
    peaks = [one["peak_bytes"] / 2**20 for one in figures]
    memory.plot(sizes, peaks, marker="s", linestyle="--", color="0.5", label="peak memory")
    memory.set(ylim=(0, 1.3 * max(peaks)), ylabel="MiB of the whole process")
    lines = [*axis.get_lines(), *memory.get_lines()]
    axis.legend(lines, [line.get_label() for line in lines], loc="lower right")
