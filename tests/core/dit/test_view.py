"""What an edit changes after RMSNorm, against NumPy float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.dit.view import (
    RMS_EPSILON,
    DitChange,
    FirstMatrix,
    dit_change,
    rms_norm,
    strips,
)


def normed(hidden, weight=None):
    x = hidden.double().numpy()
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
    return x if weight is None else x * weight.double().numpy()


def test_the_epsilon_is_that_of_the_models_own_norm():
    assert RMS_EPSILON == 1e-5


@given(
    tokens=st.integers(1, 8) | st.sampled_from([63, 64, 65, 200]),
    width=st.integers(1, 16),
    largest=st.floats(-4.0, 5.0),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_change_equals_the_formula_with_and_without_the_models_weight(
    tokens, width, largest, dtype, weighted, seed
):
    rng = np.random.default_rng(seed)
    limit = min(10.0**largest, torch.finfo(dtype).max)

    def states():
        rows = rng.normal(0, limit / 3, (2, tokens, width))
        return torch.from_numpy(np.clip(rows, -limit, limit)).to(dtype)

    before, after = states(), states()
    weight = torch.from_numpy(rng.uniform(0.1, 3, width)).to(dtype) if weighted else None
    one, other = normed(before, weight), normed(after, weight)
    np.testing.assert_allclose(rms_norm(before, weight).numpy(), one, rtol=1e-5, atol=1e-6)
    change = dit_change(before, after, weight)
    lengths = np.linalg.norm(one, axis=-1), np.linalg.norm(other, axis=-1)
    wanted = np.linalg.norm(other - one, axis=-1) / np.maximum(lengths[0], 1e-30)
    large = (lengths[0] > 1e-3) & (lengths[1] > 1e-3)
    np.testing.assert_allclose(
        change.relative_l2.numpy()[large], wanted[large], rtol=1e-4, atol=1e-5
    )
    cosine = (one * other).sum(-1) / np.maximum(lengths[0] * lengths[1], 1e-30)
    np.testing.assert_allclose(change.cosine.numpy()[large], cosine[large], atol=1e-5)
    assert change.relative_l2.shape == change.cosine.shape == (2, tokens)


@pytest.mark.parametrize("factor", [0.5, 3.0, 61.0, 1e4])
def test_scaling_a_token_changes_nothing_that_the_dit_sees(factor):
    """RMSNorm is per token: a global scale is divided out before the first matrix."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, 9, 64, generator=generator) * 10
    change = dit_change(hidden, hidden * factor)
    assert float(change.relative_l2.max()) < 1e-5
    assert float(change.cosine.min()) > 1 - 1e-5
    each = torch.linspace(0.5, 50, 9)[None, :, None]
    assert float(dit_change(hidden, hidden * each).relative_l2.max()) < 1e-5


def test_an_unchanged_state_does_not_change_exactly():
    hidden = torch.randn(2, 5, 8)
    change = dit_change(hidden, hidden.clone())
    assert not change.relative_l2.any() and bool((change.cosine == 1).all())
    assert "does not change" in change.summary()


def test_the_opposite_direction_is_a_change_of_two_and_a_cosine_of_minus_one():
    hidden = torch.randn(1, 4, 16) + 1
    change = dit_change(hidden, -hidden)
    torch.testing.assert_close(change.relative_l2, torch.full((1, 4), 2.0))
    torch.testing.assert_close(change.cosine, torch.full((1, 4), -1.0))


def test_zeroing_a_quiet_dimension_hardly_changes_a_thing_and_a_loud_one_much():
    """The published case: dim 396 is quiet on image tokens, so masking it does nothing there."""
    hidden = torch.full((1, 3, 100), 3.0)
    hidden[:, :, 7], hidden[:, :, 9] = 0.01, 5000.0
    quiet, loud = hidden.clone(), hidden.clone()
    quiet[:, :, 7], loud[:, :, 9] = 0.0, 0.0
    assert float(dit_change(hidden, quiet).relative_l2.max()) < 1e-4
    assert float(dit_change(hidden, loud).cosine.max()) < 0.1


