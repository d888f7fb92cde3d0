"""Streaming statistics against NumPy in float64 over everything at once."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.dimension_stats import NAMED_NON_FINITE, DimensionStats

FIRST = torch.tensor([0])


def random_rows(tokens, width, seed, largest=1e5):
    """(tokens, width) float32 of very different means and spreads per dimension."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-3, math.log10(largest) - 1, width)
    mean = rng.normal(0, 10, width) * scale
    rows = rng.normal(0, 1, (tokens, width)) * scale + np.clip(mean, -largest / 2, largest / 2)
    return np.clip(rows, -largest, largest).astype(np.float32)


def streamed(chunks, width):
    stats = DimensionStats(width)
    for prompt, chunk in enumerate(chunks):
        stats.update(torch.from_numpy(np.ascontiguousarray(chunk)), prompt=prompt)
    return stats


def assert_equals_numpy(stats, rows, rel=1e-6):
    rows = rows.astype(np.float64)
    assert stats.tokens == len(rows)
    np.testing.assert_allclose(stats.mean.numpy(), rows.mean(0), rtol=rel, atol=1e-9)
    np.testing.assert_allclose(stats.std.numpy(), rows.std(0, ddof=1), rtol=rel, atol=1e-9)
    np.testing.assert_array_equal(stats.max_abs.numpy(), np.abs(rows).max(0))
    assert stats.global_mean == pytest.approx(rows.mean(), rel=rel, abs=1e-9)
    assert stats.global_std == pytest.approx(rows.std(ddof=1), rel=rel)


def test_a_million_rows_with_values_up_to_1e5_agree_to_1e_6():
    rows = random_rows(1_000_000, 6, seed=1)
    assert np.abs(rows).max() > 1e4
    assert_equals_numpy(streamed(np.array_split(rows, 37), 6), rows)


def test_a_small_spread_on_a_large_mean_survives():
    """Sum and sum of squares would lose it: 1e5 squared is 1e10 times the variance."""
    rng = np.random.default_rng(5)
    rows = (1e5 + rng.normal(0, 1, (50_000, 3))).astype(np.float32)
    assert_equals_numpy(streamed(np.array_split(rows, 50), 3), rows)


@given(
    tokens=st.integers(2, 60),
    width=st.integers(1, 8),
    pieces=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_any_split_into_chunks_agrees_with_numpy(tokens, width, pieces, seed):
    rows = random_rows(tokens, width, seed)
    assert_equals_numpy(streamed(np.array_split(rows, pieces), width), rows)


@given(seed=st.integers(0, 2**31), order=st.permutations(range(5)))
def test_the_order_of_merging_does_not_matter(seed, order):
    rows = random_rows(40, 4, seed)
    parts = []
    for prompt, chunk in enumerate(np.array_split(rows, 5)):
        part = DimensionStats(4)
        part.update(torch.from_numpy(chunk), prompt=prompt)
        parts.append(part)
    merged = parts[order[0]]
    for number in order[1:]:
        merged = merged.merge(parts[number])
    straight = streamed(np.array_split(rows, 5), 4)
    assert_equals_numpy(merged, rows)
    for name in ("count", "low", "high", "low_place", "high_place"):
        assert torch.equal(getattr(merged, name), getattr(straight, name)), name
    torch.testing.assert_close(merged.m2, straight.m2, rtol=1e-10, atol=1e-10)
    assert merged.farthest(torch.arange(4))[0] == straight.farthest(torch.arange(4))[0]


def test_equal_extremes_have_one_place_whatever_the_order_of_merging():
    """A sink at position 0 has the same value in every prompt; shards finish in any order."""
    parts = []
    for prompt in (0, 1):
        part = DimensionStats(1)
        part.update(torch.tensor([[900.0], [1.0], [-3.0]]), prompt=prompt)
        parts.append(part)
    one, other = parts[0].merge(parts[1]), parts[1].merge(parts[0])
    assert one.farthest(FIRST)[0] == other.farthest(FIRST)[0] == [(0, 0)]
    assert torch.equal(one.low_place, other.low_place)


@pytest.mark.parametrize("places", [[(1, 0), (0, 5)], [(0, 5), (1, 0)], [(0, 5), (0, 2)]])
@pytest.mark.parametrize("merged", [False, True])
def test_equal_extremes_have_the_earliest_place_in_whatever_order_they_come(places, merged):
    """Of equal values the first prompt's, and in it the first token's, seen later or not."""
    stats = DimensionStats(2)
    for prompt, position in places:
        rows = torch.zeros(9, 2)
        rows[position] = torch.tensor([5.0, -5.0])
        part = DimensionStats(2) if merged else stats
        part.update(rows[position:], torch.arange(position, 9), prompt=prompt)
        stats = stats.merge(part) if merged else stats
    first = list(min(places))
    assert stats.high_place[0].tolist() == stats.low_place[1].tolist() == first
    assert stats.farthest(torch.arange(2))[0] == [tuple(first)] * 2


@pytest.mark.parametrize("tokens", [129, 192, 333])
def test_of_many_equal_extremes_the_first_one_is_the_place(tokens):
    rows = torch.randint(-4, 5, (tokens, 40), generator=torch.Generator().manual_seed(tokens))
    rows[:-1, 0], rows[-1, 0] = 0, 1  # The last row, in a block that is not full.
    stats = DimensionStats(40)
    stats.update(rows.float())
    # NumPy's argmin and argmax name the first.
    assert stats.low_place[:, 1].tolist() == rows.numpy().argmin(0).tolist()
    assert stats.high_place[:, 1].tolist() == rows.numpy().argmax(0).tolist()


def test_merging_modifies_neither_side_and_an_empty_side_changes_nothing():
    stats = streamed([random_rows(9, 3, 0)], 3)
    before = {n: getattr(stats, n).clone() for n in ("count", "mean", "m2", "low", "high")}
    empty = DimensionStats(3)
    for merged in (stats.merge(empty), empty.merge(stats)):
        for name, value in before.items():
            assert torch.equal(getattr(merged, name), value)
            assert torch.equal(getattr(stats, name), value)
    assert empty.tokens == 0 and not empty.mean.any()


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="3 and 4"):
        DimensionStats(3).merge(DimensionStats(4))
    for rows in (torch.zeros(5, 4), torch.zeros(5), torch.zeros(1, 5, 3)):
        with pytest.raises(ValueError, match="shape"):
            DimensionStats(3).update(rows)


