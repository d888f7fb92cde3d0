"""Style delta against its formula in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.style_delta import add_style

from ...oracles.blending_formulas import aligned, std

WIDTH = 32
EPS = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-20}
"""Relative error of storing a value; float32 has some for the arithmetic too."""


def side(tokens, seed, *, width=WIDTH, sinks=(), scale=1.0, batch=1, dtype=torch.float32):
    """(batch, tokens, width): dimensions of unlike mean and std, and sink tokens."""
    rng = np.random.default_rng(seed)
    spread, mean = rng.uniform(0.5, 4, width), rng.normal(0, 3, width)
    values = rng.normal(size=(batch, tokens, width)) * spread + mean
    values[:, list(sinks)] *= 100
    return torch.from_numpy(values * scale).to(dtype)


def array(hidden):
    return hidden.double().numpy()


def content(hidden):
    """Which of (tokens, width) are no sinks: at most 8 times the median norm."""
    norm = np.linalg.norm(hidden, axis=1)
    return norm <= 8 * np.median(norm)


def delta_of(styled, neutral, length):
    """Styled minus neutral at ``length`` tokens, sinks of both left out."""
    styled, neutral = styled[content(styled)], neutral[content(neutral)]
    return aligned(styled - aligned(neutral, "interpolate", len(styled)), "interpolate", length)


def formula(text, styled, neutral, alpha):
    """``t + a * d * std(t) / std(d)`` over the text's content; sides are (tokens, width)."""
    rows = content(text)
    own = text[rows]
    delta = delta_of(styled, neutral, len(own))
    want = text.copy()
    want[rows] = own + alpha * delta * std(own) / std(delta)
    return want


def assert_close(got, want, relative):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= relative * np.abs(want).max()