def test_zero_tokens_have_a_defined_change():
    """An all-zero token has no direction; ConditioningZeroOut makes them."""
    zero, some = torch.zeros(1, 1, 4), torch.ones(1, 1, 4)
    for before, after, relative, cosine in (
        (zero, zero, 0.0, 1.0),
        (zero, some, 1.0, 0.0),
        (some, zero, 1.0, 0.0),
    ):
        change = dit_change(before, after)
        assert float(change.relative_l2) == pytest.approx(relative)
        assert float(change.cosine) == pytest.approx(cosine)
        assert change.summary()


def test_the_largest_finite_states_give_no_infinity():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        hidden = torch.full((1, 2, 8), torch.finfo(dtype).max / 2, dtype=dtype)
        np.testing.assert_allclose(rms_norm(hidden).numpy(), 1.0, rtol=1e-5)
        change = dit_change(hidden, -hidden)
        assert bool(change.relative_l2.isfinite().all() & change.cosine.isfinite().all())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "sizes", [(1.0, 1e25), (1e25, 1.0), (1e18, 1e18), (1e30, 1e30), (1e-4, 1e18), (1e18, 1e-4)]
)
def test_sides_of_any_size_are_compared(sizes, weighted):
    """Products of 1e18 and 1e30 are no float32, and a token of rms 1e-4 lies below the epsilon."""
    generator = torch.Generator().manual_seed(6)
    before, after = (
        size * torch.randn(2, 70, 12, generator=generator, dtype=torch.float64) for size in sizes
    )
    before, after = before.float(), after.float()
    weight = 100 * torch.rand(12, generator=generator) if weighted else None
    one, other = normed(before, weight), normed(after, weight)
    length, turned = np.linalg.norm(one, axis=-1), np.linalg.norm(other, axis=-1)
    change = dit_change(before, after, weight)
    relative = np.linalg.norm(other - one, axis=-1) / length
    np.testing.assert_allclose(change.relative_l2.numpy(), relative, rtol=1e-5)
    cosine = (one * other).sum(-1) / length / turned
    np.testing.assert_allclose(change.cosine.numpy(), cosine, atol=1e-5)


def test_states_that_no_norm_divides_may_be_large_too():
    generator = torch.Generator().manual_seed(4)
    before, after = 1e20 * torch.randn(2, 1, 6, 12, generator=generator)
    weight = torch.randn(5, 12, generator=generator)
    matrix = FirstMatrix(weight.norm(dim=0), lambda states: states @ weight.mT, after_norm=False)
    change = dit_change(before, after, matrix=matrix)
    one, other = (states.double().numpy() @ weight.double().numpy().T for states in (before, after))
    length, turned = np.linalg.norm(one, axis=-1), np.linalg.norm(other, axis=-1)
    relative = np.linalg.norm(other - one, axis=-1) / length
    np.testing.assert_allclose(change.relative_l2.numpy(), relative, rtol=1e-5)
    cosine = (one * other).sum(-1) / length / turned
    np.testing.assert_allclose(change.cosine.numpy(), cosine, atol=1e-5)


def test_the_summary_gives_the_figures_and_counts_the_tokens():
    before = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]])
    after = before.clone()
    after[0, 0] = torch.tensor([0.0, 1.0])
    summary = dit_change(before, after).summary()
    assert "1 of 4 tokens" in summary
    assert f"{np.sqrt(2):.4f} at most" in summary and f"{np.sqrt(2) / 4:.4f} mean" in summary
    assert "0.75000 mean" in summary and "0.00000 at least" in summary


def test_states_of_different_shape_cannot_be_compared():
    with pytest.raises(ValueError, match=r"\(1, 3, 4\).*\(1, 2, 4\)"):
        dit_change(torch.ones(1, 3, 4), torch.ones(1, 2, 4))


def test_the_inputs_are_not_modified():
    before, after = torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    copies = before.clone(), after.clone()
    dit_change(before, after, torch.rand(4))
    assert torch.equal(before, copies[0]) and torch.equal(after, copies[1])