def test_one_token_has_a_spread_of_zero_not_nan():
    stats = DimensionStats(3)
    stats.update(torch.tensor([[1.0, -2e4, 0.1]]))
    assert stats.std.tolist() == [0.0, 0.0, 0.0]
    assert stats.mean.tolist() == pytest.approx([1.0, -2e4, 0.1], rel=1e-7)
    assert math.isfinite(stats.global_std)
    assert stats.farthest(torch.tensor([1])) == ([(0, 0)], [0.0])


def test_no_token_at_all_gives_zeros_not_nan():
    stats = DimensionStats(2)
    stats.update(torch.zeros(0, 2))
    assert stats.tokens == 0
    for values in (stats.mean, stats.std, stats.max_abs):
        assert values.tolist() == [0.0, 0.0]
    assert stats.global_mean == 0.0 and stats.global_std == 0.0


@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 30))
def test_non_finite_values_are_counted_named_and_never_averaged_in(seed, tokens):
    rng = np.random.default_rng(seed)
    rows = random_rows(tokens, 4, seed)
    bad = rng.random(rows.shape) < 0.1
    rows[bad] = rng.choice([np.nan, np.inf, -np.inf], bad.sum())
    stats = DimensionStats(4)
    stats.update(torch.from_numpy(rows), positions=range(100, 100 + tokens), prompt=3)
    assert stats.non_finite == bad.sum()
    named = [(3, 100 + row, column) for row, column in np.argwhere(bad)][:NAMED_NON_FINITE]
    assert stats.non_finite_places == named
    for dimension in range(4):
        held = rows[~bad[:, dimension], dimension].astype(np.float64)
        assert int(stats.count[dimension]) == len(held)
        if len(held):
            assert float(stats.mean[dimension]) == pytest.approx(held.mean(), rel=1e-9, abs=1e-9)
            assert float(stats.max_abs[dimension]) == np.abs(held).max()
        std = held.std(ddof=1) if len(held) > 1 else 0.0
        assert float(stats.std[dimension]) == pytest.approx(std, rel=1e-6, abs=1e-9)


def test_non_finite_values_are_counted_through_merges_and_names_stay_few():
    stats = DimensionStats(2)
    for prompt in range(20):
        part = DimensionStats(2)
        part.update(torch.tensor([[math.nan, 1.0], [2.0, math.inf]]), prompt=prompt)
        stats = stats.merge(part)
    assert stats.non_finite == 40
    assert len(stats.non_finite_places) == NAMED_NON_FINITE
    assert stats.non_finite_places[:3] == [(0, 0, 0), (0, 1, 1), (1, 0, 0)]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), tokens=st.integers(2, 40), pieces=st.integers(1, 5))
def test_farthest_is_exact_against_brute_force(seed, tokens, pieces):
    rows = random_rows(tokens, 5, seed)
    chunks = np.array_split(rows, pieces)
    stats = streamed(chunks, 5)
    places = [(p, t) for p, chunk in enumerate(chunks) for t in range(len(chunk))]
    wide = rows.astype(np.float64)
    squares = (wide - wide.mean(0)) ** 2
    for dimension, (place, share) in enumerate(zip(*stats.farthest(torch.arange(5)), strict=True)):
        row = places.index(tuple(place))
        assert squares[row, dimension] == pytest.approx(squares[:, dimension].max(), rel=1e-9)
        want = squares[:, dimension].max() / squares[:, dimension].sum()
        assert share == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_is_measured_in_float64(dtype):
    """In float16 the sum alone would overflow, in bfloat16 the mean would stall."""
    rows = torch.from_numpy(random_rows(4000, 3, 2, largest=6e4)).to(dtype)
    stats = DimensionStats(3)
    stats.update(rows)
    assert stats.mean.dtype == torch.float64
    assert_equals_numpy(stats, rows.double().numpy())


def test_the_input_is_not_modified_and_a_graph_is_not_kept():
    rows = torch.randn(5, 3, requires_grad=True)
    before = rows.detach().clone()
    stats = DimensionStats(3)
    stats.update(rows)
    assert torch.equal(rows, before) and not stats.mean.requires_grad
