"""Measuring as ``layerlab profile`` does against a bare forward pass: of the real SmolLM2, and at
Qwen3-4B's width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, cycle, islice
from typing import Any

import torch
from zimage_layer_lab.cli.model.language_model import LoadedDecoder, load_smollm2, padded_ids
from zimage_layer_lab.cli.profile.batches import Batch, plan_batches
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from .measure import Row, in_own_process, in_turn, part_of

BATCH_TOKENS = 2048
"""What ``layerlab profile`` takes by default."""
TOKENS = 96
FEW_TOKENS = 24
"""Tokens per prompt where there are many prompts: memory depends on the batch, not on them."""
PROMPTS = (1000, 3000)
"""100 prompts are two passes, after which the allocator has not yet taken what it will."""


WIDE_BLOCKS = 4
"""Of the 36 of Qwen3-4B: each block costs the same, and each hidden state."""


def rows(rounds: int, prompts: Sequence[int] = PROMPTS) -> Iterator[Row]:
    """Throughput, and peak memory over few and many prompts."""
    model = load_smollm2()
    yield _speed("SmolLM2-135M", model, "its decoder alone", model.decoder, rounds)
    yield _speed("SmolLM2-135M", model, "the whole model, with its head", model.model, rounds)
    wide = _wide_decoder()
    name = f"{WIDE_BLOCKS} blocks of Qwen3-4B's width, random weights"
    yield _speed(name, wide, "the decoder alone", wide.decoder, rounds)
    del wide
    peaks = {n: in_own_process("profiling", "profile", str(n))["peak_bytes"] for n in prompts}
    bare = in_own_process("profiling", "bare", str(prompts[-1]))["peak_bytes"]
    yield part_of(
        "profiling",
        f"peak memory of profiling all layers, {prompts[-1]} prompts",
        "bare forward passes of the decoder",
        peaks[prompts[-1]] / 2**20,
        bare / 2**20,
        "MiB",
        1.1,
    )
    yield part_of(
        "profiling",
        f"peak memory of profiling all layers, {prompts[-1]} prompts",
        f"{prompts[0]} prompts",
        peaks[prompts[-1]] / 2**20,
        peaks[prompts[0]] / 2**20,
        "MiB",
        1.02,
    )


def main(task: str, prompts: str) -> dict[str, Any]:
    """In a process of its own: "profile" or "bare" passes over so many prompts."""
    model = load_smollm2()
    plan = plan_batches([FEW_TOKENS] * int(prompts), BATCH_TOKENS)
    stats = ProfileStats(model.blocks, model.width)
    for shard in range(plan.shards):
        for numbers in plan.numbers(shard):
            batch = _batch(len(numbers), FEW_TOKENS, numbers[0])
            if task == "bare":
                _bare(model.decoder, batch)
            else:
                _measure(model, stats, batch, range(model.blocks + 1))
    if task == "profile":
        summarise(stats, model.name)
    return {}


def _speed(name: str, model: LoadedDecoder, what: str, least: torch.nn.Module, rounds: int) -> Row:
    prompts_at_once = BATCH_TOKENS // TOKENS
    layers = range(model.blocks + 1)
    stats = ProfileStats(model.blocks, model.width)
    # Prompts that were seen before would be looked at again, for the earliest of equal values.
    batches = (_batch(prompts_at_once, TOKENS, first) for first in count(0, prompts_at_once))
    again = _batch(prompts_at_once, TOKENS)
    pair = in_turn(
        lambda: _measure(model, stats, next(batches), layers),
        lambda: _bare(least, again),
        rounds,
        0.0,
    )
    speed = [prompts_at_once * TOKENS / seconds for seconds in (pair.ours, pair.theirs)]
    return part_of(
        "profiling",
        f"profile of {name}, all {model.blocks + 1} states, full statistics: tokens per second",
        f"a bare forward pass of the same batches: {what}",
        *speed,
        "tokens/s",
        0.95,
        at_least=True,
    )


def _wide_decoder() -> LoadedDecoder:
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=40_000,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=WIDE_BLOCKS,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
    )
    decoder = Qwen3Model(config).eval()
    return LoadedDecoder("Qwen3-4B's width", decoder, decoder)


def _batch(prompts: int, tokens: int, first: int = 0) -> Batch:
    """Prompts of one length, each other words, behind the same few tokens of a template."""
    generator = torch.Generator().manual_seed(first)
    words = torch.randint(100, 40_000, (prompts, tokens), generator=generator)
    words[:, :4] = torch.tensor(list(islice(cycle((1, 9690, 198)), 4)))
    return [(first + number, row) for number, row in enumerate(words.tolist())]


def _measure(
    model: LoadedDecoder, stats: ProfileStats, batch: Batch, layers: Sequence[int]
) -> None:
    numbers, prompts = zip(*batch, strict=True)
    ids = padded_ids(prompts)
    valid = model.stream_states(
        prompts,
        layers,
        lambda index, hidden, valid: stats.update_layer(index, hidden, valid, numbers, ids),
    )
    stats.finish_batch(valid)


@torch.no_grad()
def _bare(module: torch.nn.Module, batch: Batch) -> None:
    ids = torch.tensor([ids for _, ids in batch])
    module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
