"""Encoding at other layers against ComfyUI's own nodes, at Qwen3-4B's real width and depth.

The weights are random and the files are written for the occasion: float8 on disk, as ComfyUI also
loads them, so that 36 blocks fit into 16 GiB. What they compute means nothing; what it costs does.
"""

from __future__ import annotations

import functools
import itertools
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from timeit import timeit
from typing import Any

import torch
from safetensors.torch import save_file
from zimage_layer_lab.tiny_host.tiny_shapes import language_shapes, vision_shapes
from zimage_layer_lab.tiny_host.tiny_weights import (
    TEXT_ENCODER,
    VISION_TEXT_ENCODER,
    random_weights,
)

from .host import start_host
from .measure import Row, in_own_process, part_of

BLOCKS = 36
BLOCK_BYTES, REST_BYTES = 101_000_000, 1_200_000_000
"""Bytes of one float8 block of Qwen3-4B; of its embeddings and the host's own needs together."""
SIZES = {
    "language": {
        "num_hidden_layers": BLOCKS,
        "intermediate_size": 9728,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "vision": {"depth": 24, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]},
}
TOKENS = (64, 512)
IMAGE = 512
"""Pixels of an image's side: 256 tokens."""
SWEEP = (-2, -6, -10, -15, -20, -25, -30, -37)
PAIRS = ("a smiling woman\na smiling old man", "a woman\nan old man")
"""Of Concept Direction: prompts with the concept, and the same without it."""


def rows(rounds: int) -> Iterator[Row]:
    """Each in a process with a ComfyUI of its own."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = _blocks_that_fit(copies=1)
        _write_encoder(Path(folder), blocks, vision=False)
        for tokens in TOKENS:
            arguments = (folder, str(blocks), str(tokens), str(rounds))
            found = in_own_process("encoding", "layers", *arguments)
            yield from (Row(**row) for row in found["rows"])
        for task in ("taps", "concept"):
            found = in_own_process("encoding", task, folder, str(blocks))
            yield from (Row(**row) for row in found["rows"])
    with tempfile.TemporaryDirectory() as folder:
        blocks = _blocks_that_fit(copies=2)
        for vision in (False, True):
            _write_encoder(Path(folder), blocks, vision)
        found = in_own_process("encoding", "image", folder, str(blocks), str(rounds))
        yield from (Row(**row) for row in found["rows"])
        held = {
            names: in_own_process("encoding", "weights", folder, str(blocks), names)["bytes"]
            for names in ("vl", "text,vl")
        }
    yield part_of(
        "encoding",
        f"VL and text conditioning from one Qwen3-VL file, {blocks} blocks: resident weights",
        "Qwen3-4B and Qwen3-VL loaded together",
        held["vl"] / 2**20,
        held["text,vl"] / 2**20,
        "MiB",
        0.55,
    )


def cost_of_states(counts: Sequence[int], tokens: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of one pass that gives the deepest ``count`` states, for each."""
    with tempfile.TemporaryDirectory() as folder:
        blocks = _blocks_that_fit(copies=1)
        _write_encoder(Path(folder), blocks, vision=False)
        return [
            {
                "size": count,
                "tokens": tokens,
                "blocks": blocks,
                **in_own_process(
                    "encoding", "states", folder, str(blocks), str(tokens), str(count)
                ),
            }
            for count in sorted({min(count, blocks + 1) for count in counts})
        ]


def _blocks_that_fit(copies: int) -> int:
    """As many of 36 blocks as the free memory holds, the files' own pages included."""
    import psutil

    room = psutil.virtual_memory().available / (2 * copies) - REST_BYTES
    return max(8, min(BLOCKS, int(room / BLOCK_BYTES)))


def _write_encoder(base: Path, blocks: int, vision: bool) -> None:
    sizes = {**SIZES, "language": {**SIZES["language"], "num_hidden_layers": blocks}}
    shapes = language_shapes(sizes, "model.language_model." if vision else "model.")
    if vision:
        shapes |= vision_shapes(sizes)
    path = base / "models" / (VISION_TEXT_ENCODER if vision else TEXT_ENCODER)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(shapes, seed=int(vision)), path)
    with path.open("rb+") as file:
        os.fsync(file)  # Else it is still being written beside what is timed.


