"""AdaIN, style dims, graduated, attention weighted and slerp against NumPy float64."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.blend_methods import attention_received
from zimage_layer_lab.core.edit.blending import CURVES, MATCHES, METHODS, blend

from ...oracles.blending_formulas import EPS32, aligned, attention, blended, sides, token_rms

NEW = [
    "adain",
    "adain per dimension",
    "style dims",
    "graduated",
    "attention weighted",
    "slerp",
]
MIXING = [method for method in METHODS if method != "append"]


def array(hidden):
    return hidden[0].double().numpy()


def test_the_methods_are_offered_in_the_order_of_the_contract():
    assert list(METHODS)[:4] == ["interpolate", "interpolate (llm-dit)", "linear", "append"]
    assert list(METHODS)[4:] == NEW


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("vision_tokens", [23, 5])
def test_each_method_equals_its_formula_in_float64(method, match, alpha, vision_tokens):
    text, vision = sides(7, 8, vision_tokens, 11, 1.0)
    got = blend(text, vision, alpha, method, match, keep_sinks=False, start_alpha=0.1)
    want = blended(array(text), array(vision), alpha, method, match, start_alpha=0.1)
    scale = max(np.abs(want).max(), np.abs(array(text)).max())
    np.testing.assert_allclose(array(got.hidden), want, atol=1e-5 * scale)


@pytest.mark.parametrize("method", NEW)
@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_massive_activations_survive_in_every_dtype(method, match, dtype):
    """6e4 in one dimension of every token is nearly all that float16 holds."""
    generator = torch.Generator().manual_seed(5)
    text = torch.randn(1, 8, 16, generator=generator) * 500
    vision = torch.randn(1, 20, 16, generator=generator) * 300
    text[..., 3] += 6e4
    vision[..., 5] -= 5e4
    text, vision = text.to(dtype), vision.to(dtype)
    before = text.clone(), vision.clone()
    result = blend(text, vision, 0.4, method, match).hidden
    assert torch.equal(text, before[0]) and torch.equal(vision, before[1])
    assert result.dtype == dtype and bool(result.isfinite().all())
    info = torch.finfo(dtype)
    want = blended(array(text), array(vision), 0.4, method, match)
    want = np.clip(want, -float(info.max), float(info.max))
    size = max(np.abs(want).max(), 6e4)
    allowed = np.abs(want) * info.eps + 64 * EPS32 * size
    assert (np.abs(array(result) - want) <= allowed).all()


@pytest.mark.parametrize("method", MIXING)
@pytest.mark.parametrize("start_alpha", [0.0, 0.6])
def test_a_step_of_1e_4_from_either_end_of_alpha_is_small_against_the_states(method, start_alpha):
    text, vision = sides(4, 8, 21, 6, 1.0)
    rms = np.sqrt((array(text) ** 2).mean())
    for end, near in ((0.0, 1e-4), (1.0, 1 - 1e-4)):
        one, other = (
            array(blend(text, vision, a, method, start_alpha=start_alpha).hidden)
            for a in (end, near)
        )
        assert np.abs(one - other).max() < 1e-3 * rms


@pytest.mark.parametrize("method", ["interpolate", "interpolate (llm-dit)", "linear", "slerp"])
@pytest.mark.parametrize("match", ["none", "rms per token"])
def test_alpha_1_is_the_matched_vision_side(method, match):
    text, vision = sides(6, 8, 21, 16, 1.0)
    other = aligned(array(vision), method, 8)
    if match != "none":
        other = other / token_rms(other) * token_rms(array(text))
    got = blend(text, vision, 1.0, method, match, keep_sinks=False).hidden
    np.testing.assert_allclose(array(got), other, rtol=1e-5, atol=1e-6 * np.abs(other).max())


@pytest.mark.parametrize("method", ["interpolate", "linear", "slerp"])
@pytest.mark.parametrize("times", [1 / 50, 50])
def test_half_of_each_side_is_half_of_each_direction_at_any_ratio_of_their_scales(method, times):
    """The claim of rms per token: after the image model's RMSNorm alpha is still the share."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(1, 9, 256, generator=generator)
    vision = torch.randn(1, 30, 256, generator=generator) * times
    mixed = array(blend(text, vision, 0.5, method, "rms per token").hidden)
    t, v = array(text), aligned(array(vision), method, 9)

    def normed(values):
        return values / np.sqrt((values**2).mean(1, keepdims=True) + 1e-5)

    def cosine(one, two):
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        return (one * two).sum(1) / norms

    np.testing.assert_allclose(cosine(mixed, t), cosine(mixed, v), atol=1e-6)
    seen = normed(mixed)
    np.testing.assert_allclose(cosine(seen, normed(t)), cosine(seen, normed(v)), atol=1e-6)


