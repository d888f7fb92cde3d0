"""Profiles of made-up states with a known sink, against NumPy over everything at once."""

import json

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.profile.heat_map import heat_map
from zimage_layer_lab.core.profile.profile import (
    Course,
    ProfileStats,
    rise_and_fall,
    summarise,
)

BLOCKS, WIDTH = 3, 16
LENGTHS = (9, 4, 12)


def prompts():
    """Per prompt: hidden state -> (tokens, width); position 0 is a sink in states 1 and 2."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for length in LENGTHS:
        states = {i: torch.randn(length, WIDTH, generator=generator) for i in range(BLOCKS + 1)}
        for index in (1, 2):
            states[index][0, 5] = 4000.0 / index
        made.append(states)
    return made


def streamed(order=(0, 1, 2)):
    stats = ProfileStats(BLOCKS, WIDTH)
    for states in (prompts()[number] for number in order):
        stats.update(states)
    return stats


def test_figures_agree_with_numpy():
    profile = summarise(streamed(), "made up")
    assert profile.tokens == sum(LENGTHS) and profile.prompts == len(LENGTHS)
    for layer in profile.layers:
        rows = torch.cat([states[layer.index] for states in prompts()]).double().numpy()
        content = rows if layer.index in (0, 3) else np.delete(rows, [0, 9, 13], axis=0)
        assert layer.std == pytest.approx(rows.std(ddof=1), rel=1e-9)
        assert layer.std_without_sinks == pytest.approx(content.std(ddof=1), rel=1e-9)
        assert layer.max_abs == np.abs(rows).max()
        assert layer.median_abs == pytest.approx(np.median(np.abs(rows)), rel=0.01)
        stds = rows.std(axis=0, ddof=1)
        ratios = stds / np.median(stds)
        flagged = {d for d in range(WIDTH) if ratios[d] > 10 or ratios[d] < 0.1}
        assert {outlier.dimension for outlier in layer.outliers} == flagged
        for outlier in layer.outliers:
            assert outlier.ratio == pytest.approx(ratios[outlier.dimension], rel=1e-9)


def test_the_sink_is_found_where_it_is_and_named():
    profile = summarise(streamed(), "made up")
    assert profile.sink_positions == ((0,), (0,), (0,))
    assert (profile.emergence_layer, profile.fall_layer) == (1, 2)
    [outlier] = profile.layer(-3).outliers
    assert (outlier.dimension, outlier.kind, outlier.top.position) == (5, "sink-borne", 0)
    assert profile.layer(-3).massive == (5,)
    assert profile.layer(-4).massive == ()


def test_batches_with_padding_count_the_same_as_one_by_one():
    stats = ProfileStats(BLOCKS, WIDTH)
    longest = max(LENGTHS)
    valid = torch.zeros(3, longest, dtype=torch.bool)
    batch = {index: torch.full((3, longest, WIDTH), 1e4) for index in range(BLOCKS + 1)}
    order = (2, 0, 1)
    for row, number in enumerate(order):
        for index, hidden in prompts()[number].items():
            batch[index][row, : len(hidden)] = hidden
        valid[row, : LENGTHS[number]] = True
    stats.update_batch(batch, valid, order)
    one, other = summarise(streamed(), "m"), summarise(stats, "m")
    assert one.sink_positions == other.sink_positions
    assert (one.sink_prompts, one.sink_counts) == (other.sink_prompts, other.sink_counts)
    for first, second in zip(one.layers, other.layers, strict=True):
        assert first.std == pytest.approx(second.std, rel=1e-12)
        assert first.median_abs == second.median_abs
        assert [o.top for o in first.outliers] == [o.top for o in second.outliers]


def test_merging_equals_streaming():
    parts = []
    for number, states in enumerate(prompts()):
        part = ProfileStats(BLOCKS, WIDTH)
        batch = {index: hidden.unsqueeze(0) for index, hidden in states.items()}
        part.update_batch(batch, torch.ones(1, LENGTHS[number], dtype=torch.bool), [number])
        parts.append(part)
    merged_stats = parts[2].merge(parts[0]).merge(parts[1])
    merged = summarise(merged_stats, "m")
    whole = summarise(streamed(), "m")
    assert merged.sink_positions == whole.sink_positions
    assert (merged.sink_prompts, merged.sink_counts) == (3, ((0, 3),))
    for index in range(BLOCKS + 1):
        parts = merged_stats.carriers[index], streamed().carriers[index]
        torch.testing.assert_close(parts[0].m2, parts[1].m2)
    for first, second in zip(merged.layers, whole.layers, strict=True):
        assert first.std_without_sinks == pytest.approx(second.std_without_sinks, rel=1e-12)
        assert [o.top for o in first.outliers] == [o.top for o in second.outliers]


def test_profiles_of_other_models_or_layers_do_not_merge():
    with pytest.raises(ValueError, match="cannot be merged"):
        ProfileStats(3, 16).merge(ProfileStats(3, 16, (1,)))


def test_some_layers_only_have_no_emergence():
    stats = ProfileStats(BLOCKS, WIDTH, indices=(2, 1))
    stats.update(prompts()[0])
    profile = summarise(stats, "m")
    assert [layer.layer for layer in profile.layers] == [-3, -2]
    assert profile.emergence_layer is None and profile.fall_layer is None
    assert profile.sink_positions == ((0,),)


def test_the_loudest_dimension_of_the_last_layers_has_a_course_of_its_own():
    """max|x| is dimension 2's; what is loud at -2 and -6 is 5 and 9."""
    sizes = {2: [5e4, 6e4, 5e4, 6e4, 5e4, 6e4, 5e4], 5: [1, 1, 1, 30, 40, 900, 100]}
    stats = ProfileStats(7, WIDTH)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        states = {i: 0.1 * torch.randn(12, WIDTH, generator=generator) for i in range(8)}
        for index in range(7):
            states[index][:, 2] = sizes[2][index]
            states[index][0, 5] = sizes[5][index]
        states[2][3, 9] = 80.0
        stats.update(states)
    profile = summarise(stats, "m")
    assert profile.fall_layer is None
    loud = [one for one in profile.layer(-6).outliers if one.direction == "loud"]
    assert [outlier.dimension for outlier in loud] == [9]
    assert profile.courses == (Course(5, 3, 6), Course(9, 2, 3))
    document = profile.to_json(lambda place: "token")
    assert document["dimensions"][0] == {
        "dimension": 5,
        "emergence_layer": 3,
        "fall_layer": 6,
    }


