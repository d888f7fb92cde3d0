"""Massive activations of 6e4 and denormals in every dtype, against NumPy float64.

6e4 is nearly all that float16 holds: its square, or the sum of two, is infinite there. What a
function gives may differ from the formula by the dtype's own rounding and that of float32, in which
most of the work is done.
"""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dit.view import dit_change, rms_norm
from zimage_layer_lab.core.edit.blending import blend
from zimage_layer_lab.core.edit.layer_mix import MEAN_OF_NORMALISED, mix_layers
from zimage_layer_lab.core.edit.masking import mask_outlier_dimensions, mask_states
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.edit.style_delta import add_style
from zimage_layer_lab.core.edit.token_fit import fit_tokens
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.measure.scaling import mean_and_std, token_peak, token_rms
from zimage_layer_lab.core.measure.sinks import find_sinks

from ...oracles import token_fit_formulas
from ...oracles.blending_formulas import EPS32, std
from ...oracles.massive_states import (
    CONTENT,
    DTYPES,
    LOUD,
    NARROW,
    SINKS,
    array,
    close,
    made,
    numbers_in,
)
from ...oracles.resampling import area_weights, linear_weights

WIDE = [torch.float32, torch.float64]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def rms(values):
    peak = np.abs(values).max(-1, keepdims=True)  # The square of a denormal is 0 here too.
    return np.sqrt(((values / peak) ** 2).mean(-1, keepdims=True)) * peak


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_the_rms_and_the_peak_of_a_token(dtype):
    hidden = made(dtype, quiet=True)
    np.testing.assert_allclose(array(token_rms(hidden))[0], rms(array(hidden)[0]), rtol=1e-5)
    peak = np.abs(array(hidden)[0]).max(-1, keepdims=True)
    np.testing.assert_array_equal(array(token_peak(hidden))[0], peak)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_means_and_stds(dtype, axes):
    hidden = made(dtype)
    mean, spread = mean_and_std(hidden, axes)
    x = array(hidden)
    peak = np.abs(x).max(axes, keepdims=True)
    assert (np.abs(array(mean) - x.mean(axes, keepdims=True)) <= 8 * EPS32 * peak).all()
    want = x.std(axes, ddof=1, keepdims=True)
    np.testing.assert_allclose(array(spread), want, rtol=2e-5)


@by_dtype
@pytest.mark.parametrize("quiet", [False, True])
def test_sinks_are_those_whose_norm_is_over_eight_times_the_median(dtype, quiet):
    hidden = made(dtype, quiet=quiet)
    norms = np.linalg.norm(array(hidden), axis=-1)
    want = norms > 8 * np.median(norms, axis=-1, keepdims=True)
    assert find_sinks(hidden).tolist() == want.tolist()
    assert np.flatnonzero(want[0]).tolist() == list(SINKS)


@by_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_what_the_dit_sees(dtype, weighted):
    hidden, other = made(dtype, quiet=True), made(dtype, seed=1, quiet=True)
    weight = torch.linspace(0.5, 2, hidden.shape[-1]) if weighted else None

    def seen(x):
        normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return normed * array(weight) if weighted else normed

    before, after = seen(array(hidden)), seen(array(other))
    np.testing.assert_allclose(array(rms_norm(hidden, weight)), before, rtol=1e-5, atol=1e-6)
    change = dit_change(hidden, other, weight)
    loud = rms(array(hidden))[..., 0] > 0.1
    length = np.linalg.norm(before, axis=-1)
    relative = np.linalg.norm(after - before, axis=-1) / np.maximum(length, 1e-300)
    np.testing.assert_allclose(array(change.relative_l2)[loud], relative[loud], rtol=1e-4)
    product = (before * after).sum(-1) / np.maximum(length * np.linalg.norm(after, axis=-1), 1e-300)
    np.testing.assert_allclose(array(change.cosine)[loud], product[loud], atol=1e-5)
    assert not numbers_in(change).bad
    assert numbers_in(dit_change(hidden, hidden)).bad == []
    assert float(dit_change(hidden, hidden).relative_l2.max()) == 0


