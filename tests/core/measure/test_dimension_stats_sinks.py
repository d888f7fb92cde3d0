"""Statistics with and without sink tokens, of several sequences, with padding left out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.split_stats import SplitStats


def make_sequence(rng, tokens, sinks=(), width=4):
    """(tokens, width) float32; each token of ``sinks`` is far longer than the others."""
    rows = rng.normal(1.0, 1.0, (tokens, width))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for sink in sinks:
        rows[sink] *= rng.uniform(50, 5000)
    return rows.astype(np.float32)


def assert_stats(stats, rows):
    rows = rows.astype(np.float64)
    assert stats.tokens == len(rows)
    if len(rows):
        np.testing.assert_allclose(stats.mean.numpy(), rows.mean(0), rtol=1e-9, atol=1e-9)
    std = rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    np.testing.assert_allclose(stats.std.numpy(), std, rtol=1e-7, atol=1e-9)


def test_every_sequence_has_a_sink_of_its_own_wherever_it_stands():
    rng = np.random.default_rng(0)
    places = [(0,), (3,), (), (5, 1)]
    sequences = [make_sequence(rng, 7, sinks) for sinks in places]
    stats = SplitStats(4)
    for prompt, sequence in enumerate(sequences):
        stats.update(torch.from_numpy(sequence), prompt=prompt)
    is_sink = np.zeros((4, 7), dtype=bool)
    for prompt, sinks in enumerate(places):
        is_sink[prompt, list(sinks)] = True
    rows = np.concatenate(sequences)
    assert_stats(stats.all, rows)
    assert_stats(stats.sinks, rows[is_sink.ravel()])
    assert_stats(stats.without_sinks, rows[~is_sink.ravel()])
    # The places are the original positions, not those among the sinks alone.
    loudest = np.unravel_index(np.abs(rows).argmax(), rows.shape)
    [place], _ = stats.sinks.farthest(torch.tensor([loudest[1]]))
    assert tuple(place) in {(p, s) for p, sinks in enumerate(places) for s in sinks}


def test_a_sequence_without_a_sink_is_all_content():
    rows = make_sequence(np.random.default_rng(1), 9)
    stats = SplitStats(4)
    stats.update(torch.from_numpy(rows))
    assert stats.sinks.tokens == 0
    assert_stats(stats.without_sinks, rows)
    assert_stats(stats.all, rows)
    assert stats.sink_share().tolist() == [0.0] * 4


def test_padding_is_never_counted_nor_a_sink():
    rng = np.random.default_rng(2)
    rows = make_sequence(rng, 8, sinks=(2,))
    padded = np.concatenate([rows, np.full((5, 4), 1e5, dtype=np.float32)])
    padded[-1] = np.nan
    keep = torch.tensor([True] * 8 + [False] * 5)
    stats = SplitStats(4)
    stats.update(torch.from_numpy(padded), selected=keep)
    assert_stats(stats.all, rows)
    assert stats.sinks.tokens == 1 and stats.all.non_finite == 0
    assert float(stats.all.max_abs.max()) == np.abs(rows).max()


def test_sinks_that_are_given_are_not_looked_for_again():
    """Judged over the whole sequence, measured over the selected tokens only."""
    rows = make_sequence(np.random.default_rng(3), 6, sinks=(0,))
    sinks = torch.tensor([False, False, True, False, False, True])
    keep = torch.tensor([True, True, True, True, False, False])
    stats = SplitStats(4)
    stats.update(torch.from_numpy(rows), sinks=sinks, selected=keep)
    assert_stats(stats.sinks, rows[[2]])
    assert_stats(stats.without_sinks, rows[[0, 1, 3]])


def test_places_are_positions_in_the_sequence_of_their_prompt():
    rows = np.zeros((6, 2), dtype=np.float32)
    rows[4, 0], rows[1, 1] = 7.0, -7.0
    stats = SplitStats(2)
    stats.update(
        torch.from_numpy(rows),
        sinks=torch.zeros(6, dtype=torch.bool),
        selected=torch.tensor([False, True, False, True, True, True]),
        prompt=11,
    )
    assert stats.all.farthest(torch.tensor([0, 1]))[0] == [(11, 4), (11, 1)]


@given(
    seed=st.integers(0, 2**31),
    prompts=st.integers(1, 4),
    tokens=st.integers(3, 12),
    order=st.randoms(use_true_random=False),
)
def test_the_share_that_sinks_carry_is_exact_and_independent_of_the_order(
    seed, prompts, tokens, order
):
    rng = np.random.default_rng(seed)
    sequences, masks, parts = [], [], []
    for prompt in range(prompts):
        rows = (rng.normal(0, 1, (tokens, 4)) * 10.0 ** rng.uniform(-2, 4, 4)).astype(np.float32)
        mask = rng.random(tokens) < 0.3
        part = SplitStats(4)
        part.update(torch.from_numpy(rows), sinks=torch.from_numpy(mask), prompt=prompt)
        sequences.append(rows)
        masks.append(mask)
        parts.append(part)
    rows, mask = np.concatenate(sequences).astype(np.float64), np.concatenate(masks)
    squares = (rows - rows.mean(0)) ** 2
    want = squares[mask].sum(0) / squares.sum(0)
    order.shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    np.testing.assert_allclose(merged.sink_share().numpy(), want, rtol=1e-6, atol=1e-9)
    assert_stats(merged.all, rows)
    assert_stats(merged.without_sinks, rows[~mask])


def test_a_dimension_that_does_not_vary_is_carried_by_nobody():
    rows = torch.full((5, 2), 3.0)
    stats = SplitStats(2)
    stats.update(rows, sinks=torch.tensor([True, False, False, False, False]))
    assert stats.sink_share().tolist() == [0.0, 0.0]


def test_a_single_token_has_no_spread_and_no_nan():
    stats = SplitStats(3)
    stats.update(torch.tensor([[1.0, 2.0, 3.0]]))
    for part in (stats.all, stats.without_sinks, stats.sinks):
        assert part.std.tolist() == [0.0] * 3
    assert stats.sink_share().tolist() == [0.0] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_states_have_their_sinks_found(dtype):
    rows = torch.ones(6, 3, dtype=dtype)
    rows[4] = 60000.0
    stats = SplitStats(3)
    stats.update(rows)
    assert stats.sinks.tokens == 1 and stats.sinks.farthest(torch.tensor([0]))[0] == [(0, 4)]


def test_padding_that_outnumbers_the_tokens_decides_nothing():
    """The median of all tokens would be the padding's, and every token far from it."""
    rows = make_sequence(np.random.default_rng(2), 8, sinks=(2,))
    padded = np.concatenate([rows, np.full((20, 4), 1e5, dtype=np.float32)])
    stats = SplitStats(4)
    stats.update(torch.from_numpy(padded), selected=torch.arange(28) < 8)
    assert_stats(stats.sinks, rows[2:3])
    assert_stats(stats.without_sinks, np.delete(rows, 2, axis=0))
