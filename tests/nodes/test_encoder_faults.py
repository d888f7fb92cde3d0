"""Out of memory, any other failure, or the user's Stop in the middle of every node that encodes.

Each fault comes from inside a real forward pass, by a hook on a module of the encoder.
"""

from contextlib import contextmanager
from dataclasses import fields, is_dataclass

import pytest
import torch

from .stock import output, run, states, text_encode
from .test_capture_refusals import modules_state

PROMPTS = [f"a fox, number {number}" for number in range(3)]
LAYER = -8
"""The tiny encoders have 8 blocks; of those only the first is run for this layer."""


def many_images(pack, clips):
    """Three images, each with a pass of its own."""
    images = [torch.full((1, 64, 64, 3), number / 3) for number in range(3)]
    each = {"layer": [LAYER], "several_images": ["one prompt each"]}
    return output(pack.VLEncode, clip=[clips.vl], image=images, **each).args


def style_delta(pack, clips):
    """Without a neutral side the node encodes a mid-grey image itself."""
    inputs = {"text": clips.text, "styled": clips.styled, "clip": clips.vl}
    return run(pack.StyleDelta, **inputs)


# By node: what to run, which encoder it uses, how many passes that takes.
NODES = {
    "Qwen3Encode": (
        lambda p, c: run(p.Qwen3Encode, clip=c.qwen, text=PROMPTS[0], layer=LAYER),
        "qwen",
        1,
    ),
    "LayerSweep": (
        lambda p, c: output(p.LayerSweep, clip=c.qwen, text=PROMPTS[0], layers="-7, -8").args,
        "qwen",
        1,
    ),
    "LayerMix": (
        lambda p, c: run(p.LayerMix, clip=c.qwen, text=PROMPTS[0], weights="-7: 0.5, -8: 0.5"),
        "qwen",
        1,
    ),
    "WeightedEncode": (
        lambda p, c: run(p.WeightedEncode, clip=c.qwen, text="a (red:2) [fox]", layer=LAYER),
        "qwen",
        1,
    ),
    "TapEncode": (
        lambda p, c: run(p.TapEncode, clip=c.tapped, text=PROMPTS[0], layers="27, 18, 9"),
        "tapped",
        1,
    ),
    "VLEncode": (many_images, "vl", 3),
    "StyleDelta": (style_delta, "vl", 1),
    "LayerProfile": (
        lambda p, c: run(p.LayerProfile, clip=c.qwen, prompts="\n".join(PROMPTS)),
        "qwen",
        3,
    ),
    "DimensionProbe": (
        lambda p, c: run(
            p.DimensionProbe,
            clip=c.qwen,
            prompts="\n".join(PROMPTS),
            dimension=4,
            layer=LAYER,
            controls=0,
        ),
        "qwen",
        3,
    ),
    "BuildReference": (
        lambda p, c: run(p.BuildReference, clip=c.qwen, prompts="\n".join(PROMPTS), layer=LAYER),
        "qwen",
        3,
    ),
    "ConceptDirection": (
        lambda p, c: run(
            p.ConceptDirection,
            clip=c.qwen,
            with_concept=f"{PROMPTS[0]}, smiling",
            without_concept=PROMPTS[0],
            layer=LAYER,
        ),
        "qwen",
        2,
    ),
}


class Clips:
    """All encoders, and what Style Delta takes."""

    def __init__(self, qwen, vl, tapped, pack):
        self.qwen, self.vl, self.tapped = qwen, vl, tapped
        self.text = text_encode(qwen, PROMPTS[0])
        image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
        self.styled = output(pack.VLEncode, clip=[vl], image=[image], layer=[LAYER]).args[0][0]
        self._right = {}

    def of(self, name):
        return getattr(self, name)

    def right(self, node, pack):
        """What a node gives when nothing fails, made once; the encoders remember nothing of it."""
        from zimage_layer_lab.nodes import encoded_once

        if node not in self._right:
            self._right[node] = NODES[node][0](pack, self)
        encoded_once.RECENT.clear()
        return self._right[node]

    def transformer(self, name):
        stage = self.of(name).cond_stage_model
        return getattr(stage, stage.clip).transformer

    def decoder(self, name):
        """Where the host keeps its blocks."""
        return self.transformer(name).model


@pytest.fixture(scope="module")
def clips(clip, vl_clip, tapped_clips, pack):
    with torch.inference_mode():
        return Clips(clip, vl_clip, tapped_clips("klein 4b"), pack)


@pytest.fixture(autouse=True)
def output_folder(host, tmp_path, monkeypatch):
    monkeypatch.setattr(host.folder_paths, "output_directory", str(tmp_path))
    return tmp_path


@contextmanager
def at_pass(module, number, action):
    """Do ``action`` when ``module`` is run for the ``number``-th time; gives the list of runs."""
    seen = []

    def hook(*_):
        seen.append(1)
        if len(seen) == number:
            action()

    handle = module.register_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def raising(error):
    def action():
        raise error

    return action


def loaded():
    """The host's list of loaded models, by identity; its order is that of their last use."""
    import comfy.model_management as management

    return {(id(entry), id(entry.model)) for entry in management.current_loaded_models}


