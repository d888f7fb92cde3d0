"""Every way to shorten a sequence against its formula in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.token_fit import METHODS, fit_tokens

from ...oracles.resampling import area_weights, linear_weights
from ...oracles.token_fit_formulas import attention

WIDTH = 16
SHORTENING = [method for method in METHODS if method != "truncate"]


def sample(tokens, width=WIDTH, sinks=(), seed=0, batch=1):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, tokens, width, generator=generator)
    hidden[:, list(sinks)] *= 100
    return hidden


def weights_of(x, method, length):
    if method == "attention pool":
        return attention(x, length)
    return {"interpolate": linear_weights, "pool": area_weights}[method](len(x), length)


def count_lost(weights, method):
    """Tokens without a share in any new one; with attention, with under 1 % of an even share."""
    largest = weights.max(0)
    if method == "attention pool":
        return int((largest < 0.01 / len(largest)).sum())
    return int((largest == 0).sum())


def assert_close(got, want, relative=2e-5):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= relative * np.abs(want).max()


@pytest.mark.parametrize(("tokens", "length"), [(10, 9), (10, 5), (9, 3), (1041, 21), (7, 1)])
@pytest.mark.parametrize("method", SHORTENING)
def test_each_method_follows_its_formula(method, tokens, length):
    hidden = sample(tokens)
    result = fit_tokens(hidden, length, method)
    x = hidden[0].double().numpy()
    weights = weights_of(x, method, length)
    assert_close(result.hidden[0].double().numpy(), weights @ x)
    assert result.lost == count_lost(weights, method)


@pytest.mark.parametrize("method", METHODS)
def test_4100_tokens_fit_into_512(method):
    hidden = sample(4100, sinks=(0,))
    result = fit_tokens(hidden, 512, method)
    x = hidden[0].double().numpy()
    assert result.hidden.shape == (1, 512, WIDTH) and len(result.sources) == 512
    if method == "truncate":
        assert torch.equal(result.hidden, hidden[:, :512])
        assert (result.sinks, result.lost) == ([], 3588)
        return
    assert torch.equal(result.hidden[:, 0], hidden[:, 0])
    weights = weights_of(x[1:], method, 511)
    assert_close(result.hidden[0, 1:].double().numpy(), weights @ x[1:])
    assert result.sinks == [0]
    # Two neighbours of each of 511 points, but for the one in the middle, which is a token.
    if method == "interpolate":
        assert result.lost == 4099 - (2 * 511 - 1)
    assert result.lost == count_lost(weights, method)


def unlike(outlier):
    """(1, 30, 256): tokens of one direction, so uneven that the opposite one is no sink."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(1, 1, 256, generator=generator).repeat(1, 30, 1)
    hidden[:, outlier] *= -1
    return hidden + 0.6 * torch.randn(1, 30, 256, generator=generator)


@pytest.mark.parametrize("outlier", [4, 29])
def test_a_token_unlike_the_mean_of_its_span_is_lost_to_attention_pool_alone(outlier):
    """Thirty tokens of one direction and one of the opposite one: it attends nowhere."""
    hidden = unlike(outlier)
    weights = attention(hidden[0].double().numpy(), 6)
    assert weights[:, outlier].max() < 1e-6
    assert fit_tokens(hidden, 6, "attention pool").lost == 1
    assert fit_tokens(hidden, 6, "pool").lost == 0


@pytest.mark.parametrize(("part", "lost"), [(0.0099, 1), (0.0101, 0)])
def test_a_token_is_lost_under_1_percent_of_an_even_share(part, lost):
    """A token at right angles to nine equal ones, of which one span of ten makes one mean."""
    tokens, width, share = 10, 4096, part / 10
    scale = math.sqrt(width)

    def turned(angle):
        """(1, tokens, width): token 4 at an angle to the others, each of which has a little of its
        own, lest token 4 be a sink."""
        hidden = torch.zeros(1, tokens, width, dtype=torch.float64)
        hidden[..., 0] = scale
        hidden[0, :, 2 : 2 + tokens] = 0.5 * scale * torch.eye(tokens)
        hidden[0, 4, :2] = torch.tensor([math.cos(angle), math.sin(angle)]) * scale
        return hidden

    def excess(angle):
        return attention(turned(angle)[0].numpy(), 1)[0, 4] - share

    hidden = turned(brentq(excess, 0, math.pi / 2, xtol=1e-9))
    assert attention(hidden[0].numpy(), 1)[0, 4] == pytest.approx(share, rel=1e-4)
    assert fit_tokens(hidden, 1, "attention pool").lost == lost


def test_a_token_that_one_entry_of_a_batch_hears_is_not_lost():
    hidden = unlike(4).repeat(2, 1, 1)
    hidden[1, 4] *= -1
    assert fit_tokens(hidden[:1], 6, "attention pool").lost == 1
    assert fit_tokens(hidden, 6, "attention pool").lost == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tokens", [1, 511, 512])
def test_a_sequence_that_fits_is_returned_as_it_is(method, tokens):
    hidden = sample(tokens, sinks=(0,))
    result = fit_tokens(hidden, 512, method, selected=torch.arange(tokens) > 0)
    assert result.hidden is hidden
    assert result.sources == list(range(tokens))
    assert (result.sinks, result.lost, result.padding) == ([], 0, 0)