def main(task: str, folder: str, blocks: str, *arguments: str) -> dict[str, Any]:
    """In a process of its own: "layers" of one text encoder, its "taps" for another model, a
    "concept" of its states, the cost of so many "states", texts beside one "image", or the
    "weights" that loaded ones hold."""
    host = _host(Path(folder), int(blocks))
    if task == "weights":
        [names] = arguments
        return {"bytes": sum(_weights(_load(host, name)) for name in names.split(","))}
    if task in ("taps", "concept"):
        with torch.inference_mode():
            row = {"taps": _taps, "concept": _concept}[task](host, int(blocks))
            return {"rows": [] if row is None else [row.to_json()]}
    if task == "image":
        with torch.inference_mode():
            return {"rows": [_another_text(host, int(blocks), int(arguments[0])).to_json()]}
    tokens, number = map(int, arguments)
    with torch.inference_mode():
        if task == "states":
            return {"seconds": _seconds_of_states(host, tokens, number)}
        return {"rows": [row.to_json() for row in _layers(host, int(blocks), tokens, number)]}


def _host(base: Path, blocks: int) -> Any:
    """ComfyUI's ``nodes``, whose text encoders have so many blocks."""
    host = start_host(base)
    from comfy.text_encoders import llama, qwen3vl

    depth = {"num_hidden_layers": blocks}
    llama.Qwen3_4BConfig = functools.partial(llama.Qwen3_4BConfig, **depth)
    configs = qwen3vl.QWEN3VL_CONFIGS
    configs["qwen3vl_4b"] = functools.partial(configs["qwen3vl_4b"], **depth)
    return host


def _load(host: Any, name: str, kind: str = "lumina2") -> Any:
    file = Path(TEXT_ENCODER if name == "text" else VISION_TEXT_ENCODER).name
    return host.CLIPLoader().load_clip(file, kind)[0]


def _weights(clip: Any) -> int:
    return sum(p.numel() * p.element_size() for p in clip.cond_stage_model.parameters())


def _layers(host: Any, blocks: int, tokens: int, rounds: int) -> Iterator[Row]:
    from zimage_layer_lab.nodes.encoded_once import RECENT
    from zimage_layer_lab.nodes.encoder import encode

    clip = _load(host, "text")
    prompt, text = _prompt(clip, tokens)

    def stock(layer: int | None = None) -> object:
        chosen = clip if layer is None else host.CLIPSetLastLayer().set_last_layer(clip, layer)[0]
        return host.CLIPTextEncode().encode(chosen, text)[0]

    def ours(*layers: int) -> list:
        return encode(clip, prompt, layers)

    def two_nodes() -> None:
        RECENT.clear()
        for layer in (-6, -2):
            encode(clip, prompt, [layer], once=True)

    name = f"{tokens} tokens, {blocks} blocks"
    sweep = [layer for layer in SWEEP if layer >= -blocks - 1]
    calls = {
        "one": lambda: ours(-6),
        "stock at -6": lambda: stock(-6),
        "sweep": lambda: ours(*sweep),
        "stock": stock,
        "all": lambda: ours(*range(-blocks - 1, 0)),
        "two": two_nodes,
        "two of stock": lambda: (stock(-6), stock(-2)),
    }
    if tokens == TOKENS[0]:
        assert torch.equal(ours(-2)[0].conditioning[0][0], stock()[0][0]), "layer -2 is stock's"
    else:
        # 20 seconds each on two cores, beside which all else is small.
        calls = {what: calls[what] for what in ("one", "stock at -6")}
        rounds = min(rounds, 3)
        encode(clip, "a", [-1])  # Not timed: it moves the weights.
    times: dict[str, list[float]] = {what: [] for what in calls}
    for _ in range(rounds):
        for what, call in calls.items():
            times[what].append(timeit(call, number=1))
    seconds = {what: statistics.median(each) for what, each in times.items()}
    yield part_of(
        "encoding",
        f"one layer, -6: {name}",
        "CLIPSetLastLayer(-6) + CLIPTextEncode",
        seconds["one"],
        seconds["stock at -6"],
        "s",
        0.9,
        f"{blocks - 5} of {blocks} blocks are run: {(blocks - 5) / blocks:.3f}",
    )
    if "two" in seconds:
        yield part_of(
            "encoding",
            f"layers -6 and -2 of one text, by two nodes: {name}",
            "CLIPSetLastLayer + CLIPTextEncode, twice",
            seconds["two"],
            seconds["two of stock"],
            "s",
            0.55,
            f"{blocks - 1} of {2 * blocks} blocks are run: {(blocks - 1) / (2 * blocks):.3f}",
        )
    for what, label in (
        ("sweep", f"{len(sweep)} layers in one sweep"),
        ("all", f"all {blocks + 1} states in one sweep"),
    ):
        if what not in seconds:
            continue
        yield part_of(
            "encoding",
            f"{label}: {name}",
            "one CLIPTextEncode",
            seconds[what],
            seconds["stock"],
            "s",
            1.1,
        )