def test_a_large_value_that_all_tokens_share_is_constant_and_no_sinks_work():
    """As Gemma-3-270M has it: all tokens large in one dimension, position 0 another value there."""
    stats = ProfileStats(BLOCKS, WIDTH)
    generator = torch.Generator().manual_seed(4)
    for number in range(5):
        states = {i: torch.randn(20, WIDTH, generator=generator) for i in range(BLOCKS + 1)}
        states[2][:, 7] += 30000 + 300 * torch.randn(20, generator=generator)
        states[2][0, 7] = 60000.0
        states[1][:, 7] = 30000 + 300 * torch.randn(20, generator=generator)
        stats.update(states, [1, *range(10 * number + 10, 10 * number + 29)])
    profile = summarise(stats, "m")
    [borne], [wide] = profile.layer(-2).outliers, profile.layer(-3).outliers
    assert (borne.kind_in_words, borne.constant) == ("sink-borne", True)
    assert (wide.kind_in_words, wide.constant) == ("channel-wide, constant", True)
    assert profile.sink_positions == ((0,),) * 5
    [carried] = profile.layer(-2).carried
    assert carried.positions[0] > 0.9 and carried.places[0] == (0, 0) and carried.places[1] is None
    [token] = carried.tokens
    assert token.place == (0, 0) and token.share == pytest.approx(carried.positions[0])
    [entry] = profile.to_json(lambda place: f"t{place.position}")["layers"][2]["outliers"]
    assert entry["class"] == "sink-borne" and entry["constant"] is True
    assert entry["mean_without_sinks"] == pytest.approx(30000, rel=0.01)
    assert entry["positions"][0] == {"position": 0, "share": carried.positions[0], "text": "t0"}
    assert entry["positions"][1]["text"] is None and len(entry["positions"]) == 8
    assert entry["later_positions_share"] == carried.later
    assert entry["tokens"] == [{"share": token.share, "far_values": 5, "text": "t0"}]


def test_no_prompt_is_refused():
    with pytest.raises(ValueError, match="no prompt"):
        summarise(ProfileStats(BLOCKS, WIDTH), "m")


def test_the_json_document_is_json_and_names_the_token():
    profile = summarise(streamed(), "made up")
    document = json.loads(json.dumps(profile.to_json(lambda place: f"token {place.position}")))
    assert document["schema_version"] == 1
    assert document["layers"][1]["outliers"][0]["top_token"]["text"] == "token 0"


@pytest.mark.parametrize(
    ("peaks", "expected"),
    [
        ([1, 2, 50, 49, 10, 3], (2, 4)),
        ([1, 2, 3, 4, 5, 1], (1, None)),
        ([8, 4, 3, 2.5, 1], (3, None)),
        ([1, 2, 50, 26, 14, 3], (2, None)),
        ([1, 2, 50, 24.9, 14, 3], (2, 3)),
        ([1, 9], (0, None)),
    ],
)
def test_rise_and_fall_are_relative_and_leave_the_normed_state_out(peaks, expected):
    found = rise_and_fall([float(peak) for peak in peaks])
    assert found == expected


