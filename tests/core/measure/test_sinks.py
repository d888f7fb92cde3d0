"""Attention sinks: by their distance from the median of their own sequence."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.sinks import SINK_DISTANCE_RATIO, find_sinks, sequence_medians

from ...oracles import sink_rule


def by_hand(hidden, valid=None):
    """(batch, tokens) bool in NumPy float64."""
    hidden = hidden.double().numpy()
    found = np.zeros(hidden.shape[:2], dtype=bool)
    for number, sequence in enumerate(hidden):
        keep = np.ones(len(sequence), dtype=bool) if valid is None else valid[number]
        if keep.sum() >= 3:
            far = sink_rule.distances(sequence[keep])
            limit = sink_rule.limit(far)
            assume(not np.isclose(far, limit, rtol=1e-3, atol=1e-6).any() or limit == 0)
            found[number, keep] = far > limit
    return found


@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 12),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**31),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    data=st.data(),
)
def test_sinks_equal_the_definition_in_float64(batch, tokens, width, seed, dtype, data):
    generator = torch.Generator().manual_seed(seed)
    # Norms are spread in steps of 3x, so that float32 rounding decides nothing.
    direction = torch.nn.functional.normalize(
        torch.randn(batch, tokens, width, generator=generator) + 1e-3, dim=-1
    )
    scale = 3.0 ** torch.randint(-2, 5, (batch, tokens, 1), generator=generator)
    hidden = (direction * scale).to(dtype)
    valid = data.draw(
        st.one_of(
            st.none(),
            st.lists(
                st.lists(st.booleans(), min_size=tokens, max_size=tokens),
                min_size=batch,
                max_size=batch,
            ).map(np.array),
        )
    )
    got = find_sinks(hidden, None if valid is None else torch.from_numpy(valid))
    assert got.dtype == torch.bool
    np.testing.assert_array_equal(got.numpy(), by_hand(hidden, valid))


def sequence(distances, width=4, centre=0.0):
    """(1, tokens, width): so far from ``centre`` in dimension 1, to either side in turn."""
    hidden = torch.full((1, len(distances), width), centre)
    sides = torch.tensor([1.0, -1.0]).repeat(len(distances))[: len(distances)]
    hidden[0, :, 1] += torch.tensor(distances, dtype=torch.float32) * sides
    return hidden


def test_the_default_ratio_is_four_and_exactly_four_is_no_sink():
    assert SINK_DISTANCE_RATIO == 4.0
    # The median is the 0 in the middle, both quartiles of the distances and their median are 1.
    assert find_sinks(sequence([1.0, 1, 0, 4, 1])).sum() == 0
    assert find_sinks(sequence([1.0, 1, 0, 4.01, 1]))[0].tolist() == [False] * 3 + [True, False]


def test_each_sequence_is_judged_by_its_own_median():
    hidden = torch.cat([sequence([100.0, 100, 100, 100]), sequence([1.0, 100, 1, 1])])
    assert find_sinks(hidden).tolist() == [[False] * 4, [False, True, False, False]]


def made(generator, tokens, width, shared, sinks=(), varying=2e-3):
    """(1, tokens, width): ordinary tokens that share large values, and sinks with others.

    As in Gemma-3-270M the channel that is large also varies more than the others: ``varying``.
    """
    hidden = torch.randn(1, tokens, width, generator=generator)
    hidden[..., 3] += shared
    hidden[..., 11] -= 0.6 * shared
    hidden[..., 3] += varying * shared * torch.randn(1, tokens, generator=generator)
    size = 20 * width**0.5 + 10 * varying * shared
    for number, position in enumerate(sinks):
        hidden[0, position, (3, 7)[number % 2]] += size * (1 if number % 3 else -1)
    return hidden


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [64, 640])
@pytest.mark.parametrize("tokens", [9, 33, 120])
@pytest.mark.parametrize("shared", [0.0, 40.0, 3000.0])
@pytest.mark.parametrize("sinks", [(), (0,), (4,), (8,), (0, 5), (0, 3, 6)])
def test_a_value_that_all_tokens_share_hides_no_sink_and_makes_none(
    sinks, shared, tokens, width, dtype
):
    hidden = made(torch.Generator().manual_seed(tokens + width), tokens, width, shared, sinks)
    assert tuple(find_sinks(hidden.to(dtype))[0].nonzero().flatten().tolist()) == sinks


def test_a_channel_that_varies_more_than_all_others_together_makes_no_sink():
    """The distances are then those of a normal distribution: 4 times their median is 2.7 sigma."""
    hidden = made(torch.Generator().manual_seed(0), 2000, 64, 3000.0, varying=0.05)
    far = sink_rule.distances(hidden[0].double().numpy())
    assert (far > 4 * np.median(far)).sum() > 5
    assert not find_sinks(hidden).any()
    hidden[0, 77, 3] += 10 * 0.05 * 3000
    assert find_sinks(hidden)[0].nonzero().flatten().tolist() == [77]


@pytest.mark.parametrize("shared", [0.0, 3000.0])
@pytest.mark.parametrize("tokens", [255, 256, 1504, 4096])
def test_of_a_long_sequence_the_same_tokens_are_sinks(tokens, shared):
    """Its median is taken of some tokens; sinks between them are found as well."""
    sinks = (0, 1, 2, 5, tokens // 2, tokens - 2)
    hidden = made(torch.Generator().manual_seed(tokens), tokens, 64, shared, sinks)
    assert tuple(find_sinks(hidden)[0].nonzero().flatten().tolist()) == sinks
    far = sink_rule.distances(hidden[0].double().numpy())
    assert (far > sink_rule.limit(far)).nonzero()[0].tolist() == list(sinks)
    valid = torch.arange(2 * tokens) < tokens
    padded = torch.cat([hidden, torch.full_like(hidden, 7e4)], dim=1)
    assert tuple(find_sinks(padded, valid)[0].nonzero().flatten().tolist()) == sinks


@pytest.mark.parametrize("shared", [0.0, 3000.0])
def test_padding_is_no_sink_and_moves_no_median(shared):
    """Many rows of padding would be the median, and make sinks of all ordinary tokens."""
    generator = torch.Generator().manual_seed(3)
    hidden = made(generator, 30, 64, shared, sinks=(0,))
    valid = torch.arange(30) < 12
    hidden[0, 12:] = 0
    hidden[0, 29] = 5e5
    assert find_sinks(hidden, valid)[0].nonzero().flatten().tolist() == [0]
    assert find_sinks(hidden)[0, 1:12].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("longest", [7, 40, 600])
@pytest.mark.parametrize("holds", [None, torch.nan, torch.inf])
def test_the_medians_of_a_batch_are_those_of_each_sequence_alone(dtype, longest, holds):
    generator = torch.Generator().manual_seed(longest)
    hidden = torch.randn(5, longest, 12, generator=generator)
    selected = (
        torch.rand(5, longest, generator=generator) < torch.tensor([1, 0.9, 0.5, 0.2, 0])[:, None]
    )
    if holds is not None:
        hidden[0, 2, 3] = hidden[1, :, 5] = holds
    hidden = hidden.to(dtype)
    found = sequence_medians(hidden, selected)
    assert found.dtype == torch.float32
    for one, chosen, median in zip(hidden, selected, found, strict=True):
        rows = one[chosen].double().numpy()
        rows = rows[:: max(-(-len(rows) // 255), 1)]
        ordered = [np.sort(column[~np.isnan(column)]) for column in rows.T]
        want = [own[(len(own) - 1) // 2] if len(own) else np.nan for own in ordered]
        np.testing.assert_array_equal(median.numpy(), np.array(want))


@pytest.mark.parametrize("selected", [0, 1, 2])
def test_of_fewer_than_three_tokens_none_is_a_sink(selected):
    valid = torch.arange(5) < selected
    assert not find_sinks(sequence([1.0, 1e6, 1, 1, 1]), valid).any()
    if selected:
        assert not find_sinks(sequence([1.0, 1e6])[:, :selected]).any()


def test_float16_distances_do_not_overflow():
    """The square of 60000 is no float16."""
    hidden = torch.full((1, 6, 64), 100.0, dtype=torch.float16)
    hidden[0, 3] = 60000.0
    assert find_sinks(hidden)[0].tolist() == [False, False, False, True, False, False]


def test_rounding_makes_no_sink():
    """Tokens that are the same but for the last bit of one: none is the odd one."""
    hidden = torch.full((1, 9, 64), 3000.0)
    hidden[0, 4, 7] = torch.nextafter(torch.tensor(3000.0), torch.tensor(4000.0))
    assert not find_sinks(hidden).any()


def test_tokens_with_nan_are_no_sinks_and_spoil_no_other():
    hidden = made(torch.Generator().manual_seed(5), 20, 64, 40.0, sinks=(2,))
    hidden[0, 7, 3] = torch.nan
    hidden[0, 2, 9] = 0.0
    assert find_sinks(hidden)[0].nonzero().flatten().tolist() == [2]
