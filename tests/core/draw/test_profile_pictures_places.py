"""The pictures of a report: limits, places and sizes, worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from zimage_layer_lab.core.draw.profile_pictures import (
    comparison_figure,
    dimensions_figure,
    events,
    layers_figure,
    masking_figure,
)
from zimage_layer_lab.core.edit.mask_effects import ModeEffect
from zimage_layer_lab.core.measure.split_stats import SplitStats

from ...oracles.figures import assert_readable, no_warning, seen_texts, words
from ...oracles.profiles import hand_outlier, hand_profile

ORANGE, BLUE, GREEN, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"


@pytest.fixture(autouse=True)
def _no_warning():
    with no_warning():
        yield


def panel(std, bare=None, found=(), number=-2):
    """A layer and statistics with these stds over all tokens and without the first, a sink."""
    bare = std if bare is None else bare
    split = SplitStats(len(std))
    pair = torch.tensor([[1.0], [-1.0]], dtype=torch.float64) / math.sqrt(2)
    others = pair * torch.tensor(bare, dtype=torch.float64)
    # Of three values 0, b and -b with a = s (first), the variance is (a^2 2/3 + b^2) / 2.
    variance = 3 * (np.square(std) - np.square(bare) / 2)
    first = torch.tensor(np.sqrt(variance.clip(0)), dtype=torch.float64)[None]
    split.update(torch.cat([first, others]), sinks=torch.tensor([True, False, False]))
    profile = hand_profile([1.0] * 9, outliers={9 + number: found})
    return profile.layer(number), split


def dots(axes, marker="."):
    return [one for one in axes.lines if one.get_marker() == marker]


STDS = [1.0, 2.0, 3.0, 4.0, 5.0, 80.0, 0.05]


def test_limits_are_half_as_much_again_around_all_stds_and_levels_alike_in_both_directions():
    [axes] = dimensions_figure([panel(STDS)]).axes
    assert dots(axes)[0].get_xdata() == pytest.approx(STDS, rel=1e-6)
    assert dots(axes)[0].get_ydata() == pytest.approx(STDS, rel=1e-6)
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((0.05 / 1.5, 120.0), rel=1e-6)
    assert axes.lines[0].get_xdata() == pytest.approx((0.05 / 1.5, 120.0), rel=1e-6)
    assert to_hex(axes.lines[0].get_color()) == GREY and axes.lines[0].get_linestyle() == "-"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    [axes] = dimensions_figure([panel(STDS)], 50.0).axes
    assert axes.get_ylim() == pytest.approx((0.05 / 1.5, 50 * 3 * 1.5), rel=1e-6)
    quiet = [hand_outlier(6, 0.05, "quiet")]
    [axes] = dimensions_figure([panel(STDS, found=quiet)], 300.0).axes
    assert axes.get_ylim() == pytest.approx((3 / 300 / 1.5, 900 * 1.5), rel=1e-6)


def test_limits_hold_the_stds_of_both_views():
    std = [2.0, 4.0, 4.0, 4.0, 70.0]
    [axes] = dimensions_figure([panel(std, [0.1, 4.0, 4.0, 4.0, 90.0])], measured_against="m").axes
    assert axes.get_xlim()[0] == pytest.approx(0.1 / 1.5, rel=1e-6)
    assert axes.get_ylim()[1] == pytest.approx(90 * 1.5, rel=1e-6)
    [axes] = dimensions_figure(
        [panel([0.5, 4.0, 99.0], [0.6, 4.0, 90.0])], measured_against="m"
    ).axes
    assert axes.get_xlim() == pytest.approx((0.5 / 1.5, 99 * 1.5), rel=1e-6)


def test_a_std_of_0_stands_at_half_of_the_smallest():
    [axes] = dimensions_figure([panel([0.0, 2.0, 4.0])]).axes
    assert dots(axes)[0].get_xdata() == pytest.approx([1.0, 2.0, 4.0], rel=1e-6)
    assert axes.get_xlim()[0] == pytest.approx(1 / 1.5, rel=1e-6)


def test_the_first_eight_of_each_kind_are_named_and_all_are_coloured():
    stds = [*np.linspace(500, 600, 10), *([1.0] * 40), *np.linspace(0.01, 0.02, 9)]
    found = [hand_outlier(d) for d in range(10)]
    found += [hand_outlier(d, 0.01, "quiet") for d in range(50, 59)]
    figure = dimensions_figure([panel(stds, found=found)])
    assert_readable(figure)
    [axes] = figure.axes
    named = {note.get_text(): to_hex(note.get_color()) for note in axes.texts}
    expected = {str(d): ORANGE for d in range(8)} | {str(d): GREEN for d in range(50, 58)}
    assert named == expected | {"10x the median": GREY, "1/10 of the median": GREY}
    loud, quiet = dots(axes, "o")
    assert loud.get_xdata() == pytest.approx(stds[:10], rel=1e-6)
    assert quiet.get_xdata() == pytest.approx(stds[50:], rel=1e-6)
    places = {note.get_text(): note.xy for note in axes.texts}
    assert places["7"] == pytest.approx((stds[7], stds[7]), rel=1e-6)
    assert places["10x the median"] == pytest.approx((axes.get_xlim()[1], 10.0), rel=1e-6)


def test_against_a_reference_no_line_is_drawn_for_the_median_and_the_colours_are_explained():
    panels = [panel(STDS, found=[hand_outlier(5)], number=n) for n in (-2, -6)]
    figure = dimensions_figure(panels, 7.0, "another model")
    assert_readable(figure)
    assert figure.get_size_inches().tolist() == [10.8, 5.0]
    said = "orange and green: 7x louder and quieter than another model"
    [seen] = [one for one in seen_texts(figure) if one.text == said]
    assert seen.color == GREY and seen.box.x0 == pytest.approx(0.01 * figure.bbox.width, abs=2)
    for axes in figure.axes:
        assert not [one for one in axes.lines if one.get_linestyle() == ":"]
        assert [note.get_text() for note in axes.texts] == ["5"]
    plain = dimensions_figure(panels[:1])
    assert plain.get_size_inches().tolist() == [5.4, 4.6]
    assert not any("louder" in text for text in words(plain))


def test_a_panel_without_any_spread_says_so_in_its_middle_and_the_others_are_drawn():
    figure = dimensions_figure([panel([0.0] * 4), panel(STDS)])
    empty, full = figure.axes
    [note] = empty.texts
    assert note.get_text() == "No dimension varies." and to_hex(note.get_color()) == GREY
    [seen] = [one for one in seen_texts(figure) if one.text == note.get_text()]
    middle = (seen.box.x0 + seen.box.x1) / 2, (seen.box.y0 + seen.box.y1) / 2
    box = empty.bbox
    assert middle == pytest.approx(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2), abs=4)
    assert len(empty.get_yticks()) == 0 and len(dots(full)) == 1


def test_magnitudes_have_room_and_whole_hidden_states():
    figure = layers_figure(hand_profile([4.0, 32.0, 8.0], [0.8, 1.0, 2.0]))
    [axes] = figure.axes
    assert axes.get_ylim() == pytest.approx((0.5, 51.2)) and axes.get_xlim() == (-0.5, 2.5)
    assert axes.get_xticks().tolist() == [0, 1, 2]
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["largest |x|", "median |x|"]
    seen = {one.text: one.box for one in seen_texts(figure)}
    under = seen["hidden state (0: embeddings; the last one is normed)"]
    assert seen["largest |x|"].y1 < under.y0, "the legend is under the axes"
    assert figure.get_size_inches().tolist() == [9.0, 4.8]
    title = seen["a model: magnitudes by layer, 3 prompts"]
    assert title.x0 == pytest.approx(axes.bbox.x0, abs=3)


def test_triangles_at_the_foot_show_what_image_models_take():
    made = dataclasses.replace(hand_profile([1.0 + k for k in range(37)]), width=2560)
    figure = layers_figure(made)
    assert_readable(figure)
    [axes] = figure.axes
    marks = dots(axes, "^")
    assert [one.get_label() for one in marks] == ["Flux.2 Klein 4B takes", "Krea 2 takes"]
    for one, color, height in zip(marks, ("#7c3aed", "#0e7490"), (0.02, 0.06), strict=True):
        assert to_hex(one.get_color()) == color and one.get_linestyle() == "None"
        places = one.get_transform().transform(one.get_xydata())
        assert places[:, 1] == pytest.approx(axes.bbox.y0 + height * axes.bbox.height)
        across = axes.transData.transform([(x, 1.0) for x in one.get_xdata()])
        assert places[:, 0] == pytest.approx(across[:, 0])
    assert {"Flux.2 Klein 4B takes", "Krea 2 takes"} <= set(words(figure))


def test_events_in_one_state_are_named_together_in_grey():
    figure = layers_figure(hand_profile([1.0, 5.0, 9.0, 2.0, 1.0], None, 3, 3))
    [axes] = figure.axes
    names = {note.get_text(): to_hex(note.get_color()) for note in axes.texts}
    assert names == {"largest rise, largest drop, layer -2: 3": GREY}
    assert events(hand_profile([1.0, 2.0], None, None, 1)) == [(1, "largest drop")]
    massive = {1: [3]}
    assert events(hand_profile([1.0, 2.0], None, 0, 1, massive=massive)) == [
        (0, "emerges"),
        (1, "falls"),
    ]


def test_without_a_value_the_words_stand_in_the_middle():
    zeros = hand_profile([0.0] * 5, [0.0] * 5)
    document = zeros.to_json(lambda place: "t")
    for figure in (layers_figure(zeros), comparison_figure(document, document)):
        said = "Every value is 0, or none is finite."
        [seen] = [one for one in seen_texts(figure) if one.text == said]
        box = figure.axes[0].bbox
        assert (seen.box.x0 + seen.box.x1) / 2 == pytest.approx((box.x0 + box.x1) / 2, abs=4)
        assert (seen.box.y0 + seen.box.y1) / 2 == pytest.approx((box.y0 + box.y1) / 2, abs=4)
        assert len(figure.axes[0].get_yticks()) == 0


def test_a_comparison_has_room_for_both_and_says_what_depth_is():
    a = hand_profile([4.0, 32.0], [0.8, 1.0], model="a").to_json(lambda place: "t")
    b = hand_profile([40.0, 10.0], [0.4, 1.0], model="b").to_json(lambda place: "t")
    figure = comparison_figure(a, b)
    [axes] = figure.axes
    assert axes.get_ylim() == pytest.approx((0.25, 64.0))
    assert axes.get_xlabel() == "depth (0: embeddings, 1: after the last block and the final norm)"
    assert axes.get_ylabel() == "magnitude"
    tops = {}
    for text, box, _ in seen_texts(figure):
        if "_abs" in text:
            tops.setdefault(round(box.y1 / 8), []).append(text)
    assert [len(texts) for texts in tops.values()] == [2, 2], "two lines of two"


def test_the_bars_of_a_mode_lie_side_by_side_the_sinks_above():
    modes = [
        ModeEffect("zero", (7,), 30, 30, 1.2, 0.4, 0.5, 0.9),
        ModeEffect("clamp", (7,), 1, 30, 0.8, 0.4, 0.1, 0.9),
        ModeEffect("drop sinks", (), 1, 30, math.nan, math.nan, 0.0, 1.0),
    ]
    figure = masking_figure({-2: modes, -6: modes})
    assert_readable(figure)
    assert figure.get_size_inches().tolist() == [10.8, 3.8]
    for axes in figure.axes:
        assert axes.get_yticks().tolist() == [0, 1, 2]
        low, high = axes.get_ylim()
        assert low > high, "the first mode is on top"
        assert axes.get_xlim()[0] == 0
        for bar in axes.patches:
            row = round(bar.get_y() + bar.get_height() / 2)
            place = row + (-0.2 if to_hex(bar.get_facecolor()) == ORANGE else 0.2)
            assert bar.get_y() + bar.get_height() / 2 == pytest.approx(place)
            assert bar.get_height() == pytest.approx(0.38)
        [note] = axes.texts
        [box] = [one.box for one in seen_texts(figure) if one.text == note.get_text()][:1]
        assert to_hex(note.get_color()) == GREY
        row_in_pixels = axes.transData.transform((0, 2))[1]
        assert (box.y0 + box.y1) / 2 == pytest.approx(row_in_pixels, abs=3)
        assert note.xy[0] == 0.02
        assert len(axes.get_xticks()) <= 7


def test_long_names_of_models_are_cut_to_a_line():
    made = hand_profile([4.0, 32.0], model="a long name of a model " * 20)
    title = layers_figure(made).axes[0].get_title(loc="left")
    assert "…" in title and "\n" not in title and title.endswith("by layer, 3 prompts")
    document = made.to_json(lambda place: "t")
    [legend] = comparison_figure(document, document).legends
    assert all("…" in text.get_text() for text in legend.get_texts())
    assert not any("\n" in text.get_text() for text in legend.get_texts())
