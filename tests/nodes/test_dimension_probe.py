"""Dimension Probe in a real ComfyUI, against transformers' Qwen3 with the same random weights."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from zimage_layer_lab.core.encoder.prompt import build_prompt

from .stock import run
from .twins import WIDTH, Qwen3Twin

PROMPTS = ["a red fox", "雪中的 7 owls"]
DIMENSION, INDEX = 396, 6
ROWS = 16384


@pytest.fixture(scope="module")
def twin(host, pack_root):
    sizes = json.loads((pack_root / "tiny_host" / "sizes.json").read_text())
    folder = host.base / "models" / "text_encoders"
    return Qwen3Twin(folder / "qwen_3_4b.safetensors", sizes)


def naive_losses(twin, ids, part, values=None):
    """The mean loss of a prompt's own tokens; with ``values`` in place of the dimension's."""
    handle = None
    if values is not None:

        def change(module, args, kwargs):
            changed = args[0].clone()
            changed[0, :, DIMENSION] = values.to(changed)
            return (changed, *args[1:]), kwargs

        place = twin.model.layers[INDEX]
        handle = place.register_forward_pre_hook(change, with_kwargs=True)
    try:
        normed = twin.states(ids)[-1][0, part.start - 1 : part.stop - 1].double()
    finally:
        if handle is not None:
            handle.remove()
    targets = torch.tensor(ids[part])
    logits = []
    with safe_open(twin.path, framework="pt") as file:
        table = file.get_slice(twin.table)
        for first in range(0, table.get_shape()[0], ROWS):
            logits.append(normed.float() @ table[first : first + ROWS].float().T)
    logits = torch.cat(logits, dim=1).double()
    return float((logits.logsumexp(1) - logits[range(len(targets)), targets]).mean())


def test_losses_and_costs_are_those_of_transformers(clip, pack, twin):
    """Plain, and with the dimension at zero at all tokens."""
    from zimage_layer_lab.core.dimension.loss import LossRun, Variant
    from zimage_layer_lab.nodes.causal_clip import ClipModel

    passes = []
    prompts = [build_prompt(prompt) for prompt in PROMPTS]
    model = ClipModel(clip, prompts, lambda: passes.append(1))
    ids = [encoding.record.ids for encoding in model.encodings]
    own = [slice(3, len(one) - 5) for one in ids]
    states = model.states(ids, [INDEX])[INDEX]
    blocks = model._decoder.layers
    zeros = tuple(torch.zeros(len(one)) for one in ids)
    found = LossRun(model, INDEX, ids, own, states).losses(
        [Variant(0, None), Variant(DIMENSION, zeros)], range(2)
    )
    assert model._decoder.layers is blocks and len(blocks) == model.blocks == 8
    for number, part in enumerate(own):
        plain = naive_losses(twin, list(ids[number]), part)
        zeroed = naive_losses(twin, list(ids[number]), part, zeros[number])
        assert found[0][number] == pytest.approx(plain, abs=1e-4)
        assert found[1][number] == pytest.approx(zeroed, abs=1e-4)
        assert found[1][number] - found[0][number] == pytest.approx(zeroed - plain, abs=1e-4)
    unit = np.zeros(WIDTH)
    unit[DIMENSION] = 1
    with safe_open(twin.path, framework="pt") as file:
        rows = file.get_slice(twin.table)[:8, DIMENSION].float()
        weight = file.get_tensor("model.norm.weight")[DIMENSION].float()
    assert torch.allclose(model.column(DIMENSION)[:8], rows * weight, rtol=1e-4)


def test_what_the_node_says(clip, pack):
    """Parts 1 to 3 and, of all three replacements, a verdict; of one of them none."""
    image, report = run(
        pack.DimensionProbe, clip=clip, dimension=DIMENSION, prompts="\n".join(PROMPTS), controls=1
    )
    assert image.shape[0] == 1 and image.shape[3] == 3 and float(image.std()) > 0.05
    assert f"Dimension {DIMENSION} at layer -2 (hidden state 7): " in report
    for words in ("It would", "random controls", "word start", "100.0%", "A rise of the dimension"):
        assert words in report
    _, report = run(
        pack.DimensionProbe,
        clip=clip,
        dimension=DIMENSION,
        prompts="\n".join(PROMPTS),
        layer=-1,
        replace="zero",
        controls=0,
    )
    assert "no verdict, which takes all three replacements" in report
    assert "shuffled" not in report


def test_bad_values(clip, pack):
    with pytest.raises(ValueError, match="dimension 2560 does not exist: .* 0 to 2559"):
        run(pack.DimensionProbe, clip=clip, dimension=WIDTH, prompts="\n".join(PROMPTS))
    with pytest.raises(ValueError, match="at least two prompts are needed"):
        run(pack.DimensionProbe, clip=clip, prompts="a red fox")
