"""What people wait for: whole nodes of a real ComfyUI, and the start of a command.

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
QUEUE = "from zimage_layer_lab.cli import main; main(['queue', '--help'])"


def rows(rounds: int) -> Iterator[Row]:
    """The nodes in a process with a ComfyUI of its own, the command in fresh ones."""
    yield from (Row(**row) for row in in_own_process("waiting", "nodes", str(rounds))["rows"])
    pair = in_turn(lambda: _python(QUEUE), lambda: _python("import torch"), rounds, 0.0)
    yield Row(
        "waiting",
        "layerlab queue --help, from start to end",
        "python -c 'import torch'",
        pair.ours,
        pair.theirs,
        "s",
        "seconds",
        pair.ours,
        "< 0.5 s",
        pair.ours < 0.5,
    )


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def main(task: str, rounds: str) -> dict[str, Any]:
    """The rows of the nodes."""
    with tempfile.TemporaryDirectory() as folder:
        start_host(Path(folder))
        with torch.inference_mode():
            return {"rows": [row.to_json() for row in _nodes(int(rounds))]}


def _nodes(rounds: int) -> Iterator[Row]:
    from kornia.metrics import ssim
    from zimage_layer_lab.nodes.blending import Blend
    from zimage_layer_lab.nodes.compare_grid import CompareGrid
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
    for tokens in TOKENS:
        hidden, other = _states(tokens), _states(tokens + 1)
        given = {"conditioning": [[hidden, {}]]}
        both = {"text": given["conditioning"], "vision": [[other, {}]]}
        for node, what, inputs, least in (
            (OutlierMask, "Outlier Mask", given, (mask_states, hidden)),
            (Normalize, "Normalize", given, (normalize, hidden)),
            (Blend, "Embedding Blend", both, (blend, hidden, other)),
        ):
            pair = in_turn(_call(node, **inputs), functools.partial(*least), rounds)
            yield _row(f"{what}, {tokens} tokens x {WIDTH}", "its edit alone", pair, 2.0)
        figures = functools.partial(survey_outliers, hidden)
        pair = in_turn(_call(OutlierReport, **given), figures, rounds)
        yield _row(f"Outlier Report, {tokens} tokens x {WIDTH}", "its figures alone", pair, None)


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
    return part_of("waiting", what, against, pair.ours * 1e3, pair.theirs * 1e3, "ms", goal)
