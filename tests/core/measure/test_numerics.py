"""Statistics, reports and pictures of states with 6e4 and denormals, against NumPy float64."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import require_finite_states
from zimage_layer_lab.core.edit.mask_effects import effects_of_modes
from zimage_layer_lab.core.measure.dimension_stats import DimensionStats
from zimage_layer_lab.core.measure.histogram import MagnitudeHistogram
from zimage_layer_lab.core.measure.reference import (
    load_reference,
    reference_from_stats,
    save_reference,
)
from zimage_layer_lab.core.measure.split_stats import SplitStats
from zimage_layer_lab.core.outliers.detection import get_outlier_dimensions
from zimage_layer_lab.core.outliers.survey import survey_outliers, survey_table, zeroing
from zimage_layer_lab.core.profile.heat_map import heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise
from zimage_layer_lab.core.record.describing import describe
from zimage_layer_lab.core.record.record import current_record, plain_record

from ...oracles.massive_states import DTYPES, LOUD, SINKS, array, made, numbers_in

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_quiet = pytest.mark.parametrize("quiet", [False, True])


def assert_moments(stats, x):
    """float64 whatever the dtype was: nothing but its own rounding is left."""
    np.testing.assert_allclose(stats.mean, x.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(stats.std, x.std(0, ddof=1), rtol=1e-9)
    deviation = x - x.mean(0)
    kurtosis = (deviation**4).mean(0) / (deviation**2).mean(0) ** 2 - 3
    np.testing.assert_allclose(stats.excess_kurtosis, kurtosis, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(stats.max_abs, np.abs(x).max(0))
    assert stats.global_mean == pytest.approx(x.mean(), rel=1e-9, abs=1e-9)
    assert stats.global_std == pytest.approx(x.std(ddof=1), rel=1e-9)


@by_dtype
@by_quiet
def test_streamed_statistics(dtype, quiet):
    """In one part, in parts, and merged."""
    rows = made(dtype, tokens=30, quiet=quiet)[0]
    whole, first, second = (DimensionStats(rows.shape[1]) for _ in range(3))
    whole.update(rows)
    first.update(rows[:7])
    first.update(rows[7:11], range(7, 11))
    second.update(rows[11:], range(11, 30))
    for stats in (whole, first.merge(second)):
        assert_moments(stats, array(rows))
        assert not numbers_in(stats).bad
        places, shares = stats.farthest(torch.tensor(LOUD))
        for dimension, place, share in zip(LOUD, places, shares, strict=True):
            deviation = (array(rows)[:, dimension] - array(rows)[:, dimension].mean()) ** 2
            assert place.position == int(deviation.argmax())
            assert share == pytest.approx(deviation.max() / deviation.sum(), rel=1e-6)


@by_dtype
@by_quiet
def test_statistics_with_and_without_sinks(dtype, quiet):
    hidden = made(dtype, tokens=30, quiet=quiet)[0]
    stats = SplitStats(hidden.shape[1])
    stats.update(hidden)
    x = array(hidden)
    assert_moments(stats.all, x)
    assert_moments(stats.without_sinks, np.delete(x, SINKS, axis=0))
    squared = (x - x.mean(0)) ** 2
    want = squared[list(SINKS)].sum(0) / squared.sum(0)
    np.testing.assert_allclose(stats.sink_share(), want, rtol=1e-6)


@by_dtype
def test_a_reference_of_them_is_kept_and_read(dtype, tmp_path):
    stats = SplitStats(24)
    stats.update(made(dtype, quiet=True)[0])
    reference = reference_from_stats(stats, {"model": "m"})
    for suffix in (".safetensors", ".npz"):
        save_reference(reference, tmp_path / f"x{suffix}")
        loaded = load_reference(tmp_path / f"x{suffix}")
        assert torch.equal(loaded.std, stats.all.std)
        assert torch.equal(loaded.std_without_sinks, stats.without_sinks.std)


@by_dtype
@by_quiet
def test_outlier_ratios(dtype, quiet):
    hidden = made(dtype, quiet=quiet)
    spread = array(hidden)[0].std(0, ddof=1)
    ratio = spread / np.median(spread)
    found = get_outlier_dimensions(hidden)
    assert [dimension for dimension, _ in found] == sorted(LOUD, key=lambda d: -ratio[d])
    for dimension, said in found:
        assert said == pytest.approx(ratio[dimension], rel=1e-5)


@by_dtype
@by_quiet
def test_a_survey_and_what_zeroing_would_do(dtype, quiet):
    hidden = made(dtype, quiet=quiet)
    survey = survey_outliers(hidden)
    assert set(survey.dimensions) >= set(LOUD)
    assert not numbers_in(survey.outliers).bad
    spread = array(hidden)[0].std(0, ddof=1)
    for finding in survey.outliers:
        assert finding.whole.std == pytest.approx(spread[finding.dimension], rel=1e-6)
    table = survey_table(survey.outliers, str)
    assert "nan" not in table and "inf" not in table.replace("infinit", "")
    changed = zeroing(hidden, LOUD)
    assert not numbers_in(changed).bad
    x = array(hidden)[0]
    x = x / np.abs(x).max(-1, keepdims=True)
    want = (x[:, list(LOUD)] ** 2).sum(-1) / (x**2).sum(-1)
    loud = np.arange(len(x)) != 4
    np.testing.assert_allclose(array(changed.share_before)[0][loud], want[loud], rtol=1e-6)


@by_dtype
def test_the_modes_of_masking_side_by_side(dtype):
    for effect in effects_of_modes([made(dtype, seed, quiet=True)[0] for seed in range(2)]):
        assert math.isfinite(effect.other_l2) and math.isfinite(effect.other_cosine)
        assert effect.mode == "drop sinks" or math.isfinite(effect.sink_l2)


@by_dtype
@by_quiet
def test_the_median_magnitude_is_within_a_fifth_of_a_percent(dtype, quiet):
    values = made(dtype, tokens=31, quiet=quiet)
    histogram = MagnitudeHistogram()
    histogram.update(values[:, :9])
    histogram.update(values[:, 9:])
    assert histogram.median() == pytest.approx(np.median(np.abs(array(values))), rel=0.002)
    assert int(histogram.counts.sum()) == values.numel()


@by_dtype
@by_quiet
def test_a_profile(dtype, quiet):
    stats = ProfileStats(2, 24)
    prompts = [
        {layer: made(dtype, 3 * n + layer, quiet=quiet)[0] for layer in range(3)} for n in range(4)
    ]
    for states in prompts:
        stats.update(states)
    profile = summarise(stats, "m")
    assert not numbers_in(profile).bad
    assert not numbers_in(heat_map(stats)).bad
    for layer in profile.layers:
        x = np.concatenate([array(states[layer.index]) for states in prompts])
        assert layer.max_abs == np.abs(x).max()
        assert layer.std == pytest.approx(x.std(ddof=1), rel=1e-9)
        assert set(LOUD) <= {outlier.dimension for outlier in layer.outliers}
        assert set(layer.massive) == set(LOUD)
    positions = [list(SINKS)] * 4
    assert [list(places) for places in profile.sink_positions] == positions


@by_dtype
@by_quiet
def test_a_description(dtype, quiet):
    hidden = made(dtype, quiet=quiet)
    text = describe(hidden, plain_record(hidden.shape[1]).sealed(hidden))
    assert "nan" not in text.lower() and "inf" not in text.lower()


@by_dtype
@by_quiet
def test_a_records_checksum_outlives_a_wider_dtype_and_notices_any_change(dtype, quiet):
    hidden = made(dtype, quiet=quiet)
    record = plain_record(hidden.shape[1]).sealed(hidden)
    for wider in DTYPES[DTYPES.index(dtype) :]:
        if torch.promote_types(dtype, wider) == wider and wider != torch.float64:
            assert current_record(record, hidden.to(wider)) is record
    for row, dimension in ((0, 3), (1, 0)):
        other = hidden.clone()
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[hidden.element_size()]
        step = 1 if dtype != torch.float64 else 2**30  # It is of the values as float32.
        other.view(bits)[0, row, dimension] += step
        assert current_record(record, other) is not record


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_largest_value_of_a_dtype_is_no_infinity(dtype):
    hidden = made(dtype)
    hidden[0, 0, 0] = torch.finfo(dtype).max
    hidden[0, 0, 1] = torch.finfo(dtype).min
    require_finite_states(hidden, "the states")
    if dtype == torch.float16:
        assert {d for d, _ in get_outlier_dimensions(hidden)} == {0, 1, *LOUD}