@pytest.mark.parametrize("alpha", [-4.0, -1.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("styled", "neutral"), [(40, 40), (40, 27), (27, 40), (5, 40), (40, 5), (7, 3), (1, 1)]
)
def test_the_difference_is_brought_to_the_texts_length_and_std(styled, neutral, alpha):
    text, style, plain = side(12, 0), side(styled, 1), side(neutral, 2)
    result = add_style(text, style, plain, alpha)
    want = formula(array(text)[0], array(style)[0], array(plain)[0], alpha)
    assert_close(array(result.hidden)[0], want, EPS[torch.float32])
    assert (result.styled_tokens, result.neutral_tokens) == (styled, neutral)
    assert result.text_sinks == []


def test_alpha_is_the_std_of_what_is_added_over_the_texts():
    text = side(12, 0, sinks=(0,))
    result = add_style(text, side(40, 1, sinks=(0, 5)), side(30, 2, sinks=(3,)), 0.3)
    before, after = array(text)[0, 1:], array(result.hidden)[0, 1:]
    assert std(after - before) / std(before) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("kind", ["text", "styled", "neutral", "all"])
def test_sinks_of_every_side_are_left_alone(kind):
    sinks = {
        "text": (0,) if kind in ("text", "all") else (),
        "styled": (0, 9) if kind in ("styled", "all") else (),
        "neutral": (4,) if kind in ("neutral", "all") else (),
    }
    text, style, plain = (
        side(tokens, seed, sinks=sinks[name])
        for seed, (name, tokens) in enumerate({"text": 12, "styled": 40, "neutral": 33}.items())
    )
    result = add_style(text, style, plain, 0.7)
    want = formula(array(text)[0], array(style)[0], array(plain)[0], 0.7)
    kept = [i for i in range(12) if i not in sinks["text"]]
    assert_close(array(result.hidden)[0, kept], want[kept], EPS[torch.float32])
    assert torch.equal(result.hidden[:, list(sinks["text"])], text[:, list(sinks["text"])])
    assert result.text_sinks == list(sinks["text"])
    assert result.styled_tokens == 40 - len(sinks["styled"])
    assert result.neutral_tokens == 33 - len(sinks["neutral"])


@pytest.mark.parametrize("dtype", list(EPS))
def test_the_result_has_the_texts_dtype_whatever_the_others(dtype):
    text = side(12, 0, sinks=(2,), dtype=dtype)
    style, plain = side(20, 1, dtype=torch.bfloat16), side(9, 2, dtype=torch.float16)
    result = add_style(text, style, plain, 1.0)
    want = formula(array(text)[0], array(style)[0], array(plain)[0], 1.0)
    assert result.hidden.dtype == dtype
    assert_close(array(result.hidden)[0], want, EPS[dtype])


def test_a_float64_text_keeps_its_precision():
    sides = [side(n, seed, dtype=torch.float64) for seed, n in enumerate((12, 20, 9))]
    result = add_style(*sides, 0.3)
    assert result.hidden.dtype == torch.float64
    assert_close(array(result.hidden)[0], formula(*(array(s)[0] for s in sides), 0.3), 1e-12)


@pytest.mark.parametrize("alpha", [0.3, -4.0, 4.0])
def test_half_precision_near_its_limit_saturates_instead_of_overflowing(alpha):
    text, style, plain = (side(n, seed) for seed, n in enumerate((12, 20, 9)))
    text[..., 3], style[..., 5], plain[..., 6] = 6e4, 6e4, -6e4
    text, style, plain = text.half(), style.half(), plain.half()
    result = add_style(text, style, plain, alpha).hidden
    want = formula(array(text)[0], array(style)[0], array(plain)[0], alpha)
    assert bool(result.isfinite().all())
    assert_close(array(result)[0], np.clip(want, -65504, 65504), EPS[torch.float16])


@pytest.mark.parametrize("others", [1, 3])
def test_each_entry_of_a_batch_has_its_own_std(others):
    scales = torch.tensor([1.0, 10.0, 0.1])[:, None, None]
    text = side(12, 0, batch=3) * scales
    style, plain = side(20, 1, batch=others), side(9, 2, batch=others)
    result = array(add_style(text, style, plain, 0.5).hidden)
    for i in range(3):
        j = min(i, others - 1)
        want = formula(array(text)[i], array(style)[j], array(plain)[j], 0.5)
        assert_close(result[i], want, EPS[torch.float32])


def test_a_token_that_is_a_sink_in_any_entry_of_the_batch_stays_in_all():
    text = side(12, 0, batch=2)
    text[1, 4] *= 100
    result = add_style(text, side(20, 1), side(9, 2))
    assert result.text_sinks == [4]
    assert torch.equal(result.hidden[:, 4], text[:, 4])
    assert not torch.equal(result.hidden[0, 5], text[0, 5])


@pytest.mark.parametrize("dtype", list(EPS))
def test_alpha_0_is_the_text_bit_for_bit(dtype):
    text = side(12, 0, sinks=(0,), dtype=dtype)
    text[0, 5, 5] = -0.0
    result = add_style(text, side(20, 1), side(9, 2), 0.0).hidden
    assert result.dtype == dtype
    assert torch.equal(result, text)
    assert torch.equal(result.signbit(), text.signbit())


def test_opposite_alphas_mirror_each_other_about_the_text():
    text, style, plain = side(12, 0, sinks=(0,)), side(20, 1), side(9, 2)
    more, less = (array(add_style(text, style, plain, alpha).hidden) for alpha in (1.0, -1.0))
    assert_close((more + less) / 2, array(text), EPS[torch.float32])
    assert np.abs(more - less).max() > 1


def test_swapping_styled_and_neutral_of_one_length_is_the_opposite_alpha():
    text, style, plain = side(12, 0), side(20, 1), side(20, 2)
    one = add_style(text, style, plain, 0.8).hidden
    assert_close(array(add_style(text, plain, style, -0.8).hidden), array(one), 1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_length_of_the_difference_does_not_count(factor):
    text, style, plain = side(12, 0), side(20, 1), side(20, 2)
    one = add_style(text, style, plain).hidden
    other = add_style(text, style * factor, plain * factor).hidden
    assert_close(array(other), array(one), 1e-5)


@pytest.mark.parametrize("dtype", list(EPS))
def test_equal_sides_leave_the_text_untouched(dtype):
    text, style = side(12, 0, dtype=dtype), side(20, 1, dtype=dtype)
    result = add_style(text, style, style.clone(), 4.0)
    assert torch.equal(result.hidden, text) and result.delta_rms == 0


@pytest.mark.parametrize("neutral", [3, 7, 19, 37])
def test_rounding_is_not_blown_up_to_a_style(neutral):
    """The same token over and over, in another number: area means differ in the last bit."""
    token = side(1, 1)
    result = add_style(side(12, 0), token.repeat(1, 20, 1), token.repeat(1, neutral, 1), 4.0)
    assert torch.equal(result.hidden, side(12, 0)) and result.delta_rms == 0


def test_a_difference_far_below_the_sides_but_above_rounding_counts():
    text, style = side(12, 0), side(20, 1)
    plain = style - 1e-3 * side(20, 2)
    result = add_style(text, style, plain)
    want = formula(array(text)[0], array(style)[0], array(plain)[0], 0.3)
    assert_close(array(result.hidden)[0], want, 1e-3)


def test_the_size_of_the_difference_is_told_relative_to_the_styled_side():
    style, plain = side(20, 1, sinks=(0,)), side(20, 2, sinks=(0,))
    x, y = array(style)[0, 1:], array(plain)[0, 1:]
    want = np.sqrt(((x - y) ** 2).mean() / (x**2).mean())
    assert add_style(side(12, 0), style, plain).delta_rms == pytest.approx(want, rel=1e-5)


def test_a_styled_side_of_zeros_still_differs_from_a_neutral_one():
    text, plain = side(12, 0), side(20, 2)
    result = add_style(text, torch.zeros(1, 20, WIDTH), plain, 0.5)
    want = formula(array(text)[0], np.zeros((20, WIDTH)), array(plain)[0], 0.5)
    assert_close(array(result.hidden)[0], want, EPS[torch.float32])
    assert result.delta_rms > 0


@pytest.mark.parametrize("tokens", [1, 2])
def test_one_token_of_text_is_styled_by_the_mean_of_the_difference(tokens):
    text, style, plain = side(tokens, 0), side(20, 1), side(20, 2)
    result = array(add_style(text, style, plain, 1.0).hidden)[0]
    assert_close(result, formula(array(text)[0], array(style)[0], array(plain)[0], 1.0), 1e-6)


def test_a_single_value_has_no_std_and_stays():
    one = torch.full((1, 1, 1), 2.0)
    assert torch.equal(add_style(one, one * 3, one * 2).hidden, one)


@given(
    tokens=st.tuples(*[st.integers(1, 12)] * 3),
    width=st.integers(1, 6),
    dtype=st.sampled_from(list(EPS)),
    exponent=st.integers(-6, 4),
    alpha=st.floats(-4, 4),
    seed=st.integers(0, 999),
)
def test_any_finite_states_stay_finite_and_the_inputs_unmodified(
    tokens, width, dtype, exponent, alpha, seed
):
    generator = torch.Generator().manual_seed(seed)
    text, style, plain = (
        (torch.randint(-3, 4, (1, n, width), generator=generator) * 10.0**exponent).to(dtype)
        for n in tokens
    )
    before = [one.clone() for one in (text, style, plain)]
    try:
        result = add_style(text, style, plain, alpha).hidden
    except ValueError as error:  # zeros beside anything else: the others are sinks
        assert "counts as a sink" in str(error)
        return
    assert result.shape == text.shape and result.dtype == dtype
    assert bool(result.isfinite().all())
    assert all(map(torch.equal, before, (text, style, plain)))


@pytest.mark.parametrize("alpha", [5, -4.01, math.nan, math.inf])
def test_an_alpha_outside_its_limits_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha is .* between -4 and 4"):
        add_style(side(12, 0), side(20, 1), side(9, 2), alpha)


@pytest.mark.parametrize("name", ["styled", "neutral"])
def test_a_side_of_another_width_or_batch_is_named(name):
    sides = {"text": side(12, 0, batch=3), "styled": side(20, 1), "neutral": side(20, 2)}
    with pytest.raises(ValueError, match=f"text side has 32 dimensions and the {name} side 8"):
        add_style(**{**sides, name: side(20, 1, width=8)})
    with pytest.raises(ValueError, match=f"batch of 3 and the {name} side of 2"):
        add_style(**{**sides, name: side(20, 1, batch=2)})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["text", "styled", "neutral"])
def test_a_non_finite_value_is_named_with_its_side(name, value):
    sides = {"text": side(12, 0), "styled": side(20, 1), "neutral": side(20, 2)}
    sides[name][0, 4, 7] = value
    with pytest.raises(NonFiniteError, match=f"the {name} side .*token 4 dimension 7 is {value}"):
        add_style(**sides)


@pytest.mark.parametrize("shape", [(1, 0, WIDTH), (WIDTH,), (1, 1, 2, WIDTH)])
@pytest.mark.parametrize("name", ["text", "styled", "neutral"])
def test_a_side_that_is_no_states_is_refused(name, shape):
    sides = {"text": side(12, 0), "styled": side(20, 1), "neutral": side(20, 2)}
    with pytest.raises(ValueError, match=f"the {name} side has shape"):
        add_style(**{**sides, name: torch.ones(shape)})


@pytest.mark.parametrize("name", ["text", "styled", "neutral"])
def test_a_side_of_nothing_but_sinks_is_refused(name):
    """Each entry of the batch has its sink elsewhere, so that no token is left to all."""
    sides = {n: side(6, i, batch=3) for i, n in enumerate(("text", "styled", "neutral"))}
    only = side(3, 5, batch=3)
    only[range(3), range(3)] *= 100
    with pytest.raises(ValueError, match=f"every token of the {name} side counts as a sink"):
        add_style(**{**sides, name: only})


def test_rounding_of_a_large_neutral_side_is_no_style():
    """float32 holds 1e6 to about 0.06: a difference of 0.1 from it is hardly more than that."""
    text, styled = side(9, 0), side(6, 1, scale=0.1)
    neutral = torch.full_like(styled, 1e6)
    assert torch.equal(add_style(text, styled, neutral, 0.5).hidden, text)


def test_rounding_of_neutral_tokens_that_cancel_is_no_style():
    """Two by two they are 1e6 to either side of the styled token: their mean is that token but for
    float32's rounding of 1e6, some 0.03, beside a styled side that is itself no more than 0.1."""
    text, styled = side(9, 0), side(6, 1, scale=0.1)
    neutral = styled.repeat_interleave(2, dim=1)
    neutral[:, ::2] += 1e6
    neutral[:, 1::2] -= 1e6
    rounding = neutral.unflatten(1, (6, 2)).mean(2) - styled
    assert 1e-3 < float(rounding.std()) < 0.1
    assert torch.equal(add_style(text, styled, neutral, 0.5).hidden, text)