@by_dtype
@pytest.mark.parametrize("mode", ["zero", "mean", "clamp", "scale"])
def test_masked_dimensions(dtype, mode):
    hidden = made(dtype)
    x = array(hidden)[0]
    mean, spread = x.mean(0), x.std(0, ddof=1)
    median = np.median(spread)
    loud = spread > 10 * median
    assert set(LOUD) == set(np.flatnonzero(loud))
    changed = {
        "zero": np.zeros_like(x),
        "mean": np.broadcast_to(mean, x.shape),
        "clamp": np.clip(x, mean - 10 * median, mean + 10 * median),
        "scale": mean + (x - mean) * 10 * median / spread,
    }[mode]
    for result in (
        mask_states(hidden, mode=mode).hidden,
        mask_outlier_dimensions(hidden, 10, mode)[0],
    ):
        assert torch.equal(result[..., ~loud], hidden[..., ~loud])
        assert result.dtype == dtype
        close(array(result)[0][:, loud], changed[:, loud], dtype, size=6e4)
    assert not numbers_in(mask_states(hidden, mode=mode)).bad


@by_dtype
def test_masked_sinks(dtype):
    hidden = made(dtype, quiet=True)
    x = array(hidden)[0]
    dropped = mask_states(hidden, mode="drop sinks")
    assert torch.equal(dropped.hidden[0], hidden[0, CONTENT])
    replaced = mask_states(hidden, mode="sink to mean").hidden
    assert torch.equal(replaced[0, CONTENT], hidden[0, CONTENT])
    for sink in SINKS:
        close(array(replaced)[0, sink], x[CONTENT].mean(0), dtype, size=np.abs(x[CONTENT]).max())


def reference(width):
    mean = torch.linspace(-1, 1, width, dtype=torch.float64)
    spread = torch.linspace(0.5, 3, width, dtype=torch.float64)
    whole = (mean, spread, 0.25, 2.0, mean, spread)
    return Reference(*whole)


def normalized(x, method, aim):
    """The formulas of Normalize Embedding; ``x`` (tokens, width) is content."""
    mean, spread = (aim.mean.numpy(), aim.std.numpy()) if aim else (None, None)

    def whole():
        # Without sinks the reference's global figures are those of its dimensions together.
        goal = mean.mean()
        goal_std = np.sqrt((spread**2).mean() + ((mean - goal) ** 2).mean())
        return (x - x.mean()) / std(x) * goal_std + goal

    def per_dimension():
        own = std(x, 0)
        z = np.clip((x - x.mean(0)) / own, -3, 3)
        return z * spread + mean if aim else z * np.median(own) + x.mean(0)

    if method == "global":
        return whole()
    if method == "per dimension":
        return per_dimension()
    if method == "hybrid":
        return (whole() + per_dimension()) / 2
    level = np.sqrt((spread**2 + mean**2).mean()) if aim else np.median(rms(x))
    return x / rms(x) * level


@by_dtype
@pytest.mark.parametrize("keep_sinks", [True, False])
@pytest.mark.parametrize(
    ("method", "aimed"),
    [
        ("global", True),
        ("per dimension", True),
        ("per dimension", False),
        ("hybrid", True),
        ("rms per token", True),
        ("rms per token", False),
    ],
)
def test_normalized_states(dtype, method, aimed, keep_sinks):
    hidden = made(dtype)
    aim = reference(hidden.shape[-1]) if aimed else None
    result = normalize(hidden, method, aim, keep_sinks)
    assert result.hidden.dtype == dtype and not numbers_in(result).bad
    rows = CONTENT if keep_sinks else np.ones(10, bool)
    assert torch.equal(result.hidden[0, ~rows], hidden[0, ~rows])
    if method in ("global", "hybrid") and not keep_sinks:
        aim = None  # The whole view's global figures are given apart; that they hold is below.
        x = array(hidden)[0]
        if method == "global":
            close(array(result.hidden)[0], (x - x.mean()) / std(x) * 2.0 + 0.25, dtype, size=100)
        return
    want = normalized(array(hidden)[0][rows], method, aim)
    close(array(result.hidden)[0][rows], want, dtype, size=np.abs(want).max())


