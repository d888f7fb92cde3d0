"""Masking: sinks, token selections, and what is refused."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.edit.masking import MODES, mask_outlier_dimensions, mask_states
from zimage_layer_lab.core.measure.reference import Reference


def reference(width, std=1.0):
    values = torch.full((width,), std, dtype=torch.float64)
    return Reference(torch.zeros(width, dtype=torch.float64), values, 0.0, std, provenance={})


def with_sinks(positions, tokens=12, width=4, batch=1, seed=0, value=5000.0):
    """(batch, tokens, width) float32, sinks at ``positions`` loud in dimension 1."""
    rng = np.random.default_rng(seed)
    hidden = torch.from_numpy(rng.normal(1, 0.3, (batch, tokens, width)).astype(np.float32))
    for position in positions:
        hidden[:, position, 1] = value
    return hidden


@pytest.mark.parametrize("positions", [[0], [3], [0, 7], [11]])
def test_drop_sinks_removes_them_and_nothing_else(positions):
    hidden = with_sinks(positions)
    result = mask_states(hidden, mode="drop sinks")
    kept = [token for token in range(12) if token not in positions]
    assert result.kept == kept and result.touched_sinks == positions
    assert torch.equal(result.hidden, hidden[:, kept])


@pytest.mark.parametrize("positions", [[0], [3], [0, 7]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_sink_to_mean_replaces_them_by_the_mean_of_the_others(positions, dtype):
    hidden = with_sinks(positions).to(dtype)
    before = hidden.clone()
    result = mask_states(hidden, mode="sink to mean")
    kept = [token for token in range(12) if token not in positions]
    mean = hidden[0, kept].double().numpy().mean(0)
    for position in positions:
        got = result.hidden[0, position].double().numpy()
        np.testing.assert_allclose(got, mean, rtol=torch.finfo(dtype).eps * 2)
    assert torch.equal(result.hidden[:, kept], hidden[:, kept])
    assert result.touched_sinks == positions and result.kept == list(range(12))
    assert torch.equal(hidden, before) and result.hidden.dtype == dtype


def test_sink_to_mean_takes_each_entry_of_a_batch_for_itself():
    hidden = torch.cat([with_sinks([0], seed=1), with_sinks([4], seed=2), with_sinks([], seed=3)])
    result = mask_states(hidden, mode="sink to mean")
    for entry, sink in ((0, 0), (1, 4)):
        others = [token for token in range(12) if token != sink]
        want = hidden[entry, others].double().numpy().mean(0)
        np.testing.assert_allclose(result.hidden[entry, sink].numpy(), want, rtol=1e-6)
        assert torch.equal(result.hidden[entry, others], hidden[entry, others])
    assert torch.equal(result.hidden[2], hidden[2])
    assert result.touched_sinks == [0, 4]


def test_sinks_at_one_place_are_dropped_from_every_entry_of_a_batch():
    hidden = with_sinks([2], batch=3)
    result = mask_states(hidden, mode="drop sinks")
    assert result.hidden.shape == (3, 11, 4) and 2 not in result.kept


def test_sinks_at_different_places_of_a_batch_cannot_be_dropped():
    hidden = torch.cat([with_sinks([0]), with_sinks([4])])
    with pytest.raises(ValueError, match="sink to mean"):
        mask_states(hidden, mode="drop sinks")


@pytest.mark.parametrize("mode", ["drop sinks", "sink to mean"])
def test_a_sink_that_is_not_selected_is_left_alone(mode):
    hidden = with_sinks([0, 7])
    selected = torch.zeros(12, dtype=torch.bool)
    selected[5:] = True
    result = mask_states(hidden, mode=mode, selected=selected)
    assert result.touched_sinks == [7]
    assert torch.equal(result.hidden[0, 0], hidden[0, 0])


def test_without_exclude_sinks_a_sink_alone_makes_a_dimension_loud():
    hidden = with_sinks([0])
    assert mask_states(hidden, reference=reference(4)).masked == [1]
    excluded = mask_states(hidden, reference=reference(4), exclude_sinks=True)
    assert excluded.masked == [] and excluded.hidden is hidden


def test_scale_with_sinks_excluded_reaches_the_goal_over_the_other_tokens():
    hidden = with_sinks([0], tokens=40)
    rng = np.random.default_rng(3)
    hidden[0, 1:, 2] = torch.from_numpy(rng.normal(100, 50, 39).astype(np.float32))
    hidden[0, 0, 1] = 2e5
    result = mask_states(hidden, mode="scale", reference=reference(4), exclude_sinks=True)
    assert result.masked == [2]
    content = result.hidden[0, 1:, 2].double().numpy()
    assert content.std(ddof=1) == pytest.approx(10.0, rel=1e-4)
    assert content.mean() == pytest.approx(float(hidden[0, 1:, 2].double().mean()), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_only_selected_tokens_are_measured_and_changed(mode):
    hidden = with_sinks([8], tokens=16)
    rng = np.random.default_rng(1)
    hidden[0, :4, 2] = torch.from_numpy(rng.normal(0, 900, 4).astype(np.float32))  # not selected
    hidden[0, 6:, 3] = torch.from_numpy(rng.normal(0, 90, 10).astype(np.float32))
    selected = torch.arange(16) >= 6
    result = mask_states(hidden, mode=mode, selected=selected, reference=reference(4))
    assert {o.dimension for o in result.outliers} == {1, 3}
    assert torch.equal(result.hidden[:, :6], hidden[:, :6])
    assert result.stats.all.tokens == 10
    assert not torch.equal(result.hidden[:, 6:], hidden[:, 6 : result.hidden.shape[1]])


@pytest.mark.parametrize("mode", MODES)
def test_a_selection_of_nothing_is_refused(mode):
    with pytest.raises(ValueError, match="selects nothing"):
        mask_states(with_sinks([0]), mode=mode, selected=torch.zeros(12, dtype=torch.bool))


@pytest.mark.parametrize("mode", MODES)
def test_a_strided_input_gives_what_a_contiguous_one_gives(mode):
    hidden = with_sinks([0]).mT.contiguous().mT
    assert not hidden.is_contiguous()
    want = mask_states(hidden.contiguous(), mode=mode, reference=reference(4)).hidden
    assert torch.equal(mask_states(hidden, mode=mode, reference=reference(4)).hidden, want)


def test_an_unknown_mode_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="zero, clamp, scale, mean, drop sinks, sink to mean"):
        mask_states(with_sinks([0]), mode="erase")


def test_an_unknown_direction_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="loud, quiet, both"):
        mask_states(with_sinks([0]), direction="up")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf, 0.0, 0.5, -1.0])
def test_an_impossible_threshold_is_refused(mode, threshold):
    with pytest.raises(ValueError, match="threshold"):
        mask_states(with_sinks([0]), mode=mode, threshold=threshold)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_states_are_refused_by_token_and_dimension(mode, bad):
    hidden = with_sinks([0])
    hidden[0, 5, 3] = bad
    for mask in (lambda: mask_states(hidden, mode=mode), lambda: mask_outlier_dimensions(hidden)):
        with pytest.raises(NonFiniteError, match="token 5 dimension 3"):
            mask()


def test_a_reference_of_another_width_is_refused_with_both_widths():
    with pytest.raises(ValueError, match="7 dimensions.*4"):
        mask_states(with_sinks([0]), reference=reference(7))


@pytest.mark.parametrize("shape", [(4,), (1, 0, 4), (0, 3, 4), (1, 2, 3, 4)])
def test_a_shape_that_is_no_conditioning_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        mask_states(torch.zeros(shape))


def test_the_seed_function_drops_sinks_of_a_tokens_by_width_tensor():
    hidden = with_sinks([0])[0]
    masked, info = mask_outlier_dimensions(hidden, mode="drop sinks")
    assert torch.equal(masked, hidden[1:])
    assert info["masked_dimensions"] == [] and info["mode"] == "drop sinks"


def test_ratios_are_of_the_view_that_judges():
    """With sinks excluded, a dimension that one sink makes loud may be quiet for all others."""
    hidden = torch.randn(40, 64, generator=torch.Generator().manual_seed(3))
    hidden[:, 7] *= 0.02
    hidden[0, 7] = 300.0
    own = hidden[1:].double().numpy().std(axis=0, ddof=1)
    _, info = mask_outlier_dimensions(hidden, exclude_sinks=True, direction="both")
    assert info["masked_dimensions"] == [7]
    assert info["ratios"][7] == pytest.approx(own[7] / np.median(own), rel=1e-6)