@pytest.mark.parametrize("method", SHORTENING)
def test_sinks_stay_bit_for_bit_between_their_neighbours(method):
    hidden = sample(40, sinks=(0, 17, 39))
    content = [i for i in range(40) if i not in (0, 17, 39)]
    result = fit_tokens(hidden, 13, method)
    assert result.sinks == [0, 17, 39]
    assert result.sources == sorted(set(result.sources)) and len(result.sources) == 13
    places = [result.sources.index(sink) for sink in result.sinks]
    assert places[0] == 0 and places[-1] == 12
    assert torch.equal(result.hidden[:, places], hidden[:, result.sinks])
    others = [i for i in range(13) if i not in places]
    x = hidden[0, content].double().numpy()
    assert_close(result.hidden[0, others].double().numpy(), weights_of(x, method, 10) @ x)


@pytest.mark.parametrize("method", SHORTENING)
def test_a_sink_of_one_entry_is_passed_through_in_all(method):
    hidden = torch.cat([sample(20, sinks=(0,)), sample(20, sinks=(5,), seed=1)])
    result = fit_tokens(hidden, 8, method)
    assert result.sinks == [0, 5]
    places = [result.sources.index(sink) for sink in result.sinks]
    assert torch.equal(result.hidden[:, places], hidden[:, [0, 5]])


@pytest.mark.parametrize("method", ["interpolate", "pool"])
@pytest.mark.parametrize(("tokens", "length"), [(10, 9), (10, 5), (9, 3), (1041, 21), (7, 1)])
def test_a_source_is_the_middle_of_what_its_token_is_made_from(method, tokens, length):
    x = sample(tokens)[0].double().numpy()
    weights = weights_of(x, method, length)
    centres = weights @ np.arange(tokens)
    sources = fit_tokens(sample(tokens), length, method).sources
    assert np.abs(np.array(sources) - centres).max() <= 0.5
    assert all(weights[row, source] > 0 for row, source in enumerate(sources))


@pytest.mark.parametrize("padding", [(0, 1, 20, 29), (1, 20, 29)])
@pytest.mark.parametrize("method", METHODS)
def test_padding_is_left_out_before_anything_is_shortened(method, padding):
    hidden = sample(30, sinks=(2,))
    selected = torch.tensor([i not in padding for i in range(30)])
    bare = hidden[:, selected]
    for length in (26, 12):
        result = fit_tokens(hidden, length, method, selected)
        alone = fit_tokens(bare, length, method)
        left = selected.nonzero().flatten().tolist()
        assert torch.equal(result.hidden, alone.hidden)
        assert result.sources == [left[i] for i in alone.sources]
        assert (result.padding, result.lost) == (len(padding), alone.lost)


def test_only_real_tokens_are_judged_for_sinks():
    """Sixty long padding tokens would hide a sink by raising the median."""
    hidden = sample(100, sinks=(99,))
    hidden[:, :60] = 1e4
    result = fit_tokens(hidden, 10, "pool", torch.arange(100) >= 60)
    assert result.sinks == [99]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept_and_half_precision_near_its_limit_stays_finite(method, dtype):
    hidden = torch.full((1, 100, WIDTH), 6e4).to(dtype)
    hidden[..., 1::2] *= -1
    result = fit_tokens(hidden, 7, method).hidden
    assert result.dtype == dtype
    assert torch.allclose(result.double(), hidden[:, :7].double(), rtol=1e-6)


@given(
    tokens=st.integers(1, 40),
    length=st.integers(1, 40),
    batch=st.integers(1, 2),
    method=st.sampled_from(tuple(METHODS)),
    seed=st.integers(0, 999),
)
def test_a_result_has_the_budgets_length_and_lies_within_the_tokens(
    tokens, length, batch, method, seed
):
    hidden = sample(tokens, seed=seed, batch=batch)
    before = hidden.clone()
    result = fit_tokens(hidden, length, method)
    assert torch.equal(hidden, before)
    assert result.hidden.shape == (batch, min(tokens, length), WIDTH)
    assert result.sources == sorted(set(result.sources))
    low, high = hidden.amin(1, keepdim=True) - 1e-5, hidden.amax(1, keepdim=True) + 1e-5
    assert bool(((result.hidden >= low) & (result.hidden <= high)).all())


@pytest.mark.parametrize("method", SHORTENING)
@pytest.mark.parametrize("budget", [1, 2])
def test_a_budget_that_the_sinks_alone_fill_is_refused(method, budget):
    with pytest.raises(ValueError, match=f"max_tokens is {budget}, and 2 sink tokens.*drop sinks"):
        fit_tokens(sample(40, sinks=(0, 9)), budget, method)
    assert fit_tokens(sample(40, sinks=(0, 9)), 3, method).hidden.shape[1] == 3


@pytest.mark.parametrize("budget", [0, -1, 1.5, math.nan, math.inf])
def test_a_budget_that_is_no_number_of_tokens_is_refused(budget):
    with pytest.raises(ValueError, match="max_tokens"):
        fit_tokens(sample(5), budget)


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="'magic'.*attention pool"):
        fit_tokens(sample(5), 2, "magic")


@pytest.mark.parametrize("method", METHODS)
def test_padding_alone_is_refused(method):
    with pytest.raises(ValueError, match="padding only"):
        fit_tokens(sample(5), 2, method, torch.zeros(5, dtype=torch.bool))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_value_is_named(method, value):
    hidden = sample(9)
    hidden[0, 4, 3] = value
    with pytest.raises(NonFiniteError, match=f"token 4 dimension 3 is {value}"):
        fit_tokens(hidden, 5, method)


@pytest.mark.parametrize("shape", [(0, WIDTH), (1, 2, 3, WIDTH), (WIDTH,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="the conditioning has shape"):
        fit_tokens(torch.ones(shape), 5)