def _taps(host: Any, blocks: int) -> Row | None:
    """The layers that Flux.2 Klein takes, whose encoder is Qwen3-4B too."""
    from zimage_layer_lab.nodes.tap_encode import TapEncode

    if blocks < BLOCKS:
        return None  # Klein takes layer 27.
    clip = _load(host, "text", "flux2")

    def ours(text: str) -> Any:
        return TapEncode.execute(clip, text, "").args[0]

    def stock(text: str) -> Any:
        return host.CLIPTextEncode().encode(clip, text)[0]

    assert torch.equal(ours("a fox")[0][0], stock("a fox")[0][0]), "its own layers are stock's"
    return part_of(
        "encoding",
        f"Tap Encode, the layers of Flux.2 Klein, {blocks} blocks",
        "one CLIPTextEncode",
        # Another text: this pack would recall the first one's.
        *(timeit(functools.partial(call, "a dog"), number=1) for call in (ours, stock)),
        "s",
        1.1,
    )


def _concept(host: Any, blocks: int) -> Row:
    """A concept of so many pairs, beside a pass for each of their prompts."""
    from zimage_layer_lab.nodes.concept_direction import ConceptDirection

    clip = _load(host, "text")
    [deep] = host.CLIPSetLastLayer().set_last_layer(clip, -2)
    prompts = "\n".join(PAIRS).split("\n")

    def stock() -> None:
        for text in prompts:
            host.CLIPTextEncode().encode(deep, text)

    host.CLIPTextEncode().encode(deep, "a")  # Not timed: it moves the weights.
    ours = timeit(lambda: ConceptDirection.execute(clip, *PAIRS, -2), number=1)
    return part_of(
        "encoding",
        f"Concept Direction, {len(prompts) // 2} pairs of prompts, {blocks} blocks",
        "CLIPTextEncode of each prompt at the same layer",
        ours,
        timeit(stock, number=1),
        "s",
        1.1,
    )


def _another_text(host: Any, blocks: int, rounds: int) -> Row:
    """A second text beside an image that was read before, by this pack and by the host."""
    from zimage_layer_lab.core.encoder.prompt import build_prompt
    from zimage_layer_lab.nodes.encoder import encode

    clip = _load(host, "vl")
    image = torch.rand(1, IMAGE, IMAGE, 3)
    texts = (f"a fox{' in snow' * number}" for number in itertools.count())

    def ours(text: str) -> list:
        return encode(clip, build_prompt(text, images=1), [-2], [image], once=True)

    [deep] = host.CLIPSetLastLayer().set_last_layer(clip, -2)

    def stock(text: str) -> list:
        tokens = clip.tokenize(text, images=[image], thinking=True)
        return deep.encode_from_tokens_scheduled(tokens)

    first = next(texts)
    assert torch.equal(ours(first)[0].conditioning[0][0], stock(first)[0][0]), "-2 is stock's"
    times: dict[Any, list[float]] = {ours: [], stock: []}
    for _ in range(rounds):
        text = next(texts)
        for call, taken in times.items():
            # Once: at the second time this text has been read too.
            taken.append(timeit(functools.partial(call, text), number=1))
    return part_of(
        "encoding",
        f"another text beside an image of {IMAGE} x {IMAGE} pixels, {blocks} blocks",
        "the stock encode of the same",
        statistics.median(times[ours]),
        statistics.median(times[stock]),
        "s",
        None,
    )


def _seconds_of_states(host: Any, tokens: int, count: int) -> float:
    from zimage_layer_lab.nodes.encoder import encode

    clip = _load(host, "text")
    prompt, _ = _prompt(clip, tokens)
    call = functools.partial(encode, clip, prompt, range(-count, 0))
    call()  # Not timed: it moves the weights.
    return timeit(call, number=1)


def _prompt(clip: Any, tokens: int) -> tuple[str, str]:
    """The whole prompt of so many tokens, and the text that the stock node wraps into the same."""
    from zimage_layer_lab.core.encoder.prompt import build_prompt

    count = 1
    while True:
        text = " fox" * count
        [section] = clip.tokenize(text)[clip.cond_stage_model.clip_name]
        if len(section) >= tokens:
            return build_prompt(text, "", "none"), text
        count += tokens - len(section)
