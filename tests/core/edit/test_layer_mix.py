"""Layer mixes against their formulas in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.layer_mix import MEAN_OF_NORMALISED, METHODS, mix_layers

EPSILON = {torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
WEIGHTED = [method for method in METHODS if method != MEAN_OF_NORMALISED]


def make_states(seed, count, tokens=5, width=16, dtype=torch.float32, massive=0.0):
    """``count`` layers of different scale, the first token of each with one massive value."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-1, 2, size=(count, 1, 1, 1))
    states = rng.normal(size=(count, 1, tokens, width)) * scales
    if massive:
        states[:, :, 0, 3] = massive
    return [torch.tensor(state).to(dtype) for state in states]


def rms(tokens):
    return np.sqrt((tokens**2).mean(axis=-1, keepdims=True))


def layer_norm(tokens):
    mean = tokens.mean(axis=-1, keepdims=True)
    return (tokens - mean) / tokens.std(axis=-1, keepdims=True)


def expected(states, weights, method):
    """The formulas: sum(w h) / sum(w), with every token at the first layer's rms or not."""
    layers = [state.double().numpy() for state in states]
    if method == MEAN_OF_NORMALISED:
        return np.mean([layer_norm(layer) for layer in layers], axis=0)
    if method == "rms matched":
        layers = [layer / rms(layer) * rms(layers[0]) for layer in layers]
    return sum(w * layer for w, layer in zip(weights, layers, strict=True)) / sum(weights)


def assert_close(mixed, states, weights, method):
    target = expected(states, weights, method)
    assert mixed.shape == states[0].shape and mixed.dtype == states[0].dtype
    layers = [np.abs(state.double().numpy()) for state in states]
    size = 1.0 if method == MEAN_OF_NORMALISED else sum(abs(w) for w in weights) / abs(sum(weights))
    # Each token by itself: the massive one would hide the errors of the others.
    scale = size * np.max([*layers, np.abs(target)], axis=(0, -1))[..., None]
    error = np.abs(mixed.double().numpy() - target)
    assert (error <= 8 * EPSILON[torch.float32] * scale + EPSILON[mixed.dtype] * abs(target)).all()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=4),
    dtype=st.sampled_from(list(EPSILON)),
)
def test_every_method_is_its_formula(method, seed, weights, dtype):
    states = make_states(seed, len(weights), dtype=dtype, massive=3000.0)
    assert_close(mix_layers(states, weights, method), states, weights, method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_a_negative_weight_leads_away_from_its_layer(method):
    states = make_states(1, 2)
    mixed = mix_layers(states, [1.5, -0.5], method)
    assert_close(mixed, states, [1.5, -0.5], method)


@pytest.mark.parametrize("method", WEIGHTED)
def test_only_the_proportions_of_weights_count(method):
    states = make_states(2, 3)
    one, other = (mix_layers(states, w, method) for w in ([1, 2, 1], [1e307, 2e307, 1e307]))
    assert torch.equal(one, other)


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("weights", [[0.7], [1.0, 0.0]])
def test_all_the_weight_on_the_first_layer_gives_it_bit_for_bit(method, weights):
    states = make_states(3, len(weights), massive=13504.0)
    assert torch.equal(mix_layers(states, weights, method), states[0])


@pytest.mark.parametrize("method", WEIGHTED)
@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("weights", [[0, 1, 0], [0.0, -3.0, 0.0], [1e-320, 1e300, 0]])
def test_all_the_weight_on_any_layer_gives_it_bit_for_bit(method, dtype, weights):
    states = make_states(3, 3, dtype=dtype, massive=13504.0)
    assert torch.equal(mix_layers(states, weights, method), states[1])


@pytest.mark.parametrize("method", WEIGHTED)
def test_a_layer_of_weight_0_has_no_part_in_the_mix(method):
    states = make_states(13, 4)
    mixed = mix_layers(states, [0, 0.7, 0, 0.3], method)
    assert_close(mixed, states[1::2], [0.7, 0.3], method)
    assert torch.equal(mixed, mix_layers(states[1::2], [0.7, 0.3], method))


def test_rms_matched_gives_another_layer_the_first_ones_length_token_by_token():
    states = make_states(4, 2)
    mixed = mix_layers(states, [1e-9, 1], "rms matched")
    np.testing.assert_allclose(rms(mixed.numpy()), rms(states[0].numpy()), rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(mixed, states[1].float(), dim=-1)
    assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_massive_activations_of_float16_do_not_overflow(method):
    """60000 squared, and 60000 + 60000, are no float16."""
    states = make_states(5, 3, dtype=torch.float16, massive=60000.0)
    mixed = mix_layers(states, [1, 1, 1], method)
    assert bool(mixed.isfinite().all())
    assert_close(mixed, states, [1, 1, 1], method)


def test_what_float16_cannot_hold_is_limited_to_its_largest_value():
    states = [torch.full((1, 2, 4), 60000.0).half(), torch.full((1, 2, 4), -60000.0).half()]
    mixed = mix_layers(states, [2, -1], "raw")
    assert torch.equal(mixed, torch.full((1, 2, 4), torch.finfo(torch.float16).max).half())


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_very_small_and_very_large_values_keep_their_directions(size):
    """Their squares are no float32."""
    plain = make_states(6, 2)
    scaled = [plain[0], plain[1] * size]
    for method in ("rms matched", MEAN_OF_NORMALISED):
        one, other = mix_layers(plain, [1, 1], method), mix_layers(scaled, [1, 1], method)
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [0, 1])
def test_a_token_of_zeros_gives_no_nan(method, number):
    states = make_states(7, 2)
    states[number][:, 2] = 0
    mixed = mix_layers(states, [1, 3], method)
    assert bool(mixed.isfinite().all())
    others = [i for i in range(5) if i != 2]
    rest = [state[:, others] for state in states]
    assert_close(mixed[:, others], rest, [1, 3], method)
    kept = states[1 - number][0, 2].double().numpy()
    target = {
        "raw": kept * [1, 3][1 - number] / 4,
        # The first layer's rms is what both get: nothing, or the first layer's share alone.
        "rms matched": kept * 0 if number == 0 else kept / 4,
        MEAN_OF_NORMALISED: layer_norm(kept) / 2,
    }[method]
    np.testing.assert_allclose(mixed[0, 2].double().numpy(), target, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e4, -3.3])
