"""A conditioning's own statistics and its farthest tokens, against NumPy in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.measure.sequence_stats import SequenceStats

BATCH, TOKENS, WIDTH = 3, 20, 12
SELECTED = torch.tensor([number not in (0, 7, 19) for number in range(TOKENS)])
SINK = (1, 4)


def states(dtype=torch.float32):
    """Entry 1 has a sink at token 4; token 0, which may not be selected, is loud everywhere."""
    hidden = torch.randn(BATCH, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    hidden[SINK] *= 200
    hidden[:, 0] *= 3
    return hidden.to(dtype)


def rows_of(hidden, chosen):
    return hidden.double().numpy()[chosen.expand(BATCH, TOKENS).numpy()]


@pytest.mark.parametrize("selected", [None, SELECTED])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_farthest_token_is_brute_forces(selected, dtype):
    hidden = states(dtype)
    chosen = torch.ones(TOKENS, dtype=torch.bool) if selected is None else selected
    places, shares = SequenceStats(hidden, selected).farthest(torch.arange(WIDTH))
    values = hidden.double().numpy()
    deviation = (values - rows_of(hidden, chosen).mean(0)) ** 2
    deviation[:, ~chosen.numpy()] = 0
    for dimension in range(WIDTH):
        own = deviation[..., dimension]
        assert tuple(places[dimension]) == np.unravel_index(own.argmax(), own.shape)
        assert shares[dimension] == pytest.approx(own.max() / own.sum(), rel=1e-5)


def test_dimensions_are_told_in_the_order_they_are_asked_for():
    stats = SequenceStats(states())
    places, shares = stats.farthest(torch.arange(WIDTH))
    chosen, of_them = stats.farthest(torch.tensor([7, 2]))
    assert chosen == [places[7], places[2]] and of_them == pytest.approx([shares[7], shares[2]])


def test_a_dimension_that_does_not_vary_has_a_share_of_0():
    hidden = states()
    hidden[..., 3] = 2.5
    _, [share] = SequenceStats(hidden).farthest(torch.tensor([3]))
    assert share == 0.0


@pytest.mark.parametrize("selected", [None, SELECTED])
def test_moments_with_and_without_sinks_are_numpys(selected):
    hidden = states()
    chosen = torch.ones(TOKENS, dtype=torch.bool) if selected is None else selected
    stats = SequenceStats(hidden, selected)
    sinks = torch.zeros(BATCH, TOKENS, dtype=torch.bool)
    sinks[SINK] = True
    sinks = sinks & chosen
    assert torch.equal(stats.sink_tokens & chosen, sinks)
    for moments, rows in (
        (stats.all, rows_of(hidden, chosen)),
        (stats.sinks, rows_of(hidden, sinks)),
        (stats.without_sinks, rows_of(hidden, chosen & ~sinks)),
    ):
        assert moments.tokens == len(rows)
        np.testing.assert_allclose(moments.mean.numpy(), rows.mean(0), rtol=1e-5, atol=1e-6)
        m2 = ((rows - rows.mean(0)) ** 2).sum(0)
        np.testing.assert_allclose(moments.m2.numpy(), m2, rtol=1e-5, atol=1e-8)
    whole, bare = (((r - rows_of(hidden, chosen).mean(0)) ** 2).sum(0) for r in (
        rows_of(hidden, chosen), rows_of(hidden, chosen & ~sinks)
    ))  # fmt: skip
    np.testing.assert_allclose(stats.sink_share().numpy(), 1 - bare / whole, rtol=1e-4)


def test_without_a_sink_both_are_the_same():
    hidden = states()[[0, 2]]
    stats = SequenceStats(hidden)
    assert stats.sinks.tokens == 0 and stats.without_sinks is stats.all
    assert not stats.sink_share().any()


@pytest.mark.parametrize("token", [3, 7])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_selected_or_not(token, value):
    hidden = states()
    hidden[2, token, 5] = value
    with pytest.raises(NonFiniteError, match="my states"):
        SequenceStats(hidden, SELECTED, "my states")
    with pytest.raises(NonFiniteError, match="the conditioning"):
        SequenceStats(hidden)
