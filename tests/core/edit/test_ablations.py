"""Ablations of planted states, against NumPy."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.ablations import REPLACEMENTS, ablate, parts_to_ablate
from zimage_layer_lab.core.outliers.survey import survey_outliers
from zimage_layer_lab.core.record.record import plain_record

LOUD, SINK = 11, 0


@pytest.fixture
def hidden():
    """30 tokens; dimension 11 is 60 times too loud, token 0 far away in dimensions 20 to 23."""
    states = torch.randn(1, 30, 64, generator=torch.Generator().manual_seed(5))
    states[..., LOUD] *= 60
    states[0, SINK, 20:24] = 900.0
    states[0, SINK, LOUD] = 0.0
    return states


ALL = torch.ones(30, dtype=torch.bool)


def parts_of(hidden, **settings):
    survey = survey_outliers(hidden, None, 10.0, ALL)
    return survey, parts_to_ablate(survey, plain_record(30), ALL, **settings)


def test_each_suspect_is_a_part_and_so_are_all_together(hidden):
    survey, parts = parts_of(hidden)
    labels = [part.label for part in parts]
    singles = {d for part in parts if len(part.dimensions) == 1 for d in part.dimensions}
    assert LOUD in singles and f"dimension {LOUD}" in labels and "sink token 0 '?'" in labels
    [both] = [part for part in parts if part.label == "all outliers and sinks"]
    assert set(both.dimensions) == set(survey.dimensions) and both.tokens == (SINK,)


def test_controls_are_ordinary_and_always_the_same(hidden):
    survey, parts = parts_of(hidden, controls=3)
    controls = [part for part in parts if part.label.startswith("control: ")]
    dimensions = [part.dimensions[0] for part in controls if part.dimensions]
    tokens = [part.tokens[0] for part in controls if part.tokens]
    assert len(dimensions) == len(tokens) == 3
    assert SINK not in tokens and not set(dimensions) & set(survey.dimensions)
    bare = np.delete(hidden[0].double().numpy(), SINK, axis=0).std(0, ddof=1)
    low, high = np.quantile(bare, [0.4, 0.6])
    assert all(low <= bare[number] <= high for number in dimensions)
    assert parts_of(hidden, controls=3)[1] == parts


def test_sixteen_single_tokens_and_four_controls_of_each_kind_unless_told(hidden):
    _, tokens = parts_of(hidden, what="single tokens")
    assert [part.tokens for part in tokens] == [(number,) for number in range(16)]
    _, parts = parts_of(hidden)
    assert sum(part.label.startswith("control: ") for part in parts) == 8


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_a_dimension_is_taken_out_of_every_token(hidden, replace):
    survey, parts = parts_of(hidden)
    [part] = [part for part in parts if part.label == f"dimension {LOUD}"]
    changed, kept = ablate(hidden, part, replace, survey, ALL)
    value = hidden[0, 1:, LOUD].double().mean() if replace == "mean" else 0.0
    assert torch.allclose(changed[0, :, LOUD].double(), torch.as_tensor(value).double())
    others = [number for number in range(64) if number != LOUD]
    assert torch.equal(changed[..., others], hidden[..., others]) and kept == list(range(30))


@pytest.mark.parametrize("replace", REPLACEMENTS)
def test_a_token_is_replaced_or_gone(hidden, replace):
    survey, parts = parts_of(hidden, what="sinks")
    [part] = [part for part in parts if part.label == "sink token 0 '?'"]
    changed, kept = ablate(hidden, part, replace, survey, ALL)
    if replace == "drop":
        assert kept == list(range(1, 30)) and torch.equal(changed, hidden[:, 1:])
        return
    value = hidden[0, 1:].double().mean(0) if replace == "mean" else torch.zeros(64).double()
    assert torch.allclose(changed[0, 0].double(), value, atol=1e-5)
    assert torch.equal(changed[:, 1:], hidden[:, 1:]) and kept == list(range(30))


def test_single_tokens_are_all_content_tokens(hidden):
    selected = ALL.clone()
    selected[25:] = False
    survey = survey_outliers(hidden, None, 10.0, selected)
    parts = parts_to_ablate(survey, plain_record(30), selected, "single tokens", most=100)
    assert [part.tokens for part in parts] == [(at,) for at in range(25)]


def test_no_token_left_is_a_sentence(hidden):
    survey, parts = parts_of(hidden)
    lone = torch.zeros(30, dtype=torch.bool)
    lone[SINK] = True
    [part] = [part for part in parts if part.label == "sink token 0 '?'"]
    with pytest.raises(ValueError, match="no token would be left"):
        ablate(hidden, part, "drop", survey, lone)
