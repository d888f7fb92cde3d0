"""Moments at memory speed against NumPy in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.moments import column_moments, higher_moments
from zimage_layer_lab.core.measure.scaling import mean_and_std, rescale, token_rms

HALF_AND_SINGLE = [torch.float32, torch.bfloat16, torch.float16]
SIZES = [(1, 5), (2, 7), (63, 9), (64, 9), (65, 130), (300, 40), (1504, 64), (4096, 33)]


def states(tokens, width, seed=0, spread=5.0, mean=10.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(mean, spread, (tokens, width)).astype(np.float32))


def deviations(rows):
    wide = rows.to(torch.float64).numpy()
    return wide - wide.mean(0)


def assert_moments(rows, rel=1e-6):
    found = column_moments(rows)
    off = deviations(rows)
    count = len(rows)
    std = np.sqrt((off**2).sum(0) / max(count - 1, 1))
    np.testing.assert_allclose(found.std.numpy(), std, rtol=rel, atol=0)
    scale = std + np.abs(rows.to(torch.float64).numpy()).max(0)
    np.testing.assert_array_less(
        np.abs(found.mean.numpy() - rows.to(torch.float64).numpy().mean(0)), rel * scale + 1e-300
    )
    m3, m4 = higher_moments(rows, found)
    np.testing.assert_allclose(m4.numpy(), (off**4).sum(0), rtol=1e-5, atol=0)
    limit = 1e-5 * (np.abs(off) ** 3).sum(0) + 1e-300
    np.testing.assert_array_less(np.abs(m3.numpy() - (off**3).sum(0)), limit)


@pytest.mark.parametrize("dtype", [*HALF_AND_SINGLE, torch.float64])
@pytest.mark.parametrize(("tokens", "width"), SIZES)
def test_moments_are_those_of_float64_within_a_millionth(tokens, width, dtype):
    assert_moments(states(tokens, width, tokens).to(dtype))


@pytest.mark.parametrize("dtype", HALF_AND_SINGLE)
@pytest.mark.parametrize("sink", [0, 700, 1503])
def test_a_token_three_hundred_times_its_neighbours_costs_no_precision(dtype, sink):
    rows = states(1504, 64, 1)
    rows[sink] *= 300
    assert_moments(rows.to(dtype))


@pytest.mark.parametrize("spread", [1e-20, 1e-12, 1e-6, 1.0, 1e6, 1e12, 1e25])
@pytest.mark.parametrize("mean", [0.0, 1.0, 100.0, -1e4])
def test_spreads_and_means_of_any_size_keep_their_digits(spread, mean):
    assert_moments(states(500, 20, 2, spread, spread * mean))


def test_a_tiny_spread_of_many_tokens_keeps_its_digits():
    """Fourth powers of 3e-12 are below the smallest number of float32."""
    assert_moments(states(65_536, 3, 5, 3e-12, 0.0))


def test_a_constant_dimension_has_no_spread_that_rounding_made():
    rows = states(1000, 8, 3)
    rows[:, 2], rows[:, 5] = 0.1, 0.0
    std = column_moments(rows).std
    assert float(std[5]) == 0.0 and float(std[2]) < 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", HALF_AND_SINGLE)
def test_a_value_that_is_not_finite_spoils_its_own_dimension_only(value, dtype):
    rows = states(200, 6, 4).to(dtype)
    rows[130, 3] = value
    finite = column_moments(rows).m2.isfinite()
    assert finite.tolist() == [True, True, True, False, True, True]


@pytest.mark.parametrize("rows", [states(100, 40)[:, ::2], states(100, 40).T.contiguous().T])
def test_rows_need_not_lie_side_by_side(rows):
    assert_moments(rows)


@pytest.mark.parametrize("shape", [(3, 70, 12), (1, 1504, 16), (2, 5, 9)])
@pytest.mark.parametrize("dims", [(1,), (2,), (1, 2)])
def test_moments_over_tokens_width_or_both_are_numpys(shape, dims):
    hidden = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * 3 + 20
    mean, std = mean_and_std(hidden, dims)
    wide = hidden.double().numpy()
    np.testing.assert_allclose(mean, wide.mean(axis=dims, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(std, wide.std(axis=dims, ddof=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("limit", [None, 3.0])
@pytest.mark.parametrize("dims", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_rescaling_is_the_formula_in_float64(dims, offset, limit):
    hidden = torch.randn(2, 400, 30, generator=torch.Generator().manual_seed(6)) + offset
    new_mean, new_std = mean_and_std(torch.randn(2, 50, 30) * 4 - 7, dims)
    if dims == (2,):
        new_mean, new_std = new_mean[:, :1], new_std[:, :1]
    mean, std = mean_and_std(hidden, dims)
    z = (hidden.double() - mean) / std
    z = z if limit is None else z.clamp(-limit, limit)
    want = z * new_std + new_mean
    got = rescale(hidden, mean, std, new_mean, new_std, limit)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=1e-6 * float(want.abs().max()))


def test_rescaling_what_does_not_vary_gives_the_new_mean():
    hidden = torch.full((1, 50, 3), 0.1)
    mean, std = mean_and_std(hidden, (1,))
    new = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.equal(rescale(hidden, mean, std, new, new), new.float().expand(1, 50, 3))


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1.0, 1e20, 1e37])
def test_the_rms_of_a_token_neither_overflows_nor_vanishes(scale):
    hidden = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(7)) * scale
    want = (hidden.double() ** 2).mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(token_rms(hidden).double(), want, rtol=2e-6, atol=0)