def test_a_token_that_is_constant_over_its_width_normalises_to_zeros(value):
    """Its mean in float32 is off by rounding, which must not be blown up to a variance of 1."""
    state = torch.full((1, 3, 2560), value)
    assert not mix_layers([state], method=MEAN_OF_NORMALISED).any()


def test_the_mean_of_normalised_layers_is_torchs_layer_norm_where_its_epsilon_is_nothing():
    states = make_states(8, 9)
    normed = [torch.nn.functional.layer_norm(state, (16,), eps=0) for state in states]
    mixed = mix_layers(states, method=MEAN_OF_NORMALISED)
    assert torch.allclose(mixed, torch.stack(normed).mean(0), atol=1e-5)


def test_the_mean_of_normalised_layers_does_not_use_weights():
    states = make_states(9, 2)
    one = mix_layers(states, method=MEAN_OF_NORMALISED)
    assert torch.equal(one, mix_layers(states, [math.nan], MEAN_OF_NORMALISED))


@pytest.mark.parametrize("method", METHODS)
def test_the_states_are_left_as_they_were(method):
    states = make_states(10, 3)
    before = [state.clone() for state in states]
    mixed = mix_layers(states, [1, 1, 1], method)
    assert all(torch.equal(one, other) for one, other in zip(states, before, strict=True))
    mixed.zero_()
    assert all(torch.equal(one, other) for one, other in zip(states, before, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_each_token_is_mixed_by_itself(method):
    """In a batch, alone, or without the batch dimension: the same numbers."""
    states = [
        state.expand(3, -1, -1) * torch.tensor([[[1.0]], [[2.0]], [[3.0]]])
        for state in make_states(11, 2)
    ]
    mixed = mix_layers(states, [1, 2], method)
    for row in range(3):
        alone = mix_layers([state[row] for state in states], [1, 2], method)
        assert alone.shape == (5, 16) and torch.allclose(alone, mixed[row], rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "weights", "method", "message"),
    [
        ([(1, 3, 4)], [1], "median", "'median' is not one of raw, rms matched, mean"),
        ([], [], "raw", "no layer to mix"),
        ([(1, 3, 4)] * 2, [1], "raw", "2 layers and 1 weights"),
        ([(1, 3, 4)] * 2, [1, 2, 3], "rms matched", "2 layers and 3 weights"),
        ([(1, 3, 4)], [math.nan], "raw", "a weight is nan"),
        ([(1, 3, 4)], [math.inf], "raw", "a weight is inf"),
        ([(1, 3, 4)] * 2, [1, -1], "raw", "add up to 0"),
        ([(1, 3, 4)], [0], "rms matched", "add up to 0"),
        ([(1, 3, 4), (1, 2, 4)], [1, 1], "raw", r"\(1, 3, 4\) and \(1, 2, 4\)"),
        ([(1, 3, 4), (1, 3, 5)], [], MEAN_OF_NORMALISED, r"\(1, 3, 4\) and \(1, 3, 5\)"),
        ([(4,)], [1], "raw", r"has shape \(4,\)"),
        ([(1, 0, 4)], [1], "raw", "at least one token"),
    ],
)
def test_bad_input_is_refused(shapes, weights, method, message):
    with pytest.raises(ValueError, match=message):
        mix_layers([torch.ones(shape) for shape in shapes], weights, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_state_that_is_not_finite_is_refused_and_the_place_named(method, value):
    states = make_states(12, 2)
    states[1][0, 2, 7] = value
    with pytest.raises(NonFiniteError, match="state 2 of the 2 to mix.*token 2 dimension 7"):
        mix_layers(states, [1, 1], method)


@pytest.mark.parametrize("method", ["raw", "rms matched"])
def test_weights_whose_sum_is_no_float_are_weights_too(method):
    states = [torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    large, small = (mix_layers(states, [w, 3 * w], method) for w in (0.5e308, 1.0))
    assert torch.equal(large, small)
