"""What people wait for: whole nodes of a real ComfyUI, a GGUF file, and commands.

Each node runs as the host runs it, with its report and its pictures, beside the least that its
result needs.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import find_smollm2, load_decoder
from zimage_layer_lab.core.concept.applying import apply_concept
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.edit.blending import blend
from zimage_layer_lab.core.edit.masking import mask_states
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.outliers.survey import survey_outliers

from .host import start_host
from .measure import Pair, Row, in_own_process, in_turn, part_of

PICTURES, SIDE = 16, 1024
"""How many pictures Compare Grid compares, and pixels of the side of each."""
TOKENS = (64, 1040, 4096)
WIDTH = 2560
COMMAND = "from zimage_layer_lab.cli import run; run()"


def rows(rounds: int) -> Iterator[Row]:
    """Nodes and files in processes of their own, the commands in fresh ones."""
    for task in ("nodes", "gguf"):
        yield from (Row(**row) for row in in_own_process("waiting", task, str(rounds))["rows"])
    pair = in_turn(
        lambda: _python(COMMAND, "queue", "--help"), lambda: _python("import torch"), rounds, 0.0
    )
    yield _seconds("layerlab queue --help, from start to end", "import torch", pair, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        demo, least = (
            ["demo", "--no-comfyui", "--out", folder],
            "import torch, transformers, matplotlib",
        )
        pair = in_turn(lambda: _python(COMMAND, *demo), lambda: _python(least), rounds, 0.0)
    yield _seconds("layerlab demo, from start to end, no ComfyUI", least, pair, 10.0)


def _seconds(what: str, imports: str, pair: Pair, goal: float) -> Row:
    met, against = pair.ours < goal, f"python -c '{imports}'"
    sides = (pair.ours, pair.theirs)
    return Row("waiting", what, against, *sides, "s", "seconds", pair.ours, f"< {goal:g} s", met)


def _python(code: str, *arguments: str) -> None:
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main(task: str, rounds: str) -> dict[str, Any]:
    """The rows of the nodes, or of a GGUF file."""
    if task == "gguf":
        return {"rows": [_gguf(int(rounds)).to_json()]}
    with tempfile.TemporaryDirectory() as folder:
        start_host(Path(folder))
        with torch.inference_mode():
            return {"rows": [row.to_json() for row in _nodes(int(rounds))]}


def _nodes(rounds: int) -> Iterator[Row]:
    from kornia.metrics import ssim
    from zimage_layer_lab.nodes.blending import Blend
    from zimage_layer_lab.nodes.compare_grid import CompareGrid
    from zimage_layer_lab.nodes.concept_applying import ApplyConcept
    from zimage_layer_lab.nodes.masking import OutlierMask
    from zimage_layer_lab.nodes.normalizing import Normalize
    from zimage_layer_lab.nodes.outliers import OutlierReport

    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(1, SIDE, SIDE, 3, generator=generator) for _ in range(PICTURES)]
    channels = [picture.movedim(-1, 1) for picture in pictures]

    def by_kornia() -> None:
        for other in channels[1:]:
            ssim(channels[0], other, 11).mean()

    names = [str(number) for number in range(PICTURES)]
    yield _row(
        f"Compare Grid, {PICTURES} pictures of {SIDE} x {SIDE}",
        "the SSIM of kornia of the same pairs, alone",
        in_turn(_call(CompareGrid, images=pictures, labels=names), by_kornia, rounds, 0.0),
        None,
    )
    vectors = torch.randn(3, WIDTH, generator=generator, dtype=torch.float64)
    concept = Concept(0.1 * vectors[0], vectors[1], vectors[2].abs())
    for tokens in TOKENS:
        hidden, other = _states(tokens), _states(tokens + 1)
        given = {"conditioning": [[hidden, {}]]}
        both = {"text": given["conditioning"], "vision": [[other, {}]]}
        for node, what, inputs, least in (
            (OutlierMask, "Outlier Mask", given, (mask_states, hidden)),
            (Normalize, "Normalize", given, (normalize, hidden)),
            (Blend, "Embedding Blend", both, (blend, hidden, other)),
            (
                ApplyConcept,
                "Apply Concept",
                {**given, "concept": concept},
                (apply_concept, hidden, concept.parts),
            ),
        ):
            pair = in_turn(_call(node, **inputs), functools.partial(*least), rounds)
            yield _row(f"{what}, {tokens} tokens x {WIDTH}", "its edit alone", pair, 2.0)
        figures = functools.partial(survey_outliers, hidden)
        pair = in_turn(_call(OutlierReport, **given), figures, rounds)
        yield _row(f"Outlier Report, {tokens} tokens x {WIDTH}", "its figures alone", pair, None)


def _gguf(rounds: int) -> Row:
    import gguf

    path = find_smollm2()

    def opened() -> None:
        files = ModelFiles.find(path)
        files.tokenizer()
        load_decoder(files, "cpu", "float32")

    def read() -> None:
        for weight in gguf.GGUFReader(path).tensors:
            gguf.dequantize(weight.data, weight.tensor_type)

    return part_of(
        "waiting",
        "the GGUF of SmolLM2 opened: configuration, tokenizer and weights",
        "one parse by the package gguf, and its dequantisation",
        *_in_ms(in_turn(opened, read, rounds, 0.0)),
        "ms",
        1.3,
    )


def _states(tokens: int) -> Tensor:
    """(1, tokens, width) with a sink token, and two dimensions far louder than Qwen3-4B's."""
    hidden = torch.randn(1, tokens, WIDTH, generator=torch.Generator().manual_seed(tokens))
    hidden[..., (4, 396)] *= 100_000
    hidden[:, 0] *= 50
    return hidden


def _call(node: type, **inputs: Any) -> Callable[[], Any]:
    """The node with its defaults, each input in a list where the node takes lists."""
    schema = node.define_schema()
    defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
    if schema.is_input_list:
        defaults = {name: [value] for name, value in defaults.items()}
    return lambda: node.execute(**{**defaults, **inputs})


def _row(what: str, against: str, pair: Pair, goal: float | None) -> Row:
    return part_of("waiting", what, against, *_in_ms(pair), "ms", goal)


def _in_ms(pair: Pair) -> tuple[float, float]:
    return pair.ours * 1e3, pair.theirs * 1e3