PARTLY = (
    torch.tensor([[[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]]),
    torch.tensor([[[6.0, 8.0], [0.0, 1.0], [0.0, 1.0], [3.0, 3.0]]]),
)
"""Of four tokens the second turns by 90 degrees: a relative L2 of 2 ** 0.5, a cosine of 0."""


def test_a_change_in_words():
    change = dit_change(*PARTLY)
    assert change.changed.tolist() == [[False, True, False, False]]
    assert change.in_short() == "the DiT sees 35.4 % change"
    assert change.summary("behind it") == (
        "what the DiT sees (behind it): relative L2 0.3536 mean, 1.4142 at most; cosine 0.75000 "
        "mean, 0.00000 at least; 1 of 4 tokens change"
    )
    same = dit_change(PARTLY[0], PARTLY[0])
    assert same.in_short() == "the DiT sees no change"
    assert same.summary() == "what the DiT sees (after RMSNorm) does not change"


def test_a_change_up_to_rounding_is_none():
    cosine = torch.ones(1, 2)
    for size, words in ((1e-5, "no change"), (1.1e-5, "0.00055 % change")):
        change = DitChange(torch.tensor([[0.0, size]]), cosine)
        assert change.in_short() == f"the DiT sees {words}"
        assert ("does not change" in change.summary()) == (words == "no change")


@pytest.mark.parametrize("tokens", [0, 1, 63, 64, 65, 128, 130])
def test_strips_are_all_tokens_in_their_order(tokens):
    states = torch.arange(2.0 * tokens * 3).reshape(2, tokens, 3)
    parts = strips(states)
    assert torch.equal(torch.cat(parts, 1), states)
    assert all(part.shape[1] <= 64 for part in parts)


def test_strips_on_another_device_than_the_cpu_are_one():
    for tokens in (0, 1, 200):
        assert [part.shape for part in strips(torch.zeros(2, tokens, 3, device="meta"))] == [
            (2, tokens, 3)
        ]


@pytest.mark.parametrize("after_norm", [True, False])
def test_behind_the_first_matrix_its_outputs_are_compared(after_norm):
    rng = np.random.default_rng(3)
    before, after = (torch.from_numpy(rng.normal(size=(2, 70, 5))).float() for _ in range(2))
    rows = torch.from_numpy(rng.normal(size=(7, 5))).float()
    scale = torch.from_numpy(rng.uniform(0.5, 2, 5)).float()
    matrix = FirstMatrix(torch.linalg.vector_norm(rows, dim=0), lambda x: x @ rows.T, after_norm)
    change = dit_change(before, after, scale, matrix)
    seen = [
        (normed(one, scale) if after_norm else one.double().numpy()) @ rows.double().numpy().T
        for one in (before, after)
    ]
    lengths = [np.linalg.norm(one, axis=-1) for one in seen]
    wanted = np.linalg.norm(seen[1] - seen[0], axis=-1) / lengths[0]
    np.testing.assert_allclose(change.relative_l2.numpy(), wanted, rtol=1e-4)
    cosine = (seen[0] * seen[1]).sum(-1) / (lengths[0] * lengths[1])
    np.testing.assert_allclose(change.cosine.numpy(), cosine, atol=1e-5)
    assert FirstMatrix(scale, torch.abs).after_norm


def test_the_epsilon_counts_as_it_is_at_every_scale():
    """A token of rms 0.003 has a mean square of 9e-6, about the epsilon of 1e-5."""
    for rms in (0.003, 0.5, 1.0, 2.0, 1000.0):
        one = torch.full((1, 1, 4), rms)
        expected = rms / np.sqrt(rms**2 + 1e-5)
        np.testing.assert_allclose(rms_norm(one).numpy(), expected, rtol=1e-5)
        np.testing.assert_allclose(rms_norm(one, eps=0.0).numpy(), 1.0, rtol=1e-6)


def test_a_tiny_token_that_changes_has_a_change_of_its_own_size():
    before = torch.full((1, 1, 4), 1e-9)
    change = dit_change(before, 3 * before)
    assert float(change.relative_l2) == pytest.approx(2.0, rel=1e-4)