def tensors(value):
    """Every tensor in a node's outputs, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = value.values()
    if isinstance(value, list | tuple) or type(value).__name__ == "dict_values":
        return [tensor for part in value for tensor in tensors(part)]
    return []


def equal(ours, theirs):
    ours, theirs = tensors(ours), tensors(theirs)
    return len(ours) == len(theirs) > 0 and all(map(torch.equal, ours, theirs))


def test_every_node_with_an_encoder_is_in_the_table(pack):
    takes_clip = {
        name
        for name, node in vars(pack).items()
        if any(i.id == "clip" for i in node.define_schema().inputs)
    }
    assert takes_clip == set(NODES)


MANY = [name for name, (_, _, passes) in NODES.items() if passes > 1]
SEEING = [name for name, (_, which, _) in NODES.items() if which == "vl"]
CASES = [
    *((name, "out of memory", "first block") for name in NODES),
    *((name, "out of memory", "second pass") for name in MANY),
    *((name, "out of memory", "vision tower") for name in SEEING),
    *((name, "any failure", "first block") for name in NODES),
]


@pytest.mark.parametrize(("name", "kind", "where"), CASES)
def test_a_failure_in_the_encoder_reaches_the_host_as_it_is_and_leaves_nothing_behind(
    name, kind, where, pack, clips, output_folder
):
    """Out of memory by ComfyUI's own type, by which it knows that it must unload models."""
    import comfy.model_management as management

    node, which, _ = NODES[name]
    number = 2 if where == "second pass" else 1
    module = clips.decoder(which).layers[0]
    if where == "vision tower":
        module = clips.transformer(which).visual
    oom = kind == "out of memory"
    error = (management.OOM_EXCEPTION if oom else RuntimeError)("of the test")
    right = clips.right(name, pack)
    written = len(list(output_folder.iterdir()))
    modules, models = modules_state(clips.of(which)), loaded()
    depth = len(clips.decoder(which).layers)
    with at_pass(module, number, raising(error)) as seen:
        with pytest.raises(type(error)) as raised:
            node(pack, clips)
    assert raised.value is error and management.is_oom(raised.value) == oom
    assert len(seen) == number
    assert loaded() == models and len(clips.decoder(which).layers) == depth
    assert modules_state(clips.of(which)) == modules
    assert len(list(output_folder.iterdir())) == written
    assert equal(node(pack, clips), right)


@pytest.mark.parametrize("name", NODES)
def test_stop_ends_within_one_prompt_and_the_next_run_is_right(name, pack, clips, output_folder):
    """ComfyUI itself asks for it in every operation of a pass."""
    import comfy.model_management as management

    node, which, passes = NODES[name]
    right = clips.right(name, pack)
    written = len(list(output_folder.iterdir()))
    modules, models = modules_state(clips.of(which)), loaded()
    number = min(2, passes)
    stop = management.interrupt_current_processing
    with at_pass(clips.decoder(which).layers[0], number, stop) as seen:
        with pytest.raises(management.InterruptProcessingException):
            node(pack, clips)
    assert not management.processing_interrupted(), "the host takes the stop back when it is heard"
    assert len(seen) == number, "prompts went through the encoder after the stop"
    assert len(list(output_folder.iterdir())) == written
    assert modules_state(clips.of(which)) == modules and loaded() == models
    assert equal(node(pack, clips), right)


@pytest.mark.parametrize("cfg", [1.0, 2.0])
def test_stop_ends_the_sampler_within_one_step(cfg, pack, model, clips):
    import comfy.model_management as management

    conditioning = run(pack.Qwen3Encode, clip=clips.qwen, text=PROMPTS[0], layer=LAYER)[0]
    words = {"model": model, "positive": conditioning, "width": 64, "height": 64, "cfg": cfg}

    def sample():
        return run(pack.ZImageSampler, **words, steps=4)[1]["samples"]

    right = sample()
    diffusion = model.model.diffusion_model
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in diffusion.modules()]
    with at_pass(diffusion, 2, management.interrupt_current_processing) as seen:
        with pytest.raises(management.InterruptProcessingException):
            sample()
    assert len(seen) == 2, "steps were made after the stop"
    assert hooks == [
        (len(m._forward_hooks), len(m._forward_pre_hooks)) for m in diffusion.modules()
    ]
    assert torch.equal(sample(), right)


def test_an_encoder_that_failed_still_gives_the_stock_nodes_their_states(pack, clips):
    """Against ComfyUI's own encoding, made before the failure."""
    stock = states(text_encode(clips.qwen, "a heron"))
    with at_pass(clips.decoder("qwen").layers[3], 1, raising(RuntimeError("failed"))):
        with pytest.raises(RuntimeError):
            run(pack.LayerSweep, clip=clips.qwen, text="a heron", layers="-5")
    assert torch.equal(states(text_encode(clips.qwen, "a heron")), stock)
    assert torch.equal(states(run(pack.Qwen3Encode, clip=clips.qwen, text="a heron")[0]), stock)
