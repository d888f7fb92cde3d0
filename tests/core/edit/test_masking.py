"""Every masking mode against its formula in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.edit.masking import mask_outlier_dimensions, mask_states
from zimage_layer_lab.core.measure.reference import Reference, published_qwen3_4b

DIMENSION_MODES = ("zero", "clamp", "scale", "mean")
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.bfloat16])


def reference(std, mean=0.0):
    std = torch.as_tensor(std, dtype=torch.float64)
    mean = torch.as_tensor(mean, dtype=torch.float64).expand(std.shape).clone()
    return Reference(mean, std, 0.0, float(std.mean()), provenance={})


def states(stds, tokens=40, seed=0, mean=5.0):
    """(1, tokens, width) float32 whose dimensions have exactly these stds and this mean."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(tokens, len(stds)))
    rows = (rows - rows.mean(0)) / rows.std(0, ddof=1) * np.array(stds) + mean
    return torch.from_numpy(rows.astype(np.float32))[None]


def truth(hidden, mode, threshold, direction, ref_mean, ref_std, selected=None):
    """(masked float64, masked dimensions, gain), sinks not treated apart, unbiased std.

    ``gain`` (width,) is what scaling multiplies the rounding error of the mean by.
    """
    x = hidden.double().numpy()
    width = x.shape[-1]
    keep = np.ones(x.shape[1], dtype=bool) if selected is None else selected
    rows = x[:, keep].reshape(-1, width)
    mean = rows.mean(0)
    std = rows.std(0, ddof=1) if len(rows) > 1 else np.full(width, np.nan)
    ratio = std / ref_std
    loud, quiet = ratio > threshold, ratio < 1 / threshold
    flagged = {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]
    result, gain = x.copy(), np.ones(width)
    for d in np.flatnonzero(flagged):
        v, reach = x[:, keep, d], threshold * ref_std[d]
        if mode == "zero":
            v = np.zeros_like(v)
        elif mode == "mean":
            v = np.full_like(v, ref_mean[d])
        elif mode == "clamp":
            v = np.clip(v, ref_mean[d] - reach, ref_mean[d] + reach)
        elif std[d] > 0:
            gain[d] = (reach if loud[d] else ref_std[d] / threshold) / std[d]
            v = mean[d] + (v - mean[d]) * gain[d]
        result[:, keep, d] = v
    return result, np.flatnonzero(flagged).tolist(), np.maximum(gain, 1)


def assert_rounds_to(got, want, dtype, magnitude):
    """``got`` is ``want`` to the dtype's rounding plus float32's at ``magnitude`` (width,)."""
    info = torch.finfo(dtype)
    want = np.clip(want, -info.max, info.max)
    allowed = np.abs(want) * info.eps + magnitude * 4 * np.finfo(np.float32).eps + info.tiny
    error = np.abs(got.double().numpy() - want)
    assert (error <= allowed).all(), (error / allowed).max()


@given(
    mode=st.sampled_from(DIMENSION_MODES),
    direction=st.sampled_from(["loud", "quiet", "both"]),
    batch=st.integers(1, 3),
    tokens=st.integers(1, 20),
    width=st.integers(1, 8),
    threshold=st.floats(1.0, 50.0),
    dtype=DTYPES,
    largest=st.floats(-2.0, 5.0),
    seed=st.integers(0, 2**31),
    some=st.booleans(),
)
def test_each_mode_equals_its_formula_in_float64(
    mode, direction, batch, tokens, width, threshold, dtype, largest, seed, some
):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(largest - 4, largest, width)
    limit = min(1e5, torch.finfo(dtype).max)
    x = rng.normal(rng.normal(0, 2, width), 1, (batch, tokens, width)) * scale
    hidden = torch.from_numpy(np.clip(x, -limit, limit)).to(dtype)
    ref_std = scale * 10.0 ** rng.uniform(-2, 2, width)
    ref_mean = rng.normal(0, 1, width) * ref_std
    selected = rng.random(tokens) < 0.6 if some else None
    if some and not selected.any():
        selected[0] = True
    before = hidden.clone()
    result = mask_states(
        hidden,
        mode=mode,
        threshold=threshold,
        direction=direction,
        reference=reference(ref_std, ref_mean),
        selected=None if selected is None else torch.from_numpy(selected),
    )
    want, dimensions, gain = truth(hidden, mode, threshold, direction, ref_mean, ref_std, selected)
    assert result.masked == dimensions
    assert torch.equal(hidden, before), "the input is never modified"
    assert result.hidden.dtype == dtype and result.hidden.shape == hidden.shape
    assert bool(result.hidden.isfinite().all())
    magnitude = np.abs(x).max((0, 1)) * gain + np.abs(ref_mean)
    assert_rounds_to(result.hidden, want, dtype, magnitude)
    others = [d for d in range(width) if d not in dimensions]
    assert torch.equal(result.hidden[..., others], hidden[..., others])
    if not dimensions:
        assert result.hidden is hidden
    if selected is not None:
        untouched = ~torch.from_numpy(selected)
        assert torch.equal(result.hidden[:, untouched], hidden[:, untouched])
    assert result.kept == list(range(tokens)) and result.touched_sinks == []


