"""No weight is read raw: where the host keeps it elsewhere, its own call brings it.

With dynamic VRAM a layer's ``weight`` is not what it computes with: that is on the GPU, cast and
patched, for as long as the layer's own call lasts. Here the host's own layers are put into that
state on the CPU: the raw weight is NaN, and the call brings the true one.
"""

from contextlib import contextmanager

import torch

from .stock import record, run, states

PROMPT = "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n"


@contextmanager
def weights_elsewhere(root):
    """Every layer of the host's kind in ``root`` holds NaN, and gets its weight when it is called.

    What it gives is the layers.
    """
    from comfy.ops import CastWeightBiasOp

    layers = [one for one in root.modules() if isinstance(one, CastWeightBiasOp)]
    layers = [one for one in layers if isinstance(getattr(one, "weight", None), torch.Tensor)]
    before = [(one, one.weight, one.comfy_cast_weights, one.weight_function) for one in layers]
    for layer, weight, *_ in before:
        raw = torch.full((), torch.nan, dtype=weight.dtype).expand(weight.shape)
        layer.weight = torch.nn.Parameter(raw, requires_grad=False)
        layer.comfy_cast_weights = True
        layer.weight_function = [lambda given, weight=weight: weight.to(given)]
    try:
        yield layers
    finally:
        for layer, weight, cast, functions in before:
            layer.weight, layer.comfy_cast_weights = weight, cast
            layer.weight_function = functions


def test_encoding_and_the_fingerprint(clip, pack):
    inputs = {"clip": clip, "text": "a red fox", "layer": -3}
    before = run(pack.Qwen3Encode, **inputs)[0]
    with weights_elsewhere(clip.cond_stage_model) as layers:
        assert len(layers) > 50 and all(bool(one.weight.isnan().all()) for one in layers)
        found = run(pack.Qwen3Encode, **inputs)[0]
    assert torch.equal(states(found), states(before))
    assert record(found).fingerprint == record(before).fingerprint != ""


def test_the_language_models_head(clip):
    from zimage_layer_lab.nodes.causal_clip import ClipModel

    def asked():
        model = ClipModel(clip, [PROMPT], lambda: None)
        normed = torch.ones(1, model.width)
        return model.logits(normed), model.column(7)

    before = asked()
    with weights_elsewhere(clip.cond_stage_model):
        found = asked()
    assert all(torch.equal(*pair) for pair in zip(found, before, strict=True))
    assert bool(found[0].isfinite().all())


def test_the_head_is_asked_of_a_loaded_model(clip, monkeypatch):
    """Another model may have taken its place since the last pass, and its patches with it."""
    from zimage_layer_lab.nodes.causal_clip import ClipModel

    model = ClipModel(clip, [PROMPT], lambda: None)
    loads = []
    monkeypatch.setattr(clip, "load_model", lambda: loads.append(1))
    model.logits(torch.ones(1, model.width))
    assert loads


def test_the_first_layers_of_the_image_model(model):
    from zimage_layer_lab.nodes.caption_path import caption_path

    path = caption_path(model)

    def asked():
        path.load()
        normed = torch.ones(1, 2, path.width)
        return [path.norm_weight(), path.column_lengths()[:8], path.project(normed)]

    before = asked()
    with weights_elsewhere(path.model.model):
        assert bool(path.matrix.weight.isnan().all())
        found = asked()
    assert all(torch.equal(*pair) for pair in zip(found, before, strict=True))
