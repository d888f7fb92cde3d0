"""A layer or a mix chosen, then masked, then normalized, with the record of what was done."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.edit.state_edits import LayerChoice, StateEdits
from zimage_layer_lab.core.encoder.layers import LayerRangeError
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.record.record import Record, Role

TOKENS, WIDTH = 20, 32


def sequence():
    """Token 3 is a sink in dimension 7; dimension 5 is loud in every token."""
    hidden = torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    hidden[..., 5] *= 400
    hidden[0, 3, 7] = 9000.0
    return hidden


def record(layer=-6):
    texts = tuple(f"t{number}" for number in range(TOKENS))
    return Record(layer, "a model", tuple(range(TOKENS)), texts, (Role.TEXT,) * TOKENS)


@pytest.mark.parametrize(
    ("edits", "names"),
    [
        ({}, ()),
        ({"mask": "zero"}, ("outlier mask: zero, threshold 10, loud",)),
        (
            {"mask": "clamp", "threshold": 2.5, "direction": "both", "exclude_sinks": True},
            ("outlier mask: clamp, threshold 2.5, both, judged without sinks",),
        ),
        ({"mask": "drop sinks", "exclude_sinks": True}, ("outlier mask: drop sinks",)),
        ({"normalize": "hybrid"}, ("normalize: hybrid, sinks kept",)),
        (
            {"mask": "sink to mean", "normalize": "rms per token", "keep_sinks": False},
            ("outlier mask: sink to mean", "normalize: rms per token, sinks too"),
        ),
    ],
)
def test_the_names_say_each_setting_that_counts(edits, names):
    assert StateEdits(**edits).names == names


def test_nothing_asked_for_changes_neither_states_nor_record():
    hidden, before = sequence(), record()
    after, said = StateEdits().apply(hidden, before)
    assert after is hidden and said is before


def test_zeroed_dimensions_are_named_with_what_they_were_measured_against():
    hidden, said = StateEdits(mask="zero").apply(sequence(), record())
    expected = sequence()
    expected[..., [5, 7]] = 0
    assert torch.equal(hidden, expected)
    [edit] = said.edits
    assert edit.startswith("outlier mask: zero, threshold 10, loud, against ")
    assert edit.endswith(": 2 dimensions: 5, 7")


def test_a_dimension_that_is_loud_in_a_sink_alone_stays_where_sinks_are_left_out():
    hidden, said = StateEdits(mask="zero", exclude_sinks=True).apply(sequence(), record())
    expected = sequence()
    expected[..., 5] = 0
    assert torch.equal(hidden, expected)
    assert said.edits[0].endswith(": 1 dimensions: 5")


def test_of_many_dimensions_twelve_are_named():
    hidden = torch.randn(1, TOKENS, 64, generator=torch.Generator().manual_seed(1))
    hidden[..., :14] *= 400
    masked, said = StateEdits(mask="zero").apply(hidden, record())
    assert (masked[..., :14] == 0).all() and torch.equal(masked[..., 14:], hidden[..., 14:])
    assert ": 14 dimensions: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11" in said.edits[0]
    assert "12" not in said.edits[0].split("dimensions: ")[1]


def test_a_dropped_sink_is_gone_from_states_and_record():
    hidden, said = StateEdits(mask="drop sinks").apply(sequence(), record())
    kept = [number for number in range(TOKENS) if number != 3]
    assert torch.equal(hidden, sequence()[:, kept])
    assert said.ids == tuple(kept)
    assert said.edits == ("outlier mask: drop sinks: token 3",)


def test_a_mask_that_changes_nothing_is_no_edit():
    quiet = torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    for mask in ("zero", "drop sinks"):
        hidden, said = StateEdits(mask=mask).apply(quiet, record())
        assert torch.equal(hidden, quiet) and said.edits == ()


def test_rms_per_token_is_numpys_and_comes_after_the_mask():
    both = StateEdits(mask="zero", normalize="rms per token")
    hidden, said = both.apply(sequence(), record())
    states = sequence()[0].double().numpy()
    states[:, [5, 7]] = 0
    rms = np.sqrt((states**2).mean(1, keepdims=True))
    # With both dimensions gone no token is a sink any more.
    expected = states / rms * np.median(rms)
    np.testing.assert_allclose(hidden[0].double().numpy(), expected, rtol=2e-6)
    assert [edit.split(",")[0] for edit in said.edits] == [
        "outlier mask: zero",
        "normalize: rms per token",
    ]
    assert said.edits[1].startswith("normalize: rms per token, sinks kept, to ")


@pytest.mark.parametrize("keep_sinks", [True, False])
def test_sinks_are_kept_out_of_normalizing_unless_told(keep_sinks):
    edits = StateEdits(normalize="rms per token", keep_sinks=keep_sinks)
    hidden, said = edits.apply(sequence(), record())
    assert torch.equal(hidden[0, 3], sequence()[0, 3]) is keep_sinks
    assert ("sinks kept" if keep_sinks else "sinks too") in said.edits[0]


def test_states_that_have_the_target_already_are_not_edited():
    hidden = torch.ones(1, TOKENS, WIDTH)
    same, said = StateEdits(normalize="rms per token").apply(hidden, record())
    assert torch.equal(same, hidden) and said.edits == ()


def test_a_connected_reference_is_what_both_measure_against():
    std = torch.ones(WIDTH, dtype=torch.float64)
    std[5] = 400.0
    mean, whole = torch.zeros(WIDTH, dtype=torch.float64), float(std.square().mean().sqrt())
    own = Reference(mean, std, 0.0, whole, mean, std, {"model": "a quiet model"})
    edits = StateEdits(mask="zero", normalize="global", reference=own)
    hidden, said = edits.apply(sequence(), record())
    assert float(hidden[..., 5].std()) > 100  # as loud as the reference says
    assert ", against a quiet model" in said.edits[0] and said.edits[0].endswith(": 7")
    assert "a quiet model" in said.edits[1]


def test_the_published_figures_are_taken_at_layer_minus_2_of_width_2560_only():
    hidden = torch.randn(1, TOKENS, 2560, generator=torch.Generator().manual_seed(0))
    hidden[..., 9] *= 4000
    for layer, taken in ((-2, True), (-6, False)):
        one = replace(record(), layer=layer)
        _, said = StateEdits(mask="zero").apply(hidden, one)
        assert ("published figures" in said.edits[0]) is taken, layer
    # Whether a token was a sink is not known of them.
    with_sinks = StateEdits(normalize="global", keep_sinks=False)
    _, said = with_sinks.apply(hidden, record(-2))
    assert "published figures" in said.edits[0]
    with pytest.raises(ValueError, match="needs a reference"):
        with_sinks.apply(hidden, record(-6))
    _, said = StateEdits(normalize="rms per token").apply(hidden, record(-2))
    assert "published" not in said.edits[0]


@pytest.mark.parametrize(
    ("text", "indices", "shares", "layer", "name"),
    [
        ("-2", (35,), (), -2, "-2"),
        (" -37 ", (0,), (), -37, "-37"),
        ("-2: 0.5, -6: 0.5", (35, 31), (0.5, 0.5), None, "-2: 0.5, -6: 0.5"),
        ("-2: 3, -6: 0", (35,), (), -2, "-2"),
    ],
)
def test_a_layer_or_a_mix_is_read(text, indices, shares, layer, name):
    choice = LayerChoice.parse(text, "rms matched", 36)
    assert (choice.indices, choice.layer, choice.name) == (indices, layer, name)
    assert choice.shares == shares
    assert choice.method == ("rms matched" if len(indices) > 1 else "")
    assert choice.edit == (f"layer mix: rms matched, {name}" if len(indices) > 1 else "")


def test_all_layers_are_the_mean_of_the_normalised_ones_whatever_the_method():
    choice = LayerChoice.parse("all", "rms matched", 3)
    assert sorted(choice.indices) == [0, 1, 2, 3] and choice.layer is None
    assert choice.edit == "layer mix: mean of normalised layers, all"


def test_several_layers_without_weights_are_refused():
    with pytest.raises(ValueError, match="'-2, -6' names 2 layers.*-2: 0.5, -6: 0.5"):
        LayerChoice.parse("-2, -6", "rms matched", 36)
    with pytest.raises(LayerRangeError):
        LayerChoice.parse("-38", "rms matched", 36)


def test_a_mix_is_numpys_weighted_mean():
    generator = torch.Generator().manual_seed(0)
    states = {index: torch.randn(TOKENS, WIDTH, generator=generator).half() for index in (31, 35)}
    mixed = LayerChoice.parse("-2: 0.75, -6: 0.25", "raw", 36).choose(states)
    expected = 0.75 * states[35].double().numpy() + 0.25 * states[31].double().numpy()
    np.testing.assert_allclose(mixed.double().numpy(), expected, rtol=1e-5, atol=1e-5)
    single = LayerChoice.parse("-6", "raw", 36).choose(states)
    assert single.dtype == torch.float32 and torch.equal(single, states[31].float())
