"""What the pictures of a report say: their lines, texts and colours, from hand-made profiles."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from zimage_layer_lab.core.draw.profile_pictures import (
    comparison_figure,
    dimensions_figure,
    layers_figure,
    masking_figure,
    plot_comparison,
    plot_dimensions,
    plot_layers,
    plot_masking,
)
from zimage_layer_lab.core.edit.mask_effects import ModeEffect
from zimage_layer_lab.core.measure.split_stats import SplitStats

from ...oracles.figures import assert_readable, no_warning, seen_texts, words
from ...oracles.profiles import EACH_PROFILE, FOX, PROFILES, hand_outlier, hand_profile

ORANGE, BLUE, GREEN, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"
PEAKS = [1.0, 3.0, 20.0, 9000.0, 9100.0, 9000.0, 8000.0, 700.0, 40.0]
MEDIANS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(autouse=True)
def _no_warning():
    with no_warning():
        yield


def line(axes, label):
    [found] = [one for one in axes.lines if one.get_label() == label]
    return found


def named(figure):
    """text -> colour of what is written beside and in the axes."""
    return {note.get_text(): to_hex(note.get_color()) for note in figure.axes[0].texts}


# ---------------------------------------------------------------------------------------- layers


@pytest.mark.parametrize("profile", EACH_PROFILE)
def test_the_layers_of_any_profile_are_readable(profile):
    assert_readable(layers_figure(profile))


def test_the_lines_of_the_layers_are_the_profiles_own_numbers():
    [axes] = layers_figure(hand_profile(PEAKS, MEDIANS, 3, 7)).axes
    for label, values, color in (("largest |x|", PEAKS, ORANGE), ("median |x|", MEDIANS, BLUE)):
        drawn = line(axes, label)
        assert drawn.get_xdata().tolist() == list(range(9))
        assert drawn.get_ydata().tolist() == values
        assert to_hex(drawn.get_color()) == color
    assert axes.get_yscale() == "log" and axes.get_xscale() == "linear"
    assert axes.get_ylabel() == "magnitude"
    assert axes.get_xlabel() == "hidden state (0: embeddings; the last one is normed)"


def test_the_lines_of_some_layers_stand_at_their_own_hidden_states():
    [axes] = layers_figure(hand_profile([9, 8, 7], blocks=36, first=31)).axes
    assert line(axes, "largest |x|").get_xdata().tolist() == [31, 32, 33]


@pytest.mark.parametrize(
    ("massive", "rise", "fall"),
    [
        ({3: [4]}, "emerges, layer -6: 3", "falls, layer -2: 7"),
        (None, "largest rise, layer -6: 3", "largest drop, layer -2: 7"),
    ],
)
def test_events_are_named_at_their_hidden_states(massive, rise, fall):
    figure = layers_figure(hand_profile(PEAKS, MEDIANS, 3, 7, massive=massive))
    found = {note.get_text(): note.xy[0] for note in figure.axes[0].texts}
    assert found == {rise: 3, fall: 7}
    drawn = {float(one.get_xdata()[0]) for one in figure.axes[0].lines if one.get_ls() == ":"}
    assert drawn == {3.0, 7.0}


def test_layers_2_and_6_are_marked_where_they_stand():
    peaks = [float(10 + i) for i in range(13)]
    figure = layers_figure(hand_profile(peaks, None, 2, 4))
    found = {note.get_text(): note.xy[0] for note in figure.axes[0].texts}
    assert found == {
        "largest rise: 2": 2,
        "largest drop: 4": 4,
        "layer -6: 7": 7,
        "layer -2: 11": 11,
    }
    squares = [one for one in figure.axes[0].lines if one.get_marker() == "s"]
    drawn = sorted((one.get_xdata()[0], one.get_ydata()[0]) for one in squares)
    assert drawn == [(7, 17.0), (11, 21.0)]


def test_what_was_not_measured_is_not_named():
    figure = layers_figure(hand_profile([9, 8], None, 3, 35, blocks=40, first=20))
    assert not named(figure)


def test_the_title_has_the_model_and_the_number_of_prompts():
    assert "m: magnitudes by layer, 3 prompts" in words(
        layers_figure(hand_profile([1, 2], model="m"))
    )
    one = hand_profile([1, 2], model="m", prompts=1)
    assert "m: magnitudes by layer, 1 prompt" in words(layers_figure(one))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 31, 81])
def test_ticks_are_whole_hidden_states(count):
    figure = layers_figure(hand_profile([5.0] * count, blocks=max(80, count)))
    seen_texts(figure)
    ticks = [t for t in figure.axes[0].get_xticks() if -0.5 <= t <= count - 0.5]
    assert ticks and all(tick == int(tick) for tick in ticks)
    assert len(ticks) <= 13


def test_values_that_a_log_axis_has_no_place_for_leave_a_gap():
    [axes] = layers_figure(hand_profile([0.0, 5.0, math.inf], [math.nan, 1.0, 2.0])).axes
    assert np.isnan(line(axes, "largest |x|").get_ydata()).tolist() == [True, False, True]
    assert np.isnan(line(axes, "median |x|").get_ydata()).tolist() == [True, False, False]
    assert "Every value is 0, or none is finite." in words(layers_figure(PROFILES["zeros"]))


# ------------------------------------------------------------------------------------ dimensions


def split_of(sinks, others):
    """Statistics of (tokens, width) ``others``, and of ``sinks`` at the first positions."""
    split = SplitStats(others.shape[1])
    mask = torch.arange(len(sinks) + len(others)) < len(sinks)
    split.update(torch.from_numpy(np.concatenate([sinks, others])), sinks=mask)
    return split


def states(width=40, tokens=30, sinks=1, seed=0):
    others = np.random.default_rng(seed).normal(size=(tokens, width))
    loud = np.random.default_rng(seed + 1).normal(size=(sinks, width))
    return loud, others


def layer_with(outliers, number=-2):
    profile = hand_profile([1.0] * 9, outliers={9 + number: outliers})
    return profile.layer(number)


def test_each_dot_is_a_dimension_with_and_without_sinks():
    sinks, others = states()
    sinks[0, 7] = 900.0
    everything = np.concatenate([sinks, others])
    panel = (layer_with([hand_outlier(7)]), split_of(sinks, others))
    [axes] = dimensions_figure([panel]).axes
    [dots] = [one for one in axes.lines if one.get_marker() == "."]
    assert to_hex(dots.get_color()) == BLUE
    assert np.allclose(dots.get_xdata(), others.std(0, ddof=1), rtol=1e-6)
    assert np.allclose(dots.get_ydata(), everything.std(0, ddof=1), rtol=1e-6)
    [flagged, *more] = [one for one in axes.lines if one.get_marker() == "o"]
    assert to_hex(flagged.get_color()) == ORANGE and not more
    assert flagged.get_xdata() == pytest.approx([others.std(0, ddof=1)[7]], rel=1e-6)
    assert flagged.get_ydata() == pytest.approx([everything.std(0, ddof=1)[7]], rel=1e-6)
    assert axes.get_xlabel() == "std without sink tokens"
    assert axes.get_ylabel() == "std over all tokens"
    assert axes.get_title(loc="left") == "layer -2: each dot a dimension"
    diagonal = axes.lines[0]
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())


@pytest.mark.parametrize("threshold", [10.0, 4.0])
def test_the_dotted_line_is_the_threshold_over_the_median_of_all_tokens(threshold):
    sinks, others = states()
    figure = dimensions_figure([(layer_with([]), split_of(sinks, others))], threshold)
    median = np.median(np.concatenate([sinks, others]).std(0, ddof=1))
    [level] = [one for one in figure.axes[0].lines if one.get_ls() == ":"]
    assert level.get_ydata() == pytest.approx([threshold * median] * 2, rel=1e-6)
    assert named(figure)[f"{threshold:g}x the median"] == GREY
    assert figure.axes[0].get_ylim()[1] > threshold * median


def test_loud_and_quiet_dimensions_have_names_and_colours_of_their_own():
    sinks, others = states()
    others[:, 3] *= 0.01
    sinks[:, 3] *= 0.01
    sinks[0, 7] = 900.0
    found = [hand_outlier(7), hand_outlier(3, 0.01, "quiet")]
    figure = dimensions_figure([(layer_with(found), split_of(sinks, others))])
    colors = named(figure)
    assert colors["7"] == ORANGE and colors["3"] == GREEN
    median = np.median(np.concatenate([sinks, others]).std(0, ddof=1))
    levels = sorted(one.get_ydata()[0] for one in figure.axes[0].lines if one.get_ls() == ":")
    assert levels == pytest.approx([median / 10, median * 10], rel=1e-6)
    assert colors["1/10 of the median"] == GREY
    assert_readable(figure)


def test_every_panel_has_its_own_layer():
    sinks, others = states()
    panels = [(layer_with([], n), split_of(sinks, others)) for n in (-2, -6)]
    titles = [axes.get_title(loc="left") for axes in dimensions_figure(panels).axes]
    assert titles == ["layer -2: each dot a dimension", "layer -6: each dot a dimension"]


@pytest.mark.parametrize("case", ["many close", "zeros", "constant", "no sinks", "huge", "wide"])
def test_the_dimensions_of_any_layer_are_readable(case):
    sinks, others = states(width=2560 if case == "wide" else 40)
    found = []
    if case in ("many close", "wide"):
        sinks[0, :15] = 900.0 + np.arange(15)
        found = [hand_outlier(number) for number in range(15)]
    if case == "zeros":
        sinks, others = 0 * sinks, 0 * others
    if case == "constant":
        others[:, 1:] = 3.0
        sinks[:, 1:] = 3.0
    if case == "no sinks":
        sinks = sinks[:0]
    if case == "huge":
        sinks, others = 1e30 * sinks, 1e30 * others
    panels = [(layer_with(found, n), split_of(sinks, others)) for n in (-2, -6)]
    figure = dimensions_figure(panels)
    assert_readable(figure)
    if case == "zeros":
        assert words(figure).count("No dimension varies.") == 2


# ------------------------------------------------------------------------------------ comparison


def document(profile):
    return profile.to_json(lambda place: "t")


def test_a_comparison_draws_both_over_their_own_depth():
    a = document(hand_profile(PEAKS, MEDIANS, 3, 7, model="first"))
    b = document(hand_profile([5, 6, 7], [0.5, 0.6, 0.7], 1, 2, model="second"))
    [axes] = comparison_figure(a, b).axes
    for label, values, color, style in (
        ("A, max_abs: first", PEAKS, ORANGE, "-"),
        ("A, median_abs: first", MEDIANS, ORANGE, ":"),
        ("B, max_abs: second", [5, 6, 7], BLUE, "-"),
        ("B, median_abs: second", [0.5, 0.6, 0.7], BLUE, ":"),
    ):
        drawn = line(axes, label)
        assert drawn.get_ydata().tolist() == values
        assert drawn.get_xdata() == pytest.approx(np.linspace(0, 1, len(values)))
        assert to_hex(drawn.get_color()) == color and drawn.get_ls() == style
    assert axes.get_yscale() == "log"
    legend = comparison_figure(a, b).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [
        "A, max_abs: first",
        "A, median_abs: first",
        "B, max_abs: second",
        "B, median_abs: second",
    ]


@pytest.mark.parametrize("profile", EACH_PROFILE)
def test_any_comparison_is_readable(profile):
    assert_readable(comparison_figure(document(profile), document(PROFILES["usual"])))


# --------------------------------------------------------------------------------------- masking


def effects(scale=1.0):
    return [
        ModeEffect("zero", (7,), 30, 30, 1.2 * scale, 0.4, 0.5 * scale, 0.9),
        ModeEffect("clamp", (7,), 1, 30, 0.8 * scale, 0.4, 0.1 * scale, 0.9),
        ModeEffect("drop sinks", (), 1, 30, math.nan, math.nan, 0.0, 1.0),
    ]


def test_bars_are_what_each_mode_changes_of_sinks_and_of_others():
    figure = masking_figure({-2: effects(), -6: effects(0.5)})
    for axes, scale, layer in zip(figure.axes, (1.0, 0.5), (-2, -6), strict=True):
        assert axes.get_title(loc="left") == f"layer {layer}"
        rows = [label.get_text() for label in axes.get_yticklabels()]
        assert rows == ["zero", "clamp", "drop sinks"]
        bars = {
            (rows[round(bar.get_y() + bar.get_height() / 2)], to_hex(bar.get_facecolor())): bar
            for bar in axes.patches
        }
        widths = {key: bar.get_width() for key, bar in bars.items()}
        assert widths.pop(("drop sinks", ORANGE)) != 0, "NaN"
        assert widths == {
            ("zero", ORANGE): 1.2 * scale,
            ("zero", BLUE): 0.5 * scale,
            ("clamp", ORANGE): 0.8 * scale,
            ("clamp", BLUE): 0.1 * scale,
            ("drop sinks", BLUE): 0.0,
        }
        [note] = axes.texts
        assert note.get_text() == "sinks are gone, the others as before"
        assert note.xy[1] == rows.index("drop sinks")
        assert axes.get_xlabel() == "relative L2 after RMSNorm (0: the DiT sees no change)"
    [legend] = figure.legends
    named = zip(legend.get_texts(), legend.get_patches(), strict=True)
    assert [(text.get_text(), to_hex(patch.get_facecolor())) for text, patch in named] == [
        ("sink tokens", ORANGE),
        ("all other tokens", BLUE),
    ]


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1.0, 1e6])
def test_any_masking_is_readable(scale):
    panels = {-2: effects(scale)} if scale > 1 else {-2: effects(scale), -6: effects(1.0)}
    assert_readable(masking_figure(panels))


# ----------------------------------------------------------------------------------------- files


def test_each_picture_is_a_png_of_what_its_figure_shows():
    profile, [sinks, others] = PROFILES["usual"], states()
    pictures = [
        plot_layers(profile),
        plot_dimensions([(profile.layers[1], split_of(sinks, others))]),
        plot_comparison(document(profile), document(profile)),
        plot_masking({-2: effects()}),
    ]
    assert all(png.startswith(b"\x89PNG") for png in pictures)


@pytest.mark.parametrize(
    "text",
    ["\x1b[2J\x1b]0;title\x07", "a\x00b\x7f\n", "\ud83e", "$\\frac{$ $x^", FOX],
    ids=ascii,
)
def test_a_name_from_outside_is_drawn_without_a_warning(text):
    """matplotlib warns of every character that its fonts lack, control characters included."""
    profile = dataclasses.replace(PROFILES["usual"], model=text)
    assert_readable(layers_figure(profile))
    assert_readable(comparison_figure(document(profile), document(profile)))
