"""Describe Conditioning: every claim of the text against the states and stock nodes' options."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from .stock import output, record, run, states, text_encode

TEXT = "A red fox in deep snow"


def described(pack, conditioning) -> str:
    return run(pack.Describe, conditioning=conditioning)[0]


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-3)[0]


@pytest.fixture(scope="module")
def picture(vl_clip, pack):
    with torch.inference_mode():
        image = torch.rand(1, 300, 421, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=image, text=TEXT, two_layers=True, layer=0)[0]


def test_it_says_encoder_layer_size_roles_and_the_exact_prompt(pack, fox):
    text = described(pack, fox)
    tokens = states(fox).shape[1]
    assert "encoder: qwen_3_4b.safetensors (Qwen3_4B)" in text
    assert f"layer -3; {tokens} tokens x 2560 dimensions, float32" in text
    assert f"tokens: 8 template, {tokens - 8} text" in text
    assert text.endswith(f"prompt:\n<|im_start|>user\n{TEXT}<|im_end|>\n<|im_start|>assistant\n")
    assert "edits: none" in text and "entry 1" not in text


def test_the_rms_figures_are_those_of_numpy_in_float64(pack, fox):
    hidden = states(fox)[0].double().numpy()
    rms = np.sqrt((hidden**2).mean(1))
    expected = (
        f"rms per token: median {np.median(rms):.4g}, smallest {rms.min():.4g}, "
        f"largest {rms.max():.4g} at {record(fox).describe(int(rms.argmax()))}"
    )
    assert expected in described(pack, fox)


def test_a_sink_is_named_with_its_text(pack, fox):
    [[hidden, options]] = fox
    loud = hidden.clone()
    loud[:, 4] *= 100
    sealed = options["layer_lab"].sealed(loud)
    text = described(pack, [[loud, {**options, "layer_lab": sealed}]])
    assert f"sink tokens: {sealed.describe(4)}" in text
    others = np.delete(np.sqrt((hidden[0].double().numpy() ** 2).mean(1)), 4)
    assert f"rms without them: largest {others.max():.4g}" in text


def test_images_and_layers_apart_are_listed(pack, picture):
    text = described(pack, picture)
    assert "layers -2 and -6; " in text
    assert "  layer -6: 117 image" in text
    assert "image 1: 9 x 13 tokens (416x288 pixels)" in text
    assert "  1. image 1: 421x300 resized to 416x288, 117 tokens" in text
    assert "<|vision_start|><|image_pad|><|vision_end|>" in text


def test_edits_are_listed_in_their_order(pack, fox):
    masked, _ = run(pack.OutlierMask, conditioning=fox, threshold=1.0, direction="both")
    [fitted] = run(pack.FitTokens, conditioning=masked, max_tokens=6, method="pool")
    text = described(pack, fitted)
    assert text.index("  1. outlier mask: zero") < text.index("  2. fit: pool")


def test_what_stock_nodes_add_is_said(pack, fox):
    import nodes

    [ranged] = nodes.ConditioningSetTimestepRange().set_range(fox, 0.25, 0.5)
    [areal] = nodes.ConditioningSetArea().append(fox, 512, 256, 64, 128, 0.7)
    [both] = nodes.ConditioningCombine().combine(ranged, areal)
    text = described(pack, both)
    assert "entry 1 of 2" in text and "entry 2 of 2" in text
    assert "sampling: from 0.25 to 0.5 of it" in text
    assert "area (height, width, y, x): (32, 64, 16, 8)" in text
    assert "strength: 0.7" in text


def test_a_stock_conditioning_has_no_record_and_that_is_said(pack, clip):
    text = described(pack, text_encode(clip, TEXT))
    assert "no record" in text and "unknown layer" in text and "prompt: not known" in text


def test_nan_is_counted_and_does_not_stop_it(pack, fox):
    [[hidden, options]] = fox
    broken = hidden.clone()
    broken[0, 1, :3] = torch.nan
    text = described(pack, [[broken, options]])
    assert "rms: not measured, 3 values are NaN or infinite" in text


def test_a_caption_longer_than_z_image_was_trained_on_is_remarked(pack):
    long = [[torch.randn(1, 5000, 64, generator=torch.Generator().manual_seed(1)), {}]]
    assert "5000 tokens: more than the about 1504 positions" in described(pack, long)


def test_an_empty_conditioning_is_said_to_be_empty(pack):
    assert "empty" in described(pack, [])


def test_the_text_is_shown_on_the_node_too(pack, fox):
    result = output(pack.Describe, conditioning=fox)
    assert result.ui["text"] == (result.args[0],)


def test_role_names_are_those_of_the_record(pack, picture):
    roles = record(picture).roles
    for role in (Role.IMAGE, Role.VISION_MARKER, Role.TEXT, Role.TEMPLATE):
        assert f"{roles.count(role)} {role.value}" in described(pack, picture)
