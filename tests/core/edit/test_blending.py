"""What every blend method and match has in common, and pairing, against NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zimage_layer_lab.core.edit.blending import MATCHES, METHODS, blend

from ...oracles.blending_formulas import EPS32, aligned, matched, sides, std

DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])


@settings(max_examples=150)
@given(
    method=st.sampled_from(["interpolate", "interpolate (llm-dit)", "linear"]),
    match=st.sampled_from(sorted(MATCHES)),
    alpha=st.one_of(st.sampled_from([0.0, 0.3, 1.0]), st.floats(0.0, 1.0)),
    text_tokens=st.integers(1, 25),
    vision_tokens=st.integers(2, 40),
    width=st.integers(2, 9),
    largest=st.floats(-2.0, 5.0),
    dtypes=st.tuples(DTYPES, DTYPES),
    seed=st.integers(0, 2**31),
)
def test_each_method_and_match_equals_its_formula_in_float64(
    method, match, alpha, text_tokens, vision_tokens, width, largest, dtypes, seed
):
    text, vision = sides(seed, text_tokens, vision_tokens, width, largest, dtypes)
    before = text.clone(), vision.clone()
    result = blend(text, vision, alpha, method, match, keep_sinks=False)
    assert torch.equal(text, before[0]) and torch.equal(vision, before[1])
    assert result.hidden.dtype == text.dtype and result.hidden.shape == text.shape
    assert bool(result.hidden.isfinite().all())

    t, v = text[0].double().numpy(), vision[0].double().numpy()
    other = aligned(v, method, text_tokens)
    paired = len(other)
    other, error = matched(other, t[:paired], match)
    want = t.copy()
    want[:paired] = (1 - alpha) * t[:paired] + alpha * other
    info = torch.finfo(text.dtype)
    want = np.clip(want, -info.max, info.max)
    allowed = np.abs(want) * info.eps + info.tiny
    allowed = allowed + 64 * EPS32 * (np.abs(v).max() * (match == "none") + np.abs(t).max() + error)
    assert (np.abs(result.hidden[0].double().numpy() - want) <= allowed).all()
    assert result.text_unblended == text_tokens - paired and result.vision_tokens == 0


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", [m for m in METHODS if m != "append"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_alpha_0_returns_the_text_bit_for_bit(method, match, dtype):
    text, vision = sides(3, 7, 12, 5, 4.0)
    text = text.to(dtype)
    text[0, 2, 1] = -0.0
    result = blend(text, vision, 0.0, method, match).hidden
    assert torch.equal(result, text) and result.signbit()[0, 2, 1]
    assert result is not text, "the text side is the caller's"


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", [m for m in METHODS if m != "append"])
def test_there_is_no_jump_near_either_end(method, match):
    text, vision = sides(4, 8, 21, 6, 2.0)
    ends = [blend(text, vision, alpha, method, match).hidden.double() for alpha in (0.0, 1.0)]
    span = float((ends[1] - ends[0]).norm())
    if method == "slerp":
        span += math.pi * float(max(end.norm() for end in ends))  # an arc is longer than its chord
    for step in (1e-3, 1e-5):
        near = [blend(text, vision, a, method, match).hidden.double() for a in (step, 1 - step)]
        for one, end in zip(near, ends, strict=True):
            assert float((one - end).norm()) <= 1.01 * step * span + 1e-5 * float(text.norm())


@given(
    seed=st.integers(0, 2**31),
    gap=st.floats(-3.0, 3.0),
    method=st.sampled_from(["interpolate", "linear"]),
)
def test_rms_per_token_at_one_half_leans_to_neither_side(seed, gap, method):
    """Only so does alpha mean what it says after the image model's RMSNorm."""
    text, vision = sides(seed, 6, 15, 8, 1.0)
    vision = vision * 10.0**gap
    mixed = blend(text, vision, 0.5, method, "rms per token", keep_sinks=False).hidden[0]
    other = aligned(vision[0].double().numpy(), method, 6)
    mixed, t = mixed.double().numpy(), text[0].double().numpy()

    def cosine(one, two):
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
        return (one * two).sum(1) / norms

    np.testing.assert_allclose(cosine(mixed, t), cosine(mixed, other), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("method", METHODS)
def test_values_at_the_end_of_the_range_give_no_infinity(method, match, dtype):
    limit = torch.finfo(torch.float16).max if dtype == torch.float16 else 1e5
    text, vision = sides(1, 6, 9, 4, 0.0)
    text, vision = text.to(dtype), vision.to(dtype)
    text[0, :, 1], vision[0, ::2, 2] = limit, -limit
    for alpha in (0.3, 1.0):
        for keep_sinks in (True, False):
            result = blend(text, vision, alpha, method, match, keep_sinks).hidden
            assert bool(result.isfinite().all()) and result.dtype == dtype


@pytest.mark.parametrize("vision_tokens", [1, 3])
@pytest.mark.parametrize("match", ["per dimension", "hybrid", "global"])
def test_a_vision_side_that_does_not_vary_is_matched_to_the_texts_mean(match, vision_tokens):
    """Rounding noise of the mean must not be blown up to the text's spread."""
    text, _ = sides(2, 7, 2, 64, 1.0)
    row = torch.rand(64, generator=torch.Generator().manual_seed(0)) + 0.1
    if match == "global":
        row = torch.full((64,), 0.1)
    vision = row.expand(1, vision_tokens, 64).clone()
    result = blend(text, vision, 1.0, "interpolate", match, keep_sinks=False).hidden[0].double()
    t = text[0].double().numpy()
    want = np.broadcast_to(t.mean() if match == "global" else t.mean(0), t.shape)
    if match == "hybrid":
        v = row.double().numpy()
        want = (want + (v - v.mean()) * std(t) / std(np.tile(v, (7, 1))) + t.mean()) / 2
    np.testing.assert_allclose(result.numpy(), want, atol=1e-3 * np.abs(t).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("match", MATCHES)
def test_every_entry_of_a_batch_is_blended_for_itself(method, match):
    pairs = [sides(seed, 5, 11, 4, 1.0) for seed in range(3)]
    text = torch.cat([pair[0] for pair in pairs])
    vision = torch.cat([pair[1] for pair in pairs])
    whole = blend(text, vision, 0.4, method, match).hidden
    for number, (one, other) in enumerate(pairs):
        want = blend(one, other, 0.4, method, match).hidden[0]
        torch.testing.assert_close(whole[number], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_one_vision_side_serves_every_text_of_a_batch(method):
    text = torch.cat([sides(seed, 5, 11, 4, 1.0)[0] for seed in range(3)])
    _, vision = sides(9, 5, 11, 4, 1.0)
    want = blend(text, vision.expand(3, -1, -1), 0.4, method).hidden
    torch.testing.assert_close(blend(text, vision, 0.4, method).hidden, want)


def test_the_defaults_are_the_published_ones():
    text, vision = sides(0, 5, 11, 4, 1.0)
    want = blend(text, vision, 0.3, "interpolate", "rms per token", True).hidden
    assert torch.equal(blend(text, vision).hidden, want)


@pytest.mark.parametrize("match", ["global", "per dimension", "hybrid"])
def test_appended_tokens_get_the_moments_of_the_whole_text_limited_to_3_std(match):
    """Sides of different length, and values beyond 3 std for the limit to act on."""
    text, vision = sides(6, 4, 60, 5, 1.0)
    vision[0, 7] += 40 * vision.std()
    got = blend(text, vision, 0.3, "append", match, keep_sinks=False).hidden[0, 4:]
    t, v = text[0].double().numpy(), vision[0].double().numpy()
    want, error = matched(v, t, match)
    assert (np.abs((v - v.mean(0)) / std(v, 0)) > 4).any()
    np.testing.assert_allclose(got.double().numpy(), want, atol=64 * EPS32 * np.max(error))