@pytest.mark.parametrize("direction", ["loud", "both"])
@given(threshold=st.floats(1.0, 40.0), seed=st.integers(0, 1000))
def test_scale_keeps_the_mean_and_takes_a_loud_std_to_threshold_times_the_reference(
    direction, threshold, seed
):
    """llm-dit scales about zero, so a dimension of mean 997 fell to 294."""
    hidden = states([1.0, 500.0, 1.0], seed=seed, mean=997.0)
    ref = reference([1.0, 2.0, 1.0])
    result = mask_states(
        hidden, mode="scale", threshold=threshold, direction=direction, reference=ref
    )
    rows = result.hidden[0, :, 1].double().numpy()
    assert rows.mean() == pytest.approx(997.0, rel=1e-5)
    assert rows.std(ddof=1) == pytest.approx(threshold * 2.0, rel=1e-3)


def test_scale_takes_a_quiet_std_up_to_the_reference_over_threshold():
    hidden = states([1.0, 0.01, 1.0])
    result = mask_states(
        hidden, mode="scale", direction="quiet", threshold=10.0, reference=reference([1.0] * 3)
    )
    rows = result.hidden[0, :, 1].double().numpy()
    assert rows.std(ddof=1) == pytest.approx(0.1, rel=1e-3)
    assert rows.mean() == pytest.approx(5.0, rel=1e-5)


def test_clamp_limits_values_and_is_not_scale():
    """In llm-dit the two are one formula (equal to 6e-9)."""
    hidden = states([1.0, 300.0, 1.0])
    ref = reference([1.0] * 3, mean=[0.0, 20.0, 0.0])
    clamped = mask_states(hidden, mode="clamp", threshold=10.0, reference=ref).hidden
    scaled = mask_states(hidden, mode="scale", threshold=10.0, reference=ref).hidden
    before, after = hidden[0, :, 1], clamped[0, :, 1]
    assert float(after.min()) == 10.0 and float(after.max()) == 30.0
    inside = (before > 10.0) & (before < 30.0)
    assert torch.equal(after[inside], before[inside]), "values inside the limits stay"
    assert float((clamped - scaled).abs().max()) > 1.0


def test_only_the_chosen_direction_is_masked_but_both_are_reported():
    hidden = states([1.0, 100.0, 0.001, 1.0])
    ref = reference([1.0] * 4)
    for direction, masked in (("loud", [1]), ("quiet", [2]), ("both", [1, 2])):
        result = mask_states(hidden, direction=direction, reference=ref)
        assert result.masked == masked
        assert {o.dimension: o.direction for o in result.outliers} == {1: "loud", 2: "quiet"}
        assert not result.hidden[..., masked].any()


@pytest.mark.parametrize("mode", [*DIMENSION_MODES, "drop sinks", "sink to mean"])
def test_nothing_found_returns_the_very_same_tensor(mode):
    hidden = states([1.0, 2.0, 1.0])
    result = mask_states(hidden, mode=mode, direction="both", reference=reference([1.0] * 3))
    assert result.hidden is hidden
    assert result.masked == [] and result.outliers == [] and result.touched_sinks == []
    assert mask_outlier_dimensions(hidden, mode=mode, reference=reference([1.0] * 3))[0] is hidden


@pytest.mark.parametrize("mode", DIMENSION_MODES)
def test_a_single_token_has_no_spread_and_passes_through(mode):
    hidden = torch.tensor([[[1.0, 1e5, -3.0]]])
    assert mask_states(hidden, mode=mode, direction="both").hidden is hidden


@pytest.mark.parametrize("mode", DIMENSION_MODES)
def test_a_dimension_over_a_reference_std_of_zero_stays_finite(mode):
    hidden = states([1.0, 3.0])
    result = mask_states(hidden, mode=mode, reference=reference([1.0, 0.0]))
    assert result.masked == [1] and bool(result.hidden.isfinite().all())