@pytest.mark.parametrize("method", ["adain", "adain per dimension"])
@pytest.mark.parametrize("side", [0, 1])
def test_adain_of_a_side_that_does_not_vary_gives_the_vision_sides_mean(method, side):
    pair = list(sides(3, 6, 15, 8, 0.0))
    axis = 1 if method == "adain" else 0
    pair[side] = torch.full_like(pair[side], 0.1)
    got = array(blend(*pair, 1.0, method, "none").hidden)
    v = aligned(array(pair[1]), method, 6)
    want = np.broadcast_to(v.mean(axis, keepdims=True), got.shape)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_adain_of_one_token_has_no_spread_over_the_sequence_and_no_nan():
    text, vision = sides(3, 1, 1, 8, 0.0)
    got = blend(text, vision, 1.0, "adain per dimension", "none").hidden
    torch.testing.assert_close(got, vision)


def test_adain_per_token_all_but_vanishes_in_the_direction_that_the_image_model_sees():
    """It scales a token and shifts it by one number, whatever the vision token says."""
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(1, 9, 256, generator=generator)
    vision = torch.randn(1, 30, 256, generator=generator)
    t, mixed = array(text), array(blend(text, vision, 1.0, "adain", "none").hidden)
    for one, other in zip(t, mixed, strict=True):
        basis = np.stack([one, np.ones_like(one)], axis=1)
        rest = other - basis @ np.linalg.lstsq(basis, other, rcond=None)[0]
        assert np.linalg.norm(rest) < 1e-5 * np.linalg.norm(other)


@pytest.mark.parametrize(("width", "first"), [(1, 0), (2, 1), (3, 2), (7, 4), (2560, 1706)])
def test_style_dims_leaves_the_first_two_thirds_bit_for_bit(width, first):
    text, vision = torch.zeros(1, 2, width), torch.ones(1, 3, width)
    text[0, 0, :first] = -0.0
    result = blend(text, vision, 0.25, "style dims", "none", keep_sinks=False).hidden
    assert torch.equal(result[..., :first], text[..., :first])
    assert bool(result[0, 0, :first].signbit().all())
    assert bool((result[..., first:] == 0.25).all())


@pytest.mark.parametrize(
    ("curve", "shares"),
    [
        ("linear", [0.2, 0.4, 0.6, 0.8, 1.0]),
        ("ease in", [0.2, 0.25, 0.4, 0.65, 1.0]),
        ("ease out", [0.2, 0.55, 0.8, 0.95, 1.0]),
    ],
)
def test_graduated_goes_from_start_alpha_to_alpha_along_its_curve(curve, shares):
    text, vision = torch.zeros(1, 5, 3), torch.ones(1, 9, 3)
    settings = {"start_alpha": 0.2, "curve": curve, "keep_sinks": False}
    result = blend(text, vision, 1.0, "graduated", "none", **settings)
    np.testing.assert_allclose(result.hidden[0, :, 0], shares, atol=1e-6)
    assert result.shares == pytest.approx((0.2, 1.0))
    falling = blend(text, vision, 0.2, "graduated", "none", **{**settings, "start_alpha": 1.0})
    np.testing.assert_allclose(falling.hidden[0, :, 0], 1.2 - np.array(shares), atol=1e-6)


@pytest.mark.parametrize("curve", CURVES)
def test_graduated_gives_a_single_token_alpha(curve):
    text, vision = torch.zeros(1, 1, 3), torch.ones(1, 9, 3)
    result = blend(text, vision, 0.7, "graduated", "none", start_alpha=0.1, curve=curve)
    assert bool((result.hidden == torch.tensor(0.7)).all())


def test_graduated_counts_content_tokens_only():
    text = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    text[:, 0] *= 1000
    result = blend(text, torch.ones(1, 9, 8), 1.0, "graduated", "none")
    assert result.text_sinks == [0]
    assert torch.equal(result.hidden[:, :2], text[:, :2])
    want = 0.75 * text[:, 2] + 0.25
    torch.testing.assert_close(result.hidden[:, 2], want)


