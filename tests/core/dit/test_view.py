"""What an edit changes after RMSNorm, against NumPy float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.dit.view import RMS_EPSILON, FirstMatrix, dit_change, rms_norm


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
