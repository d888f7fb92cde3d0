"""Outlier dimensions in both directions, and who carries them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.measure.reference import (
    Reference,
    published_qwen3_4b,
    reference_from_stats,
)
from zimage_layer_lab.core.measure.sequence_stats import SequenceStats
from zimage_layer_lab.core.measure.split_stats import SplitStats
from zimage_layer_lab.core.outliers.detection import (
    Expected,
    expected_for,
    find_outliers,
    get_outlier_dimensions,
    ratio_in_words,
    std_ratio,
)
from zimage_layer_lab.core.outliers.survey import survey_outliers


def reference(std, mean=0.0):
    std = torch.as_tensor(std, dtype=torch.float64)
    return Reference(torch.full_like(std, mean), std, 0.0, float(std.mean()), provenance={})


def states(stds, tokens=40, seed=0):
    """(1, tokens, width) float32 whose dimensions have exactly these stds and mean 5."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(tokens, len(stds)))
    rows = (rows - rows.mean(0)) / rows.std(0, ddof=1) * np.array(stds) + 5.0
    return torch.from_numpy(rows.astype(np.float32))[None]


def test_the_headline_927_6_against_1_5_is_617_9x_quieter_not_louder():
    """llm-dit's own table: dims 396 and 4 of Qwen3-4B text against Qwen3-VL image tokens.

    The table prints the image tokens' stds as 1.5 and 64.1, and its ratio 617.9 is that of the
    unrounded 1.5012. "617x" reads as if image tokens were louder there; a one-sided test of
    ratio > 10 cannot see it.
    """
    text_std = torch.ones(8, dtype=torch.float64)
    text_std[3], text_std[6] = 927.6, 2689.6
    image_std = 927.6 / 617.9
    assert round(image_std, 1) == 1.5
    image = states([1.0, 1.0, 1.0, image_std, 1.0, 1.0, 64.1, 1.0], tokens=300)
    assert get_outlier_dimensions(image, 10.0, reference(text_std)) == []
    found = get_outlier_dimensions(image, 10.0, reference(text_std), direction="both")
    assert [dimension for dimension, _ in found] == [3, 6]
    assert found == get_outlier_dimensions(image, 10.0, reference(text_std), direction="quiet")
    assert [round(1 / ratio, 1) for _, ratio in found] == [617.9, 42.0]
    assert [round(ratio, 4) for _, ratio in found] == [0.0016, 0.0238]
    stats = SequenceStats(image)
    first, second = find_outliers(stats, expected_for(stats, reference(text_std)))
    assert (first.dimension, first.direction) == (3, "quiet")
    assert (second.dimension, second.direction) == (6, "quiet")
    assert ratio_in_words(first.ratio) == "617.9x quieter"
    assert ratio_in_words(second.ratio) == "42.0x quieter"


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1 / 617.9, "617.9x quieter"),
        (617.9, "617.9x louder"),
        (1.0, "1.0x louder"),
        (0.5, "2.0x quieter"),
        (0.0, "silent"),
    ],
)
def test_a_ratio_is_put_the_way_people_compare(ratio, words):
    assert ratio_in_words(ratio) == words


@given(
    width=st.integers(1, 12),
    tokens=st.integers(2, 30),
    seed=st.integers(0, 2**31),
    threshold=st.floats(1.0, 100.0),
    direction=st.sampled_from(["loud", "quiet", "both"]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)
def test_dimensions_ratios_and_order_equal_numpy(width, tokens, seed, threshold, direction, dtype):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-2, 3, width)
    hidden = torch.from_numpy(rng.normal(1, 1, (tokens, width)) * scale).to(dtype)
    ref_std = 10.0 ** rng.uniform(-2, 3, width)
    ratios = hidden.double().numpy().std(0, ddof=1) / ref_std
    loud, quiet = ratios > threshold, ratios < 1 / threshold
    flagged = {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]
    found = get_outlier_dimensions(hidden, threshold, reference(ref_std), direction)
    want = sorted(np.flatnonzero(flagged), key=lambda d: -_distance(ratios[d]))
    assert [d for d, _ in found] == want
    np.testing.assert_allclose([r for _, r in found], ratios[want], rtol=1e-6)


def _distance(ratio):
    return math.inf if ratio == 0 else abs(math.log(ratio))