def received_shares(text, alpha=0.5):
    """The share of each token: the vision side is one above the text everywhere."""
    result = blend(text, text + 1.0, alpha, "attention weighted", "none", keep_sinks=False)
    return (result.hidden - text).double()[0].mean(1).numpy(), result.shares


def test_the_token_that_the_others_attend_to_most_keeps_a_fifth_of_its_share():
    text = torch.tensor([[[1.0, 0, 0, 0], [1.0, 1, 0, 0], [0, 1.0, 0, 0]]])
    shares, bounds = received_shares(text)
    np.testing.assert_allclose(shares, [0.5, 0.1, 0.5], atol=1e-6)
    assert bounds == pytest.approx((0.1, 0.5))
    longer, _ = received_shares(text * torch.tensor([[[3.0], [0.5], [7.0]]]))
    np.testing.assert_allclose(longer, shares, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        torch.ones(1, 5, 8),
        torch.eye(64)[None] * torch.linspace(1, 5, 64)[:, None],
        torch.ones(1, 1, 4),
    ],
    ids=["equal", "orthogonal", "single"],
)
def test_tokens_that_receive_the_same_attention_all_take_alpha(text):
    """Rounding noise must not be blown up to the full range."""
    shares, bounds = received_shares(text)
    np.testing.assert_allclose(shares, 0.5, atol=1e-5)
    assert bounds == (0.5, 0.5)


def test_attention_received_is_a_share_of_all_attention():
    text, _ = sides(1, 9, 2, 8, 0.0)
    got = attention_received(text)
    np.testing.assert_allclose(got[0], attention(array(text)), rtol=1e-9)
    assert float(got.sum()) == pytest.approx(1.0)


def test_attention_over_more_tokens_than_are_asked_at_once_is_the_same_formula():
    text, vision = sides(1, 700, 900, 8, 0.0)
    got = blend(text, vision, 0.5, "attention weighted", "none", keep_sinks=False).hidden
    want = blended(array(text), array(vision), 0.5, "attention weighted", "none")
    np.testing.assert_allclose(array(got), want, atol=1e-5 * np.abs(want).max())


def test_slerp_turns_by_its_share_of_the_angle_and_changes_length_linearly():
    text, vision = torch.tensor([[[2.0, 0, 0]]]), torch.tensor([[[0, 6.0, 0]]])
    for share in (0.25, 0.5, 0.9):
        [x, y, z] = blend(text, vision, share, "slerp", "none").hidden[0, 0].tolist()
        assert z == 0 and math.atan2(y, x) == pytest.approx(share * math.pi / 2)
        assert math.hypot(x, y) == pytest.approx((1 - share) * 2 + share * 6)


@pytest.mark.parametrize("match", ["none", "rms per token"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1.0, 2, 3], [3.0, 6, 9]),
        ([1.0, 2, 3], [-2.0, -4, -6]),
        ([1.0, 2, 3], [1.0, 2, 3]),
        ([1.0, 2, 3], [0.0, 0, 0]),
        ([0.0, 0, 0], [1.0, 2, 3]),
        ([0.0, 0, 0], [0.0, 0, 0]),
    ],
    ids=["parallel", "opposite", "equal", "no vision", "no text", "neither"],
)
def test_slerp_mixes_linearly_where_there_is_no_circle_to_follow(one, other, match):
    text, vision = torch.tensor([[one]]), torch.tensor([[other]])
    v = vision.double()
    if match != "none" and text.norm() > 0:  # a text of zeros has no scale to give
        v = v / v.norm().clamp(min=1e-30) * text.double().norm()
    for share in (1e-4, 0.3, 0.5, 1 - 1e-4, 1.0):
        got = blend(text, vision, share, "slerp", match, keep_sinks=False).hidden.double()
        torch.testing.assert_close(
            got, (1 - share) * text.double() + share * v, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("angle", [10.0**-k for k in range(1, 9)])
def test_slerp_of_ever_closer_tokens_goes_over_into_the_linear_mix_without_a_jump(angle):
    text = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    vision = torch.tensor([[[math.cos(angle), math.sin(angle)]]], dtype=torch.float64)
    got = array(blend(text, vision, 0.3, "slerp", "none").hidden)[0]
    np.testing.assert_allclose(got, [math.cos(0.3 * angle), math.sin(0.3 * angle)], atol=1e-10)
