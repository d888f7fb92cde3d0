"""Every way to normalize against its formula in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.normalizing import METHODS, normalize
from zimage_layer_lab.core.measure.reference import Reference

WIDTH = 24


def sample(tokens=60, width=WIDTH, sinks=(0, 7), seed=0):
    """(1, tokens, width) float32: dimensions of unlike mean and std, one far value, sink tokens."""
    generator = np.random.default_rng(seed)
    scale, mean = generator.uniform(0.5, 4, width), generator.normal(0, 5, width)
    values = generator.normal(size=(tokens, width)) * scale + mean
    if tokens > 12:
        values[11, 5] = mean[5] + 6 * scale[5]
    values[list(sinks)] *= 100
    return torch.from_numpy(values).float()[None]


def reference(width=WIDTH, seed=9, **changes):
    generator = np.random.default_rng(seed)
    vectors = {
        "mean": generator.normal(0, 50, width),
        "std": generator.uniform(100, 200, width),
        "mean_without_sinks": generator.normal(2, 3, width),
        "std_without_sinks": generator.uniform(1, 9, width),
    }
    fields = {name: torch.from_numpy(vector) for name, vector in vectors.items()}
    known = {"global_mean": -3.0, "global_std": 61.0, "provenance": {"model": "my encoder"}}
    return Reference(**{**fields, **known, **changes})


def aims(of, keep_sinks):
    """Per-dimension mean and std, and the mean and std of all values, that ``of`` stands for."""
    if not keep_sinks:
        return of.mean.numpy(), of.std.numpy(), of.global_mean, of.global_std
    mean, std = of.mean_without_sinks.numpy(), of.std_without_sinks.numpy()
    return mean, std, mean.mean(), np.sqrt((std**2).mean() + mean.var())


def formula(x, method, mean, std, global_mean, global_std):
    whole = (x - x.mean()) * (global_std / x.std(ddof=1)) + global_mean
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    assert np.abs(z).max() > 3
    each = np.clip(z, -3, 3) * std + mean
    rms = np.sqrt((x**2).mean(1, keepdims=True))
    return {
        "global": whole,
        "per dimension": each,
        "hybrid": 0.5 * whole + 0.5 * each,
        "rms per token": x / rms * np.sqrt((std**2 + mean**2).mean()),
    }[method]


def array(hidden):
    return hidden.double().numpy()


def assert_close(got, want, relative=1e-6):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= relative * np.abs(want).max()


@pytest.mark.parametrize("keep_sinks", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_follows_its_formula_towards_a_reference(method, keep_sinks):
    hidden, of = sample(), reference()
    content = [i for i in range(60) if not keep_sinks or i not in (0, 7)]
    result = normalize(hidden, method, of, keep_sinks)
    x = array(hidden[0, content])
    assert_close(array(result.hidden[0, content]), formula(x, method, *aims(of, keep_sinks)))
    assert result.sinks == ([0, 7] if keep_sinks else [])
    if keep_sinks:
        assert torch.equal(result.hidden[:, [0, 7]], hidden[:, [0, 7]])
    assert "my encoder" in result.target
    assert ("without sink tokens" if keep_sinks else "sink tokens included") in result.target


@pytest.mark.parametrize("keep_sinks", [True, False])
def test_without_a_reference_dimensions_keep_their_mean_and_share_the_median_std(keep_sinks):
    hidden = sample()
    content = [i for i in range(60) if not keep_sinks or i not in (0, 7)]
    result = normalize(hidden, "per dimension", None, keep_sinks)
    x = array(hidden[0, content])
    std = x.std(0, ddof=1)
    z = np.clip((x - x.mean(0)) / std, -3, 3)
    assert_close(array(result.hidden[0, content]), z * np.median(std) + x.mean(0))
    assert "its own dimensions" in result.target


@pytest.mark.parametrize("keep_sinks", [True, False])
def test_without_a_reference_every_token_gets_the_median_rms(keep_sinks):
    hidden = sample()
    content = [i for i in range(60) if not keep_sinks or i not in (0, 7)]
    result = normalize(hidden, keep_sinks=keep_sinks)
    x = array(hidden[0, content])
    rms = np.sqrt((x**2).mean(1, keepdims=True))
    assert_close(array(result.hidden[0, content]), x / rms * np.median(rms))
    assert "its own tokens" in result.target


def test_global_aims_at_the_moments_of_all_the_values_that_the_reference_was_measured_on():
    """A reference keeps them per dimension only, where sinks are left out."""
    measured = array(sample(4000, sinks=(), seed=3))[0]
    mean, std = (torch.from_numpy(v) for v in (measured.mean(0), measured.std(0, ddof=1)))
    of = reference(mean_without_sinks=mean, std_without_sinks=std)
    result = array(normalize(sample(), "global", of).hidden)[0]
    content = np.delete(result, [0, 7], axis=0)
    assert content.mean() == pytest.approx(measured.mean(), abs=1e-5)
    # N in place of N - 1 values: a difference of 1 / 4000 in the variance.
    assert content.std(ddof=1) == pytest.approx(measured.std(ddof=1), rel=2e-4)


def test_rms_per_token_leaves_every_direction_alone():
    hidden = sample()
    before, after = array(hidden[0]), array(normalize(hidden, reference=reference()).hidden[0])
    for one, other in zip(before, after, strict=True):
        assert_close(other / np.linalg.norm(other), one / np.linalg.norm(one))


@pytest.mark.parametrize("method", METHODS)
def test_each_entry_of_a_batch_is_normalized_as_if_alone(method):
    one, other = sample(), sample(sinks=(3,), seed=4)
    result = normalize(torch.cat([one, other]), method, reference())
    for number, hidden in enumerate((one, other)):
        alone = normalize(hidden, method, reference()).hidden[0]
        assert torch.equal(result.hidden[number], alone)
    assert result.sinks == [0, 3, 7]


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_neither_measured_nor_changed(method):
    hidden = sample()
    padded = torch.cat([torch.full((1, 70, WIDTH), 1e4), hidden], dim=1)
    selected = torch.arange(130) >= 70
    result = normalize(padded, method, reference(), selected=selected)
    assert torch.equal(result.hidden[:, :70], padded[:, :70])
    assert torch.equal(result.hidden[:, 70:], normalize(hidden, method, reference()).hidden)
    assert result.sinks == [70, 77]


@pytest.mark.parametrize("method", METHODS)
def test_the_input_is_never_modified(method):
    hidden = sample()
    before = hidden.clone()
    normalize(hidden, method, reference())
    assert torch.equal(hidden, before)


@pytest.mark.parametrize("keep_sinks", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_near_its_limit_stays_finite_and_exact(method, keep_sinks):
    hidden = (sample(sinks=()) * 1000).half()
    hidden[0, 2] = 6e4
    of = reference()
    x = array(hidden[0])
    result = normalize(hidden, method, of, keep_sinks).hidden
    assert result.dtype == torch.float16 and bool(result.isfinite().all())
    content = [i for i in range(60) if not keep_sinks or i != 2]
    want = formula(x[content], method, *aims(of, keep_sinks))
    assert_close(array(result[0, content]), want, relative=1e-3)


def test_a_target_beyond_the_dtype_saturates():
    of = reference(std_without_sinks=torch.full((WIDTH,), 1e6, dtype=torch.float64))
    for method in METHODS:
        result = normalize(sample().half(), method, of).hidden
        assert bool(result.isfinite().all()) and float(result.abs().max()) == 65504.0


@given(
    tokens=st.integers(2, 9),
    width=st.integers(1, 9),
    batch=st.integers(1, 3),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    exponent=st.integers(-30, 4),
    method=st.sampled_from(METHODS),
    keep_sinks=st.booleans(),
    seed=st.integers(0, 999),
)
def test_any_finite_states_stay_finite(
    tokens, width, batch, dtype, exponent, method, keep_sinks, seed
):
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randint(-3, 4, (batch, tokens, width), generator=generator)
    hidden = (whole * 10.0**exponent).to(dtype)
    result = normalize(hidden, method, reference(width), keep_sinks).hidden
    assert result.shape == hidden.shape and result.dtype == dtype
    assert bool(result.isfinite().all())


def test_a_dimension_that_does_not_vary_gets_the_references_mean():
    hidden, of = sample(), reference()
    hidden[..., 4] = 0.1
    result = normalize(hidden, "per dimension", of, keep_sinks=False).hidden
    assert np.allclose(array(result[0, :, 4]), of.mean[4])
    own = normalize(hidden, "per dimension", keep_sinks=False).hidden
    assert torch.equal(own[..., 4], hidden[..., 4])


def test_tokens_of_zeros_stay_and_do_not_set_the_level():
    hidden = torch.zeros(1, 5, WIDTH)
    hidden[0, 3:] = torch.arange(1, 3)[:, None] * torch.ones(WIDTH)
    result = normalize(hidden, keep_sinks=False).hidden
    assert torch.equal(result[0, :3], hidden[0, :3])
    assert torch.allclose(result[0, 3:], torch.full((2, WIDTH), 1.5))


@pytest.mark.parametrize("method", ["rms per token", "per dimension"])
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_states_that_do_not_vary_pass_through_where_they_set_the_target(method, value):
    hidden = torch.full((1, 4, WIDTH), value)
    assert torch.equal(normalize(hidden, method).hidden, hidden)


@pytest.mark.parametrize("method", ["global", "rms per token"])
def test_one_token_is_enough_where_no_spread_over_tokens_is_needed(method):
    hidden, of = sample(13)[:, 11:12], reference()
    x = array(hidden[0])
    mean, std, global_mean, global_std = aims(of, True)
    want = {
        "global": (x - x.mean()) / x.std(ddof=1) * global_std + global_mean,
        "rms per token": x / np.sqrt((x**2).mean()) * np.sqrt((std**2 + mean**2).mean()),
    }[method]
    assert_close(array(normalize(hidden, method, of).hidden[0]), want)


@pytest.mark.parametrize("method", ["per dimension", "hybrid"])
def test_one_token_is_refused_where_its_content_would_be_lost(method):
    with pytest.raises(ValueError, match="one token has no spread.*'rms per token'"):
        normalize(sample(13)[:, 11:12], method, reference())


@pytest.mark.parametrize("method", ["global", "hybrid"])
def test_nothing_to_aim_at_is_refused_with_the_way_out(method):
    with pytest.raises(ValueError, match="connect Build Reference Stats.*'rms per token'"):
        normalize(sample(), method)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_whose_sinks_cannot_be_left_out_is_refused(method):
    of = reference(mean_without_sinks=None, std_without_sinks=None)
    with pytest.raises(ValueError, match="my encoder.*Build Reference Stats.*keep_sinks off"):
        normalize(sample(), method, of)
    assert normalize(sample(), method, of, keep_sinks=False).sinks == []


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_that_would_erase_the_states_is_refused(method):
    zeros = torch.zeros(WIDTH, dtype=torch.float64)
    of = reference(mean_without_sinks=zeros, std_without_sinks=zeros)
    with pytest.raises(ValueError, match="no spread.*more prompts"):
        normalize(sample(), method, of)


def test_a_reference_of_another_width_is_refused():
    with pytest.raises(ValueError, match="my encoder.*10 dimensions.*24: they cannot be"):
        normalize(sample(), "global", reference(10))


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(ValueError, match="'magic'.*rms per token"):
        normalize(sample(), "magic")


def test_padding_alone_is_refused():
    with pytest.raises(ValueError, match="padding only"):
        normalize(sample(), selected=torch.zeros(60, dtype=torch.bool))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_a_non_finite_value_is_named(method, value):
    hidden = sample()
    hidden[0, 4, 3] = value
    with pytest.raises(NonFiniteError, match=f"token 4 dimension 3 is {value}"):
        normalize(hidden, method, reference())


@pytest.mark.parametrize("shape", [(0, WIDTH), (1, 2, 3, WIDTH), (WIDTH,)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="the conditioning has shape"):
        normalize(torch.ones(shape))


def test_dimensions_that_do_not_vary_have_no_part_in_the_median_std():
    rng = np.random.default_rng(0)
    rows = np.full((200, 8), 3.0)
    rows[:, :3] = rng.uniform(-1, 1, (200, 3)) * [1.0, 4.0, 9.0]
    found = normalize(torch.from_numpy(rows), "per dimension", keep_sinks=False).hidden[0].numpy()
    median = np.median(rows[:, :3].std(0, ddof=1))
    np.testing.assert_allclose(found[:, :3].std(0, ddof=1), median, rtol=0.01)
    np.testing.assert_allclose(found[:, 3:], 3.0, rtol=1e-6)