def test_loud_ones_come_as_the_seeds_function_gives_them():
    """[(dim, ratio)] of plain numbers, the largest ratio first, only those above 10."""
    hidden = states([1.0, 30.0, 1.0, 500.0, 9.0, 1.0, 0.001])
    found = get_outlier_dimensions(hidden, reference=reference([1.0] * 7))
    assert [dimension for dimension, _ in found] == [3, 1]
    assert [ratio for _, ratio in found] == pytest.approx([500.0, 30.0], rel=1e-5)
    assert all(type(d) is int and type(r) is float for d, r in found)


def test_width_2560_without_a_reference_is_measured_against_the_published_numbers():
    stds = published_qwen3_4b().std.clone()
    stds[7] *= 20.0
    found = get_outlier_dimensions(states(stds.tolist(), tokens=50))
    assert [d for d, _ in found] == [7], "dims 4 and 396 are as loud as published: in line"
    assert found[0][1] == pytest.approx(20.0, rel=1e-4)


def test_another_width_without_a_reference_is_measured_against_its_own_median():
    found = get_outlier_dimensions(states([2.0, 2.0, 60.0, 2.0, 2.0]))
    assert [d for d, _ in found] == [2]
    assert found[0][1] == pytest.approx(30.0, rel=1e-4)


def test_tokens_by_width_and_a_batch_of_one_are_the_same():
    hidden = states([1.0, 1.0, 40.0])
    assert get_outlier_dimensions(hidden) == get_outlier_dimensions(hidden[0])


def sink_stats(sink_value=4000.0, loud_std=50.0):
    """Dim 1 is out of line by the sink at position 2 alone, dim 3 by every token."""
    hidden = states([1.0, 1.0, 1.0, loud_std, 1.0], tokens=60, seed=4)
    hidden[0, 2] = torch.tensor([5.0, sink_value, 5.0, 5.0, 5.0])
    return hidden, SequenceStats(hidden)


def test_an_outlier_is_told_sink_borne_from_channel_wide():
    hidden, stats = sink_stats()
    baseline = expected_for(stats, reference([1.0] * 5))
    by_dimension = {o.dimension: o for o in find_outliers(stats, baseline)}
    assert set(by_dimension) == {1, 3}
    sink_borne, wide = by_dimension[1], by_dimension[3]
    rows = hidden[0].double().numpy()
    squares = (rows - rows.mean(0)) ** 2
    share = squares[2] / squares.sum(0)
    content = np.delete(rows, 2, axis=0)
    for outlier in (sink_borne, wide):
        d = outlier.dimension
        assert outlier.std == pytest.approx(rows[:, d].std(ddof=1), rel=1e-6)
        assert outlier.std_without_sinks == pytest.approx(content[:, d].std(ddof=1), rel=1e-6)
        assert outlier.sink_share == pytest.approx(share[d], rel=1e-6, abs=1e-12)
        assert outlier.ratio == pytest.approx(outlier.std / 1.0)
        assert outlier.ratio_without_sinks == pytest.approx(outlier.std_without_sinks)
        farthest = squares[:, d].argmax()
        assert tuple(outlier.top) == (0, farthest)
        assert outlier.top_share == pytest.approx(squares[farthest, d] / squares[:, d].sum())
    assert sink_borne.kind == "sink-borne" and sink_borne.top == (0, 2)
    assert wide.kind == "channel-wide"


def test_judged_without_sinks_only_the_channel_wide_one_is_left():
    _, stats = sink_stats()
    baseline = expected_for(stats, reference([1.0] * 5), without_sinks=True)
    found = find_outliers(stats, baseline, without_sinks=True)
    assert [o.dimension for o in found] == [3]


def test_the_median_baseline_without_sinks_is_that_of_the_other_tokens():
    hidden, stats = sink_stats()
    content = np.delete(hidden[0].double().numpy(), 2, axis=0)
    baseline = expected_for(stats, None, without_sinks=True)
    median = np.median(content.std(0, ddof=1))
    np.testing.assert_allclose(baseline.std.numpy(), [median] * 5, rtol=1e-6)
    np.testing.assert_allclose(baseline.mean.numpy(), content.mean(0), rtol=1e-6)


