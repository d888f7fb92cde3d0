"""Embedding Blend's further methods and settings over real encodings, and what the report says."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from ..oracles.blending_formulas import blended
from ..oracles.resampling import area_weights
from .stock import record, run, snapshot, states, unchanged

NEW = ["adain", "adain per dimension", "style dims", "graduated", "attention weighted", "slerp"]


def made(tokens: int, width: int = 64, seed: int = 0, **options) -> list:
    """One entry of random states without a record."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, width, generator=generator), options]]


def array(conditioning: list) -> np.ndarray:
    return states(conditioning)[0].double().numpy()


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize("match", ["none", "rms per token"])
def test_each_method_equals_its_formula_on_real_encodings(pack, clip, vision, method, match):
    # A word that comes again and again is one that other tokens attend to.
    text = run(pack.Qwen3Encode, clip=clip, text="snow on snow on snow, and a fox in it")[0]
    before = snapshot(text), snapshot(vision)
    result, report = run(pack.Blend, text=text, vision=vision, method=method, match=match)
    want = blended(array(text), array(vision), 0.3, method, match)
    assert np.abs(array(result) - want).max() < 2e-5 * np.sqrt((want**2).mean())
    assert unchanged(text, before[0]) and unchanged(vision, before[1])
    assert record(result).roles == record(text).roles
    assert "text tokens had no vision token" not in report
    if method != "graduated":
        assert "64 vision tokens used, 0 lost" in report


@pytest.mark.parametrize("method", NEW)
def test_alpha_0_returns_the_text_bit_for_bit_and_records_no_edit(pack, text, vision, method):
    result, report = run(pack.Blend, text=text, vision=vision, alpha=0.0, method=method)
    assert torch.equal(states(result), states(text)) and record(result).edits == ()
    assert "does not change" in report and "0 vision tokens used, 64 lost" in report


def test_graduated_follows_its_own_settings_and_keeps_them_in_the_record(pack, text, vision):
    settings = {"start_alpha": 0.6, "curve": "ease out"}
    result, report = run(pack.Blend, text=text, vision=vision, method="graduated", **settings)
    want = blended(array(text), array(vision), 0.3, "graduated", "rms per token", 0.6, "ease out")
    assert np.abs(array(result) - want).max() < 2e-5 * np.sqrt((want**2).mean())
    assert "share of the vision side is 0.3 to 0.6" in report
    *_, edit = record(result).edits
    for part in ("graduated", "alpha 0.3", "start_alpha 0.6", "curve ease out", "rms per token"):
        assert part in edit


@pytest.mark.parametrize("method", ["interpolate", "adain", "slerp"])
def test_the_record_keeps_method_alpha_and_match_but_no_setting_that_had_no_part(
    pack, text, vision, method
):
    result, report = run(
        pack.Blend, text=text, vision=vision, method=method, match="global", start_alpha=0.7
    )
    *_, edit = record(result).edits
    assert edit.startswith(f"blend: {method}, alpha 0.3, match global, with ")
    assert "start_alpha" not in edit and "share of the vision side" not in report


def test_without_its_optional_inputs_the_node_works_as_with_their_defaults(pack, text, vision):
    for method in ("interpolate", "graduated", "append"):
        bare = pack.Blend.execute(text, vision, 0.3, method, "rms per token").args
        result = run(pack.Blend, text=text, vision=vision, method=method)
        assert torch.equal(states(bare[0]), states(result[0])) and bare[1] == result[1]


def test_sinks_can_be_blended_like_any_other_token(pack):
    text, vision = made(8, seed=1), made(20, seed=2)
    states(text)[:, 0] *= 100
    kept, report = run(pack.Blend, text=text, vision=vision)
    assert torch.equal(states(kept)[:, 0], states(text)[:, 0]) and "unblended: 0" in report
    result, report = run(pack.Blend, text=text, vision=vision, keep_sinks=False)
    want = blended(array(text), array(vision), 0.3, "interpolate", "rms per token")
    assert np.abs(array(result) - want).max() < 2e-5 * np.sqrt((want**2).mean())
    assert "sink" not in report and "sinks blended too" in record(result).edits[-1]


def test_append_pools_the_vision_side_to_what_the_text_leaves_and_says_so(pack, text, vision):
    tokens = states(text).shape[1]
    result, report = run(
        pack.Blend,
        text=text,
        vision=vision,
        method="append",
        match="none",
        max_tokens=tokens + 10,
    )
    pooled = array(result)[tokens:]
    want = area_weights(64, 10) @ array(vision)
    assert np.abs(pooled - want).max() < 2e-5 * np.sqrt((want**2).mean())
    assert "64 vision tokens were pooled to 10" in report
    assert "64 vision tokens used, 0 lost" in report
    found = record(result)
    assert found.ids == record(text).ids + (-1,) * 10
    assert found.roles == record(text).roles + (Role.IMAGE,) * 10
    assert "64 vision tokens pooled to 10" in found.edits[-1]