@by_dtype
def test_a_denormal_token_is_brought_to_the_others_rms(dtype):
    """Its square is 0 in every dtype."""
    hidden = made(dtype, quiet=True)
    x = array(hidden)[0]
    got = array(normalize(hidden, "rms per token").hidden)[0]
    level = np.median(rms(x[CONTENT]))
    close(got[CONTENT], x[CONTENT] / rms(x[CONTENT]) * level, dtype, size=level, times=64)


@by_dtype
@pytest.mark.parametrize("method", ["raw", "rms matched", MEAN_OF_NORMALISED])
def test_mixed_layers(dtype, method):
    states = [made(dtype, seed) for seed in range(3)]
    weights = np.array([0.5, 2.0, -0.5])
    x = [array(state)[0] for state in states]
    if method == "raw":
        want = sum(w * one for w, one in zip(weights, x, strict=True)) / weights.sum()
    elif method == "rms matched":
        matched = [one / rms(one) * rms(x[0]) for one in x]
        want = sum(w * one for w, one in zip(weights, matched, strict=True)) / weights.sum()
    else:
        want = sum((o - o.mean(-1, keepdims=True)) / o.std(-1, keepdims=True) for o in x) / 3
    got = mix_layers(states, weights.tolist(), method)
    assert got.dtype == dtype
    close(array(got)[0], want, dtype, size=np.abs(want).max(-1, keepdims=True))
    quiet = [made(dtype, seed, quiet=True) for seed in range(3)]
    assert not numbers_in(mix_layers(quiet, weights.tolist(), method)).bad


@by_dtype
@pytest.mark.parametrize("method", ["interpolate", "pool", "attention pool"])
def test_fitted_tokens(dtype, method):
    hidden = made(dtype, quiet=True)
    got = fit_tokens(hidden, 6, method)
    content = array(hidden)[0][CONTENT]
    weights = {
        "interpolate": lambda: linear_weights(8, 4),
        "pool": lambda: area_weights(8, 4),
        "attention pool": lambda: token_fit_formulas.attention(content, 4),
    }[method]()
    assert got.hidden.dtype == dtype and not numbers_in(got).bad
    fitted = [number for number, source in enumerate(got.sources) if source not in SINKS]
    size = np.abs(content).max()
    close(array(got.hidden)[0][fitted], weights @ content, dtype, size=size, times=64)
    sinks = [number for number, source in enumerate(got.sources) if source in SINKS]
    assert torch.equal(got.hidden[0, sinks], hidden[0, list(SINKS)])


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_what_a_narrow_dtype_cannot_hold_is_limited_to_its_largest_value(dtype):
    """Taking a style away four times over leads past what float16 holds."""
    largest = torch.finfo(dtype).max
    text = torch.full((1, 4, 8), largest * 0.99).to(dtype)
    text[..., ::2] *= -1
    for result in (
        add_style(text, -text, text, -4.0).hidden,
        mix_layers([text, -text], [2.0, -1.0], "raw"),
        mix_layers([text, text], [2.0, 1.0], "rms matched"),
    ):
        assert result.dtype == dtype and bool(result.isfinite().all())
        assert float(result.abs().max()) <= largest


def test_edits_of_large_states_are_those_of_their_parts():
    """4,096 tokens, 40 MiB, against the formula of a dimension."""
    states = torch.randn(4096, 2560, generator=torch.Generator().manual_seed(0))
    states[:, :2] *= 1000
    vision = states.flip(0)
    usual = Reference(torch.zeros(2560).double(), torch.ones(2560).double(), 0.0, 1.0)
    masked, _ = mask_outlier_dimensions(states, reference=usual)
    assert torch.equal(masked[:, 2:], states[:, 2:]) and not masked[:, :2].any()
    mixed = blend(states, vision, 0.25, match="none", keep_sinks=False).hidden[0]
    assert torch.allclose(mixed, torch.lerp(states, vision, 0.25), rtol=1e-6, atol=1e-6)
    whole = normalize(states[None], "per dimension", keep_sinks=False).hidden[0]
    z = (states[:, 7].double() - states[:, 7].double().mean()) / states[:, 7].double().std()
    level = states.double().std(0).quantile(0.5)
    expected = z.clamp(-3, 3) * level + states[:, 7].double().mean()
    assert torch.allclose(whole[:, 7].double(), expected, rtol=1e-5, atol=1e-5)
