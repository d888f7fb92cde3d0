"""How the cost grows with tokens, layers and prompts: figures and a picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from zimage_layer_lab.cli.language_model import LanguageModel, load_smollm2
from zimage_layer_lab.core import mask_states
from zimage_layer_lab.core.normalizing import normalize
from zimage_layer_lab.core.profile import ProfileStats

from .measure import in_own_process

WIDTH = 2560
TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)
LAYERS = (1, 2, 4, 8, 16, 31)
PROMPTS = (10, 100, 1_000, 10_000)
SHORT_PROMPT = 8
"""Tokens of a prompt where there are many: 10,000 are measured on a laptop's two cores."""


def measure(prompts: Sequence[int] = PROMPTS) -> dict[str, Any]:
    """Seconds and MiB by size; ``prompts`` can be fewer for a quick look."""
    return {
        "tokens": _over_tokens(),
        "layers": _over_layers(load_smollm2()),
        "prompts": [
            {"size": count, **in_own_process("growth", "prompts", str(count))} for count in prompts
        ],
    }


def main(task: str, count: str) -> dict[str, Any]:
    """In a process of its own: all states of SmolLM2 over ``count`` short prompts."""
    model = load_smollm2()
    stats = ProfileStats(model.blocks, model.width)
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    left = int(count)
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


def _median_seconds(call: Callable[[], Any], rounds: int = 5) -> float:
    call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return sorted(times)[rounds // 2]


def _over_tokens() -> list[dict[str, float]]:
    found = []
    for tokens in TOKENS:
        states = torch.randn(1, tokens, WIDTH)
        states[..., 0] *= 1000
        found.append(
            {
                "size": tokens,
                "mask": _median_seconds(lambda s=states: mask_states(s, threshold=10.0)),
                "normalise": _median_seconds(lambda s=states: normalize(s, "per dimension")),
            }
        )
    return found


def _over_layers(model: LanguageModel) -> list[dict[str, float]]:
    ids = [torch.randint(100, 40_000, (256,)).tolist()]
    found = []
    for layers in LAYERS:
        # The deepest ones, so that the same blocks are run whatever the number.
        wanted = range(model.blocks + 1 - layers, model.blocks + 1)
        seconds = _median_seconds(lambda w=wanted: model.batch_states(ids, w))
        found.append({"size": layers, "seconds": seconds})
    return found


def draw(figures: dict[str, Any], path: Path, machine: str) -> None:
    """The picture of :func:`measure`'s figures as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    tokens, layers, prompts = (figures[name] for name in ("tokens", "layers", "prompts"))
    for name in ("mask", "normalise"):
        sizes, seconds = zip(*((one["size"], one[name] * 1e3) for one in tokens), strict=True)
        axes[0].plot(sizes, seconds, marker="o", label=name)
    axes[0].set(
        xscale="log", yscale="log", xlabel=f"tokens of width {WIDTH}", ylabel="milliseconds"
    )
    axes[0].set_title("Mask with report, normalise")
    axes[0].legend()
    sizes, seconds = zip(*((one["size"], one["seconds"]) for one in layers), strict=True)
    axes[1].plot(sizes, seconds, marker="o")
    axes[1].set(xlabel="hidden states taken from one pass", ylabel="seconds", ylim=(0, None))
    axes[1].set_title("Layers: SmolLM2, 256 tokens")
    sizes = [one["size"] for one in prompts]
    axes[2].plot(sizes, [one["seconds"] for one in prompts], marker="o", label="seconds")
    axes[2].set(xscale="log", yscale="log", ylabel="seconds")
    axes[2].set_xlabel(f"prompts of {SHORT_PROMPT} tokens")
    memory = axes[2].twinx()
    peaks = [one["peak_bytes"] / 2**20 for one in prompts]
    memory.plot(sizes, peaks, marker="s", color="C1", label="peak memory")
    memory.set(ylim=(0, 1.25 * max(peaks)), ylabel="MiB")
    axes[2].set_title("Profile of all 31 states: time (blue), memory (orange)")
    figure.suptitle(machine, fontsize=8, color="0.4")
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110)
    temporary.replace(path)
    pyplot.close(figure)
