"""Encoders in float16, bfloat16 and float8, scaled and not: the host's own bits at every layer.

The files are made from the tiny random one and read as the stock loader does, by
``comfy.sd.load_clip``. A scaled float8 weight has a scale beside it, in the older spelling
(``scaled_fp8``, ``scale_weight``) or the newer one (``weight_scale``, ``comfy_quant`` in JSON).
"""

import gc
import json
import zlib

import pytest
import torch
from zimage_layer_lab.core.record.record import current_record

from .stock import RECORD, record, run, same_options, states, text_encode

PROMPT = "A red fox in deep snow, 35 mm film"
BLOCKS = 3
FP8 = torch.float8_e4m3fn


def plain(dtype):
    """Every weight in one dtype."""

    def build(weights):
        return {name: tensor.to(dtype) for name, tensor in weights.items()}

    return build


def is_linear(name, tensor):
    return tensor.ndim == 2 and ".layers." in name


def scaled(weights):
    """Name -> float8 weight and its scale; scales differ, so that leaving one out would show."""
    found = {}
    for number, (name, tensor) in enumerate(weights.items()):
        if is_linear(name, tensor):
            values = tensor.float()
            scale = values.abs().max() / 448 * (1 + number % 3)
            found[name] = (values / scale).to(FP8), scale
    return found


def older(weights):
    made = plain(torch.bfloat16)(weights)
    for name, (weight, scale) in scaled(weights).items():
        made[name], made[name.removesuffix("weight") + "scale_weight"] = weight, scale
    return {**made, "scaled_fp8": torch.zeros(2, dtype=FP8)}


def newer(weights):
    made = plain(torch.bfloat16)(weights)
    said = json.dumps({"format": "float8_e4m3fn", "full_precision_matrix_mult": True})
    for name, (weight, scale) in scaled(weights).items():
        layer = name.removesuffix("weight")
        made |= {name: weight, f"{layer}weight_scale": scale}
        made[f"{layer}comfy_quant"] = torch.tensor(list(said.encode()), dtype=torch.uint8)
    return made


FILES = {
    "float16": (plain(torch.float16), torch.float16),
    "bfloat16": (plain(torch.bfloat16), torch.bfloat16),
    # As it is on the disk: matrices in float8, norms in bfloat16, which is what the host goes by.
    "float8": (dict, None),
    "float8 scaled, older": (older, FP8),
    "float8 scaled, newer": (newer, FP8),
}


@pytest.fixture(scope="module", params=FILES, ids=str)
def loaded(request, host, tmp_path_factory):
    """The CLIP of one of the files, and the dtype that its matrices have in it."""
    import comfy.sd
    from safetensors.torch import load_file, save_file

    build, dtype = FILES[request.param]
    folder = tmp_path_factory.mktemp("dtypes")
    weights = load_file(host.base / "models/text_encoders/qwen_3_4b.safetensors")
    above = tuple(f"model.layers.{number}." for number in range(BLOCKS, 64))
    weights = {name: weights[name] for name in weights if not name.startswith(above)}
    save_file(build(weights), folder / "encoder.safetensors")
    del weights
    clip = comfy.sd.load_clip(
        [str(folder / "encoder.safetensors")],
        clip_type=comfy.sd.CLIPType.LUMINA2,
        model_options={"qwen3_4b_model_config": {"num_hidden_layers": BLOCKS}},
    )
    yield clip, dtype
    del clip
    gc.collect()
    (folder / "encoder.safetensors").unlink()


@pytest.fixture(scope="module")
def clip(loaded):
    return loaded[0]


def decoder(clip):
    return clip.cond_stage_model.qwen3_4b.transformer.model


@pytest.fixture(scope="module")
def hooked(clip):
    """Every hidden state of the stock encode: plain PyTorch hooks, nothing of this pack."""
    seen = {}
    model = decoder(clip)

    def first(module, args, kwargs):
        seen[0] = (args[0] if args else kwargs["x"]).clone()

    def after(index):
        def hook(module, args, output):
            seen[index] = (output[0] if isinstance(output, tuple) else output).clone()

        return hook

    handles = [model.layers[0].register_forward_pre_hook(first, with_kwargs=True)]
    for number, block in enumerate(model.layers[:-1]):
        handles.append(block.register_forward_hook(after(number + 1)))
    handles.append(model.norm.register_forward_hook(after(BLOCKS)))
    try:
        with torch.inference_mode():
            text_encode(clip, PROMPT)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def test_the_weights_are_of_the_dtype_that_is_meant(loaded):
    clip, dtype = loaded
    weight = decoder(clip).layers[0].self_attn.q_proj.weight
    held = getattr(weight, "_qdata", weight).dtype
    assert held == (dtype or held)
    assert held in (torch.float16, torch.bfloat16, FP8)


def test_layer_minus_2_is_clip_text_encode_bitwise(clip, pack):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT)
    [[hidden, options]] = text_encode(clip, PROMPT)
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)


def test_layer_minus_3_is_set_last_layer_bitwise(clip, pack):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-3)
    assert torch.equal(states(conditioning), states(text_encode(clip, PROMPT, layer=-3)))


@pytest.fixture(scope="module")
def swept(clip, pack):
    """Every layer, from one pass of the pack."""
    with torch.inference_mode():
        conditionings, _ = run(
            pack.LayerSweep, clip=clip, text=PROMPT, layers=", ".join(map(str, range(BLOCKS + 1)))
        )
    return conditionings


@pytest.mark.parametrize("index", range(BLOCKS + 1))
def test_every_layer_is_what_forward_hooks_see(swept, hooked, index):
    hidden = states(swept[index])
    assert hidden.dtype == torch.float32 and bool(hidden.isfinite().all())
    assert torch.equal(hidden, hooked[index].float())
    assert record(swept[index]).layer == index - BLOCKS - 1


@pytest.mark.parametrize("layer", [0, -1])
def test_a_layer_by_itself_is_the_same(clip, pack, hooked, layer):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer)
    assert torch.equal(states(conditioning), hooked[layer if layer >= 0 else BLOCKS].float())


@pytest.mark.parametrize("index", range(BLOCKS + 1))
def test_the_records_checksum_is_of_these_values(swept, index):
    hidden = states(swept[index])
    said = swept[index][0][1][RECORD]
    assert said.checksum == f"{zlib.crc32(hidden.numpy().tobytes()):08x}"
    assert current_record(said, hidden) is said
    # The host may keep intermediate tensors in another dtype; widening it again changes nothing.
    assert current_record(said, hidden.double().float()) is said


def test_a_reference_and_a_mask_of_these_states_are_finite(clip, pack, swept):
    conditioning = swept[BLOCKS - 1]
    [reference] = run(pack.BuildReference, clip=clip, prompts=PROMPT)
    assert bool(reference.std.isfinite().all()) and float(reference.std.min()) > 0
    for mode in ("zero", "clamp", "scale", "mean", "sink to mean"):
        masked, report = run(
            pack.OutlierMask, conditioning=conditioning, mode=mode, reference=reference
        )
        assert bool(states(masked).isfinite().all()) and "nan" not in report