def test_without_a_reference_the_median_of_its_own_dimensions_is_the_measure():
    hidden = states([2.0, 2.0, 90.0, 2.0, 2.0])
    result = mask_states(hidden, mode="scale", threshold=10.0)
    assert result.masked == [2]
    assert float(result.hidden[0, :, 2].double().std()) == pytest.approx(20.0, rel=1e-3)
    assert "median" in result.expected.name


def test_the_seed_function_returns_its_documented_info():
    hidden = states([1.0, 100.0, 1.0, 40.0])[0]
    masked, info = mask_outlier_dimensions(hidden, reference=reference([1.0] * 4))
    assert masked.shape == hidden.shape and not masked[:, [1, 3]].any()
    assert info["masked_dimensions"] == [1, 3]
    assert info["ratios"] == {1: pytest.approx(100, rel=1e-4), 3: pytest.approx(40, rel=1e-4)}
    assert (info["mode"], info["threshold"]) == ("zero", 10.0)


def test_the_seed_function_measures_width_2560_against_the_published_numbers():
    stds = published_qwen3_4b().std.clone()
    stds[396] *= 1e-3
    stds[12] *= 50.0
    hidden = states(stds.tolist(), tokens=12)
    assert mask_outlier_dimensions(hidden)[1]["masked_dimensions"] == [12]
    both = mask_outlier_dimensions(hidden, direction="both")[1]["masked_dimensions"]
    assert both == [12, 396]


@given(dtype=DTYPES, seed=st.integers(0, 1000))
def test_masking_by_zero_or_clamp_twice_changes_no_more_values(dtype, seed):
    hidden = states([1.0, 200.0, 1.0], seed=seed).to(dtype)
    ref = reference([1.0] * 3, mean=5.0)
    for mode in ("zero", "clamp"):
        once = mask_states(hidden, mode=mode, reference=ref).hidden
        twice = mask_states(once, mode=mode, reference=ref).hidden
        assert torch.equal(once, twice)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_largest_values_of_a_dtype_give_no_infinity(dtype):
    limit = torch.finfo(torch.float16).max if dtype == torch.float16 else 1e5
    hidden = torch.ones(1, 8, 4, dtype=dtype)
    hidden[0, ::2, 1], hidden[0, 1::2, 1] = limit, -limit
    far = reference([1.0, 1.0, 1.0, 1.0], mean=[0.0, 3e5, 0.0, 0.0])
    for mode in DIMENSION_MODES:
        result = mask_states(hidden, mode=mode, reference=far)
        assert result.masked == [1]
        assert bool(result.hidden.isfinite().all()), mode
        assert math.isfinite(float(result.hidden.float().abs().max()))


@pytest.mark.parametrize("mode", ["clamp", "mean"])
@pytest.mark.parametrize("exclude_sinks", [False, True])
def test_judged_without_sinks_the_references_figures_without_sinks_count(mode, exclude_sinks):
    hidden = states([1.0, 1.0, 400.0, 1.0])
    width = hidden.shape[-1]
    with_sinks = torch.full((width,), 13.2).double(), torch.full((width,), 3.0).double()
    without = torch.zeros(width).double(), torch.ones(width).double()
    both = Reference(*with_sinks, 0.0, 1.0, *without, provenance={})
    result = mask_states(hidden, mode=mode, exclude_sinks=exclude_sinks, reference=both)
    mean, std = (0.0, 1.0) if exclude_sinks else (13.2, 3.0)
    expected = hidden.numpy().copy()
    low, high = mean - 10 * std, mean + 10 * std
    column = expected[..., 2]
    expected[..., 2] = np.clip(column, low, high) if mode == "clamp" else mean
    assert result.masked == [2]
    np.testing.assert_allclose(result.hidden.numpy(), expected, rtol=1e-6)


def test_a_sink_outside_the_selection_has_no_part_in_the_mean_of_the_others():
    hidden = states([1.0] * 8, tokens=20, mean=0.0)
    hidden[0, [0, 7]] = 900.0
    selected = torch.arange(20) != 7
    result = mask_states(hidden, mode="sink to mean", selected=selected)
    others = np.delete(hidden[0].double().numpy(), [0, 7], axis=0).mean(0)
    np.testing.assert_allclose(result.hidden[0, 0].numpy(), others, atol=1e-6)
    assert torch.equal(result.hidden[0, 1:], hidden[0, 1:]) and result.touched_sinks == [0]


def test_scale_leaves_a_dimension_that_does_not_vary_as_it_is():
    hidden = states([1.0, 1.0, 0.0, 1.0])
    result = mask_states(hidden, mode="scale", direction="quiet")
    assert result.masked == [2]
    torch.testing.assert_close(result.hidden, hidden, rtol=1e-6, atol=0)