def test_a_reference_of_another_width_is_refused_with_both_widths():
    with pytest.raises(ValueError, match="3 dimensions.*5"):
        get_outlier_dimensions(states([1.0] * 5), reference=reference([1.0] * 3))


@pytest.mark.parametrize("threshold", [math.nan, math.inf, 0.0, 0.99, -10.0])
def test_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        get_outlier_dimensions(states([1.0] * 3), threshold)


def test_an_unknown_direction_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="loud, quiet, both"):
        get_outlier_dimensions(states([1.0] * 3), direction="up")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_states_are_refused_by_token_and_dimension(bad):
    hidden = states([1.0] * 3)
    hidden[0, 7, 2] = bad
    with pytest.raises(NonFiniteError, match="token 7 dimension 2"):
        get_outlier_dimensions(hidden)


def test_one_token_has_no_spread_and_so_no_outliers():
    assert get_outlier_dimensions(torch.tensor([[1.0, 1e5, 0.0]]), direction="both") == []


def test_a_dimension_over_a_reference_of_zero_is_infinitely_loud_unless_both_are_zero():
    ratios = std_ratio(torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 2.0]))
    assert ratios.tolist() == [1.0, math.inf, 0.0]
    stats = SplitStats(2)
    stats.update(torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]))
    zeros = Expected(torch.zeros(2), torch.zeros(2), "zeros", torch.zeros(2), torch.zeros(2))
    assert [(o.dimension, o.direction) for o in find_outliers(stats, zeros)] == [(0, "loud")]


def test_the_input_is_not_modified():
    hidden = states([1.0, 100.0, 1.0])
    before = hidden.clone()
    get_outlier_dimensions(hidden, direction="both")
    assert torch.equal(hidden, before)


def test_the_view_without_sinks_is_measured_against_a_reference_without_sinks():
    """Or ordinary tokens look hundreds of times too quiet: the 617x, read the wrong way round."""
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(60, 12, generator=generator)
    hidden[0, 3] = 800.0
    stats = SplitStats(12)
    stats.update(hidden)
    [outlier] = find_outliers(stats, expected_for(stats, None), 10.0)
    assert outlier.dimension == 3
    own = hidden[1:].double().numpy().std(axis=0, ddof=1)
    assert outlier.ratio_without_sinks == pytest.approx(own[3] / np.median(own), rel=1e-6)
    baseline = expected_for(stats, reference_from_stats(stats, {}))
    np.testing.assert_allclose(baseline.std_without_sinks.numpy(), own, rtol=1e-9)
    assert find_outliers(stats, baseline, 1.5) == []


def test_where_one_token_is_left_without_sinks_that_view_says_nothing():
    hidden = torch.randn(1, 10, 16, generator=torch.Generator().manual_seed(0))
    hidden[0, 0, 5] = 900.0
    survey = survey_outliers(hidden, selected=torch.arange(10) < 2)
    assert survey.stats.without_sinks.tokens == survey.stats.sinks.tokens == 1
    assert [outlier.dimension for outlier in survey.outliers if outlier.bare is not None] == []
    assert 5 in survey.dimensions


@pytest.mark.parametrize(("share", "kind"), [(0.49, "channel-wide"), (0.51, "sink-borne")])
def test_a_dimension_is_sink_borne_from_half_of_its_variance_on(share, kind):
    """The share that docs and reports promise: half."""
    width, tokens = 16, 101
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(tokens, width))
    rows[0] = 1000.0 * rng.normal(size=width)
    loud = rng.normal(size=tokens) * 3e3
    loud[0] = 0.0
    # Of the squared deviations from the mean the sink's is to be this share of all.
    low, high = 0.0, 1e9
    for _ in range(200):
        loud[0] = (low + high) / 2
        squares = (loud - loud.mean()) ** 2
        low, high = (loud[0], high) if squares[0] / squares.sum() < share else (low, loud[0])
    rows[:, 7] = loud
    stats = SplitStats(width)
    stats.update(torch.from_numpy(rows), sinks=torch.arange(tokens) < 1)
    found = find_outliers(stats, expected_for(stats, None), 2.0)
    [of] = [outlier for outlier in found if outlier.dimension == 7]
    assert of.sink_share == pytest.approx(share, abs=1e-6) and of.kind == kind
