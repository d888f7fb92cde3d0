"""What a measurement takes beside the passes of the model that it must make.

Both figures of a row are of the same calls: the whole, and the part of it inside the model's own
modules.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from timeit import repeat
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from zimage_layer_lab.cli.dim.meter import DimMeter, LossJob
from zimage_layer_lab.cli.model.language_model import find_smollm2
from zimage_layer_lab.core.dimension.loss import Variant
from zimage_layer_lab.core.encoder.layers import hidden_state_index
from zimage_layer_lab.tiny_host.tiny_weights import write_tiny_weights

from .host import start_host
from .measure import Pair, Row, in_own_process, part_of

GOAL, WIDTH = 1.1, 2560
VARIANTS, TOKENS, SIZE, STEPS, ASKED_AT = 3, 64, 512, 8, "1, 4, 7"
"""Of DiT Response; pixels of a side."""
PROMPTS, PROMPT_TOKENS, DIMENSIONS, LAYER = 16, 64, 8, -6
"""Of the losses that ``layerlab dim`` takes: every prompt with each of so many dimensions at 0."""


def rows(rounds: int) -> Iterator[Row]:
    """DiT Response on a tiny Z-Image of real width, and ``layerlab dim`` on SmolLM2."""
    for task in ("response", "losses"):
        found = in_own_process("overhead", task, str(rounds))
        yield part_of(
            "overhead",
            found["what"],
            found["against"],
            found["whole"],
            found["inside"],
            "s",
            GOAL,
        )


def main(task: str, rounds: str) -> dict[str, Any]:
    """Seconds of one of them."""
    with torch.inference_mode():
        return {"response": _response, "losses": _losses}[task](int(rounds))


def _response(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_tiny_weights(base / "models")
        nodes = start_host(base)
        from zimage_layer_lab import tiny_host
        from zimage_layer_lab.nodes.dit_response import DitResponse

        tiny_host.install()
        [model] = nodes.UNETLoader().load_unet("z_image_turbo_bf16.safetensors", "default")
        generator = torch.Generator().manual_seed(0)
        plain, *others = torch.randn(1 + VARIANTS, 1, TOKENS, WIDTH, generator=generator)
        sizes = {"width": SIZE, "height": SIZE, "steps": STEPS, "at": ASKED_AT}
        given = {"model": model, "base": [[plain, {}]], "labels": "", "seed": 0, **sizes}
        inputs = DitResponse.define_schema().inputs
        defaults = {one.id: one.default for one in inputs if hasattr(one, "default")}
        lists = {
            name: [value] for name, value in {**defaults, **given}.items() if value is not None
        }

        def call() -> None:
            DitResponse.execute(variants=[[[other, {}]] for other in others], **lists)

        pair = _whole_and_inside(call, [model.model.diffusion_model], rounds)
    return {
        "what": f"DiT Response, {VARIANTS} variants at 3 of {STEPS} steps, {SIZE} x {SIZE} pixels, "
        "1 layer of Z-Image",
        "against": "its evaluations of the model alone",
        "whole": pair.ours,
        "inside": pair.theirs,
    }


def _losses(rounds: int) -> dict[str, Any]:
    meter = DimMeter(find_smollm2(), "cpu", "float32", 2048)
    causal = meter._causal
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 40_000, (PROMPTS, PROMPT_TOKENS), generator=generator).tolist()
    zeros = (torch.zeros(PROMPT_TOKENS),) * PROMPTS
    job = LossJob(
        hidden_state_index(LAYER, causal.blocks),
        tuple(map(tuple, ids)),
        (slice(1, PROMPT_TOKENS),) * PROMPTS,
        tuple(Variant(dimension, zeros) for dimension in range(DIMENSIONS)),
        PROMPTS,
    )
    decoder = causal.loaded.decoder
    pair = _whole_and_inside(lambda: meter.losses(job), [*decoder.layers, decoder.norm], rounds)
    normed = torch.randn(64, causal.width, generator=generator)
    rows = PROMPTS * DIMENSIONS * (PROMPT_TOKENS - 1)
    wanted = torch.arange(len(normed))
    head = _seconds(lambda: cross_entropy(causal.logits(normed), wanted)) * rows / len(normed)
    return {
        "what": f"layerlab dim, the losses of {PROMPTS} prompts of {PROMPT_TOKENS} tokens with "
        f"{DIMENSIONS} dimensions of layer {LAYER} replaced in turn, SmolLM2",
        "against": "the blocks behind that layer, the head and the loss alone",
        "whole": pair.ours,
        "inside": pair.theirs + head,
    }


def _seconds(call: Callable[[], Any]) -> float:
    """The median of twenty calls after a first one."""
    call()
    return statistics.median(repeat(call, number=1, repeat=20))


def _whole_and_inside(call: Callable[[], Any], modules: Iterable[nn.Module], rounds: int) -> Pair:
    """Medians of the seconds of ``call``, and of those inside ``modules``, none in another."""
    call()
    wholes, insides = [], []
    with _watched(modules) as spent:
        for _ in range(rounds):
            before, started = spent[0], time.perf_counter()
            call()
            wholes.append(time.perf_counter() - started)
            insides.append(spent[0] - before)
    return Pair(statistics.median(wholes), statistics.median(insides))


@contextmanager
def _watched(modules: Iterable[nn.Module]) -> Iterator[list[float]]:
    """A list of one number: the seconds spent in the calls of ``modules``."""
    spent, started = [0.0], [0.0]

    def enter(*_: Any) -> None:
        started[0] = time.perf_counter()

    def leave(*_: Any) -> None:
        spent[0] += time.perf_counter() - started[0]

    handles = [
        handle
        for module in modules
        for handle in (
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave),
        )
    ]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()
