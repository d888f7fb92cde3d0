"""Attention sinks: by L2 norm over the median of their own sequence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.sinks import SINK_NORM_RATIO, find_sinks


def by_hand(hidden, valid=None, ratio=8.0):
    """(batch, tokens) bool in NumPy float64."""
    hidden = hidden.double().numpy()
    found = np.zeros(hidden.shape[:2], dtype=bool)
    for number, sequence in enumerate(hidden):
        keep = np.ones(len(sequence), dtype=bool) if valid is None else valid[number]
        norms = np.sqrt((sequence**2).sum(-1))
        if keep.any():
            found[number] = keep & (norms > ratio * np.median(norms[keep]))
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


def sequence(norms, width=4):
    hidden = torch.zeros(1, len(norms), width)
    hidden[0, :, 1] = torch.tensor(norms, dtype=torch.float32)
    return hidden


def test_the_default_ratio_is_eight_and_exactly_eight_is_no_sink():
    assert SINK_NORM_RATIO == 8.0
    assert find_sinks(sequence([8.0, 1, 1, 1, 1])).sum() == 0
    assert find_sinks(sequence([8.01, 1, 1, 1, 1]))[0].tolist() == [True] + [False] * 4


@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_sink_is_found_wherever_it_stands(position):
    norms = [1.0] * 5
    norms[position] = 100.0
    assert find_sinks(sequence(norms))[0].nonzero().flatten().tolist() == [position]


def test_each_sequence_is_judged_by_its_own_median():
    hidden = torch.cat([sequence([100.0, 100, 100, 100]), sequence([1.0, 100, 1, 1])])
    assert find_sinks(hidden).tolist() == [[False] * 4, [False, True, False, False]]


def test_padding_is_no_sink_and_moves_no_median():
    """Many zero rows would pull the median down and make sinks of ordinary tokens."""
    hidden = sequence([10.0, 12, 11, 0, 0, 0, 0, 5000])
    valid = torch.tensor([True] * 3 + [False] * 5)
    assert not find_sinks(hidden, valid).any()
    assert find_sinks(hidden).any()


def test_a_sequence_without_a_valid_token_has_no_sink():
    assert not find_sinks(sequence([1.0, 100, 1]), torch.zeros(3, dtype=torch.bool)).any()


def test_float16_norms_do_not_overflow():
    """The square of 60000 is no float16."""
    hidden = torch.full((1, 6, 64), 100.0, dtype=torch.float16)
    hidden[0, 3] = 60000.0
    assert find_sinks(hidden)[0].tolist() == [False, False, False, True, False, False]


def test_a_single_token_is_no_sink():
    assert not find_sinks(sequence([1e6])).any()
