"""The streamed median of |x| against NumPy's."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.histogram import MagnitudeHistogram


def histogram(*chunks):
    counted = MagnitudeHistogram()
    for chunk in chunks:
        counted.update(torch.from_numpy(np.asarray(chunk, dtype=np.float32)))
    return counted


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 4000),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 60.0, 1e5]),
)
def test_the_median_is_within_a_fifth_of_a_percent(seed, count, scale):
    values = (np.random.default_rng(seed).normal(0, scale, count)).astype(np.float32)
    # Any number between the two middle values is a median.
    low, high = (np.quantile(np.abs(values), 0.5, method=side) for side in ("lower", "higher"))
    assert low * 0.998 <= histogram(values).median() <= high * 1.002


def test_chunks_and_merges_count_exactly():
    values = np.random.default_rng(3).normal(0, 10, 10_001)
    whole = histogram(values)
    parts = histogram(values[:17]).merge(histogram(values[17:]))
    assert torch.equal(whole.counts, parts.counts)
    assert int(whole.counts.sum()) == 10_001


def test_non_finite_values_are_left_out():
    assert histogram([math.nan, math.inf, -math.inf, 2.0]).median() == pytest.approx(2.0, rel=2e-3)


def test_nothing_seen_has_no_median():
    assert math.isnan(MagnitudeHistogram().median())


def test_zeros_count():
    assert histogram([0.0, 0.0, 0.0, 5.0]).median() < 1e-30


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_dtype(dtype):
    counted = MagnitudeHistogram()
    counted.update(torch.tensor([-4.0, 1.0, 8.0], dtype=dtype))
    assert counted.median() == pytest.approx(4.0, rel=2e-3)