def test_pooled_tokens_of_several_kinds_have_the_role_of_the_middle_one(pack, vl_clip, text):
    pixels = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
    whole, _ = run(pack.VLEncode, clip=vl_clip, image=pixels, text="snow")
    tokens, other = states(text).shape[1], states(whole).shape[1]
    result, _ = run(
        pack.Blend,
        text=text,
        vision=whole,
        method="append",
        keep_sinks=False,
        max_tokens=tokens + other // 3,
    )
    count = other // 3
    middles = [
        (math.floor(i * other / count), math.ceil((i + 1) * other / count)) for i in range(count)
    ]
    want = tuple(record(whole).roles[(start + end - 1) // 2] for start, end in middles)
    assert record(result).roles == record(text).roles + want
    assert set(record(result).ids[tokens:]) == {-1}


def test_append_within_the_budget_keeps_both_sides_whole(pack, text, vision):
    result, report = run(pack.Blend, text=text, vision=vision, method="append", match="none")
    assert torch.equal(states(result), torch.cat([states(text), states(vision)], dim=1))
    assert "pooled" not in report


def test_a_text_without_room_for_an_appended_image_is_refused_with_the_way_out(pack, text, vision):
    with pytest.raises(ValueError, match="max_tokens is 2.*raise max_tokens"):
        run(pack.Blend, text=text, vision=vision, method="append", max_tokens=2)


@pytest.mark.parametrize(("tokens", "said"), [(1500, False), (1505, True)])
def test_a_result_longer_than_z_image_was_trained_on_is_remarked_on(pack, tokens, said):
    _, report = run(pack.Blend, text=made(tokens, 8), vision=made(9, 8, seed=1))
    line = f"{tokens} tokens: more than the about 1504 positions Z-Image was trained on"
    assert (line in report) is said
    if not said:
        _, report = run(
            pack.Blend,
            text=made(tokens, 8),
            vision=made(9, 8, seed=1),
            method="append",
            max_tokens=4000,
        )
        assert "1509 tokens: more than" in report


def test_sides_from_different_models_are_reported_by_name(pack, text, vision):
    _, report = run(pack.Blend, text=text, vision=vision)
    [line] = [line for line in report.splitlines() if "different models" in line]
    assert record(text).source in line and record(vision).source in line


def test_sides_from_one_model_are_not_reported_as_different(pack, clip, text):
    other, _ = run(pack.Qwen3Encode, clip=clip, text="a blue whale under the ice", layer=-6)
    _, report = run(pack.Blend, text=text, vision=other)
    assert "different models" not in report and "from one model is unknown" not in report


@pytest.mark.parametrize("side", ["text", "vision"])
def test_a_side_that_brings_no_record_is_said_to_be_of_an_unknown_model(pack, text, vision, side):
    sides = {"text": text, "vision": vision}
    sides[side] = [[states(sides[side]), {}]]
    _, report = run(pack.Blend, **sides)
    assert f"one model is unknown: the {side} side does not say" in report
    assert "different models" not in report


def test_two_sides_without_a_record_are_both_unknown(pack):
    _, report = run(pack.Blend, text=made(5), vision=made(9))
    assert "unknown: both sides" in report


def test_an_appended_conditioning_of_two_models_claims_to_be_of_neither(pack, clip, text, vision):
    mixed, _ = run(pack.Blend, text=text, vision=vision, method="append")
    assert record(mixed).fingerprint == ""
    other, _ = run(pack.Qwen3Encode, clip=clip, text="a blue whale")
    joined, _ = run(pack.Blend, text=text, vision=other, method="append")
    assert record(joined).fingerprint == record(text).fingerprint != ""


def test_every_entry_is_blended_by_the_same_settings(pack):
    texts = made(6, seed=1) + made(9, seed=2)
    vision = made(20, seed=3)
    settings = {"method": "graduated", "start_alpha": 0.5, "curve": "ease in"}
    result, report = run(pack.Blend, text=texts, vision=vision, **settings)
    for entry, text in zip(result, texts, strict=True):
        alone, _ = run(pack.Blend, text=[text], vision=vision, **settings)
        assert torch.equal(entry[0], states(alone))
    assert report.count("share of the vision side") == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_alpha", math.nan),
        ("start_alpha", 1.5),
        ("max_tokens", math.nan),
        ("max_tokens", 1),
        ("alpha", math.nan),
    ],
)
def test_a_number_out_of_range_is_refused_by_name_before_anything_runs(pack, name, value):
    message = pack.Blend.validate_inputs(**{name: value})
    assert isinstance(message, str) and message.startswith(f"{name} is ")
    with pytest.raises(ValueError, match=f"^{name} is "):
        run(pack.Blend, text=made(4), vision=made(5), **{name: value})


def test_no_text_entry_at_all_is_refused(pack):
    with pytest.raises(ValueError, match="text side has 0 conditioning entries"):
        run(pack.Blend, text=[], vision=made(5))


def test_an_unknown_curve_is_refused_by_name(pack):
    with pytest.raises(ValueError, match="'cosine'.*ease in"):
        run(pack.Blend, text=made(4), vision=made(5), curve="cosine")