def test_the_heat_map_is_the_largest_magnitude_and_its_token():
    stats = streamed()
    found = heat_map(stats)
    for row, index in enumerate(found.indices):
        rows = torch.cat([states[index] for states in prompts()]).abs()
        assert torch.equal(found.max_abs[row], rows.amax(0))
        for dimension in range(WIDTH):
            prompt, position = found.places[row, dimension].tolist()
            assert prompts()[prompt][index][position, dimension].abs() == rows[:, dimension].max()


@pytest.mark.parametrize(
    ("image_tokens", "unit", "measured", "kept"),
    [
        ("", "prompt", "3 prompts, 25 tokens", [0, None]),
        ("image", "image", "3 images, 25 image tokens", [3, "image"]),
        ("all", "image", "3 images, 25 tokens", [3, "all"]),
    ],
)
def test_a_profile_says_whether_it_is_of_prompts_or_of_images(image_tokens, unit, measured, kept):
    profile = summarise(streamed(), "made up", image_tokens=image_tokens)
    assert (profile.unit, profile.measured) == (unit, measured)
    document = profile.to_json(str)
    assert [document["images"], document["image_tokens"]] == kept and document["prompts"] == 3
    one = ProfileStats(BLOCKS, WIDTH)
    one.update(prompts()[0])
    assert summarise(one, "x").measured == "1 prompt, 9 tokens"


def test_dimensions_are_judged_against_a_reference_of_their_width_of_any_layer():
    std = torch.linspace(0.01, 30.0, WIDTH, dtype=torch.float64)
    reference = Reference(torch.zeros(WIDTH).double(), std, 0.0, 1.0, provenance={"model": "m"})
    profile = summarise(streamed(), "made up", 5.0, reference)
    for layer in profile.layers:
        rows = torch.cat([states[layer.index] for states in prompts()]).double().numpy()
        ratios = rows.std(axis=0, ddof=1) / std.numpy()
        flagged = {d for d in range(WIDTH) if ratios[d] > 5 or ratios[d] < 0.2}
        assert {outlier.dimension for outlier in layer.outliers} == flagged
        for outlier in layer.outliers:
            assert outlier.ratio == pytest.approx(ratios[outlier.dimension], rel=1e-9)
            assert outlier.reference_std == float(std[outlier.dimension])
    assert profile.to_json(str)["reference"] == {"name": "m", "provenance": {"model": "m"}}
    assert summarise(streamed(), "made up").to_json(str)["reference"] is None
    with pytest.raises(ValueError, match="3 dimensions and the states have 16"):
        summarise(streamed(), "m", 5.0, Reference(torch.zeros(3), torch.ones(3), 0.0, 1.0))


@pytest.mark.parametrize(
    ("indices", "first", "sink_index"),
    [((), 2, 2), ((), 1, 2), ((1, 3), 1, 1), ((3,), 3, 3)],
    ids=["emergence in the last block but one", "one after it", "deepest un-normed", "normed only"],
)
def test_sinks_are_read_one_after_emergence_and_not_in_the_normed_state(indices, first, sink_index):
    stats = ProfileStats(BLOCKS, WIDTH, indices)
    states = {i: torch.randn(9, WIDTH) for i in range(BLOCKS + 1)}
    for index in range(first, BLOCKS + 1):
        states[index][0, 5] = 4000.0
    stats.update(states)
    profile = summarise(stats, "made up")
    assert profile.sink_index == sink_index
    assert profile.sink_positions == stats.sink_positions(sink_index)


def test_massive_activations_are_those_of_sun_et_al():
    """Massive Activations in Large Language Models (arXiv 2402.17762), section 2: over 100 and over
    1,000 times the median magnitude of the hidden state."""
    hidden = torch.full((5000, 4), 0.09)
    hidden[0] = torch.tensor([101.0, 99.0, 0.09, 100.0])
    louder = torch.full((5000, 4), 0.2)
    louder[0] = torch.tensor([201.0, 199.0, 0.2, 101.0])
    for states, expected in ((hidden, (0,)), (louder, (0,))):
        stats = ProfileStats(1, 4, (0,))
        stats.update({0: states})
        [layer] = summarise(stats, "m").layers
        # The median is read from a histogram whose bins are narrower than 1 %.
        assert layer.median_abs == pytest.approx(float(states.median()), rel=0.01)
        assert layer.massive == expected
