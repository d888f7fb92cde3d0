"""The picture of a dimension shows every cost, and its words can be read."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.colors import to_rgba  # noqa: E402
from zimage_layer_lab.core.dimension.loss import Cost  # noqa: E402
from zimage_layer_lab.core.dimension.verdict import DECISIVE, Trial, judge  # noqa: E402
from zimage_layer_lab.core.dimension.ways import PLACES, WAYS  # noqa: E402
from zimage_layer_lab.core.dimension.where import Part  # noqa: E402
from zimage_layer_lab.core.draw.dimension_picture import (  # noqa: E402
    NODE_POINTS,
    POINTS,
    draw_probes,
    plot_probes,
    probe_picture,
)
from zimage_layer_lab.core.draw.figures import CALM, GREY, LOUD, QUIET, to_pixels, to_png  # noqa: E402

from ...oracles.figures import words  # noqa: E402
from ...oracles.hand_made_probe import VERDICT, WHERE, hand_made_probe  # noqa: E402

COSTS = {"zero": 3.31, "mean": 0.02, "shuffle": -0.004}


def probe(layer, ways=WAYS):
    """What the picture needs of one hidden state."""
    costs = {
        (way, place): Cost(COSTS[way], COSTS[way] - 0.01, COSTS[way] + 0.01, (COSTS[way],))
        for way in ways
        for place in PLACES
    }
    trials = {
        pair: Trial(costs[pair], costs[pair].mean, (-0.02, 0.011))
        for pair in DECISIVE
        if pair in costs
    }
    parts = (
        Part("special", 9, 0.98, 2000.0, 4000.0),
        Part("word start", 300, 0.02, -40.0, 17.0),
    )
    sides = Part("sinks", 6, 0.98, 10000.0, 0.0), Part("others", 303, 0.02, 38.0, 18.0)
    return SimpleNamespace(
        layer=layer,
        costs=costs,
        trials=trials,
        verdict=judge(trials) if len(trials) == 3 else None,
        where=SimpleNamespace(classes=parts, sides=sides),
    )


@pytest.mark.parametrize("points", [POINTS, NODE_POINTS])
def test_it_names_every_replacement_cost_and_class(points):
    figure = draw_probes([probe(-6), probe(-2)], "SmolLM2: dimension 507", points)
    seen = words(figure)
    for text in (
        *("zero, sinks", "its mean, all", "shuffled, others"),
        *("+3.31", "+0.02", "-0.004", "SmolLM2: dimension 507"),
        *("special (9): 98%", "sinks (6): 98%"),
        *("Layer -6: constant bias. Cost in nats; grey: controls",),
    ):
        assert text in seen, text


def test_of_one_replacement_it_shows_that_alone():
    seen = words(draw_probes([probe(-2, ("zero",))], "a model"))
    assert "Layer -2. Cost in nats; grey: controls" in seen
    assert not [text for text in seen if text.startswith(("its mean", "shuffled"))]


def close(values):
    return pytest.approx(list(values), rel=1e-9)


def panels(made, points=POINTS):
    """The two panels of one hidden state."""
    return draw_probes([made], "a model", points).axes


def costs_panel(costs, trials=(), points=POINTS, **changes):
    """``costs``: (low, mean, high) each; ``trials``: pair -> the costs of controls."""
    pairs = [(way, place) for way in WAYS for place in PLACES]
    costs = {
        pair: Cost(mean, low, high, ())
        for pair, (low, mean, high) in zip(pairs, costs, strict=False)
    }
    trials = {pair: Trial(costs[pair], 0.0, controls) for pair, controls in dict(trials).items()}
    return panels(hand_made_probe(costs=costs, trials=trials, **changes), points)[0]


def parts_panel(classes, sinks, others, points=POINTS):
    """Parts as (name, tokens, mean, std)."""
    every = [
        Part(name, tokens, 0.25, mean, std) for name, tokens, mean, std in (*classes, sinks, others)
    ]
    where = WHERE._replace(classes=tuple(every[:-2]), sides=tuple(every[-2:]))
    return panels(hand_made_probe(where=where), points)[1]


def ticks(axis):
    labels = [label.get_text() for label in axis.get_ticklabels()]
    return list(axis.get_ticklocs()), labels


def assert_bars(lines, bars):
    """Of each bar (y, low, middle, high, color) a line and a dot; then the line at 0."""
    assert len(lines) == 2 * len(bars) + 1
    for number, (y, low, middle, high, color) in enumerate(bars):
        line, dot = lines[2 * number : 2 * number + 2]
        assert list(line.get_xdata()) == close([low, high]) and list(line.get_ydata()) == [y, y]
        assert list(dot.get_xdata()) == close([middle]) and list(dot.get_ydata()) == [y]
        assert line.get_color() == dot.get_color() == color
        assert (line.get_linewidth(), line.get_marker()) == (2, "None")
        assert (dot.get_marker(), dot.get_markersize()) == ("o", 6)
    assert list(lines[-1].get_xdata()) == [0, 0]
    assert (lines[-1].get_color(), lines[-1].get_linewidth()) == (GREY, 1)


def test_every_cost_is_a_dot_in_its_interval_from_the_top_down():
    axes = costs_panel([(0.5, 1.0, 3.0), (-0.2, -0.1, 0.1), (0.01, 0.02, 0.04), (2.0, 4.0, 5.0)])
    bars = [
        (3, 0.5, 1.0, 3.0, LOUD),
        (2, -0.2, -0.1, 0.1, LOUD),
        (1, 0.01, 0.02, 0.04, LOUD),
        (0, 2.0, 4.0, 5.0, CALM),
    ]
    assert_bars(axes.lines, bars)
    assert ticks(axes.yaxis) == (
        [3, 2, 1, 0],
        ["zero, all", "zero, sinks", "zero, others", "its mean, all"],
    )


def test_the_three_replacements_have_a_colour_each():
    axes = costs_panel([(0.0, 1.0, 2.0)] * 9)
    assert [line.get_color() for line in axes.lines[:-1:2]] == [LOUD] * 3 + [CALM] * 3 + [QUIET] * 3
    assert ticks(axes.yaxis)[1][6:] == ["shuffled, all", "shuffled, sinks", "shuffled, others"]


@pytest.mark.parametrize("points", [POINTS, NODE_POINTS])
def test_each_cost_is_written_to_the_right_of_its_interval(points):
    """Of a mean beyond its interval, which a skewed bootstrap may give, right of the mean."""
    axes = costs_panel([(0.5, 1.0, 3.0), (-0.2, -0.1234, 0.1), (0.01, 0.5, 0.04)], points=points)
    assert [(note.get_text(), note.xy) for note in axes.texts] == [
        ("+1", (3.0, 2)),
        ("-0.123", (0.1, 1)),
        ("+0.5", (0.5, 0)),
    ]
    for note in axes.texts:
        assert note.xyann == (6, 0) and note.anncoords == "offset points"
        assert (note.get_va(), note.get_ha(), note.get_color()) == ("center", "left", GREY)
        assert note.get_fontsize() == points - 1


def test_controls_are_a_grey_band_around_their_ablation():
    axes = costs_panel(
        [(0.5, 1.0, 3.0)] * 3,
        {("zero", "all"): (0.25, -0.5, 0.125), ("zero", "sinks"): (), ("zero", "others"): (0.5, 2)},
    )
    first, second = axes.collections
    for band, (left, right), (low, high) in (
        (first, (-0.5, 0.25), (1.6, 2.4)),
        (second, (0.5, 2.0), (-0.4, 0.4)),
    ):
        x, y = band.get_paths()[0].vertices.T
        assert [x.min(), x.max()] == close([left, right])
        assert [y.min(), y.max()] == close([low, high])
        [color] = band.get_facecolor()
        assert tuple(color) == to_rgba(GREY, 0.3) and band.get_linewidth() == [0]


@pytest.mark.parametrize(
    ("trials", "verdict", "title"),
    [
        ({}, None, "Layer -2. Cost in nats"),
        ({("zero", "all"): ()}, VERDICT, "Layer -2: mixed. Cost in nats"),
        (
            {("zero", "all"): (), ("zero", "sinks"): (0.1,)},
            VERDICT,
            "Layer -2: mixed. Cost in nats; grey: controls",
        ),
    ],
)
@pytest.mark.parametrize("points", [POINTS, NODE_POINTS])
def test_the_title_says_the_verdict_and_whether_there_are_controls(trials, verdict, title, points):
    axes = costs_panel([(0.0, 1.0, 2.0)] * 2, trials, points, verdict=verdict)
    assert axes.get_title(loc="left") == title and axes.get_title() == ""
    assert axes._left_title.get_fontsize() == points + 1


@pytest.mark.parametrize(
    ("costs", "controls", "limits", "marks"),
    [
        # However little it costs, the axis reaches to 1 nat.
        ([(0, 0, 0)], (), (-0.005, 1.0), [0, 0.01, 0.1, 1]),
        ([(0.001, 0.002, 0.004)], (), (-0.005, 1.0), [0, 0.01, 0.1, 1]),
        ([(0.001, 0.5, 1.0)], (), (-0.005, 4.0), [0, 0.01, 0.1, 1]),
        ([(0.001, 0.5, 1.5)], (), (-0.005, 10.0), [0, 0.01, 0.1, 1, 10]),
        # A little below 0 is no place for a number.
        ([(-0.004, 0, 0.5)], (), (-0.011, 2.0), [0, 0.01, 0.1, 1]),
        ([(-0.005, 0, 0.5)], (), (-0.0125, 2.0), [0, 0.01, 0.1, 1]),
        ([(-0.006, 0, 0.5)], (), (-0.014, 2.0), [-0.01, 0, 0.01, 0.1, 1]),
        ([(-2, -1, -0.5)], (), (-3.005, 1.0), [-0.01, 0, 0.01, 0.1, 1]),
        ([(-0.6, -0.55, -0.5)], (), (-0.905, 1.0), [-0.01, 0, 0.01, 0.1, 1]),
        # Controls may lie farther out than the dimension, at either end.
        ([(0.2, 0.5, 1.5)], (-4.0, 3.0), (-6.005, 12.0), [-0.01, 0, 0.01, 0.1, 1, 10]),
        ([(0.2, 0.5, 1.5), (1, 30, 35)], (), (-0.005, 140.0), [0, 0.01, 0.1, 1, 10, 100]),
    ],
)
def test_the_axis_of_costs_holds_all_and_has_round_numbers(costs, controls, limits, marks):
    axes = costs_panel(costs, {("zero", "all"): controls})
    assert axes.get_xlim() == close(limits)
    assert ticks(axes.xaxis) == (close(marks), [f"{mark:g}" for mark in marks])
    assert axes.get_xscale() == "symlog" and axes.xaxis.get_transform().linthresh == 0.01
    assert axes.xaxis.get_minor_formatter()(0.5, 0) == ""


def test_each_kind_of_tokens_is_its_mean_and_std_from_the_top_down():
    axes = parts_panel(
        [("special", 9, 2000.0, 4000.0), ("CJK", 0, 0.0, 0.0), ("word start", 300, -40.0, 17.0)],
        sinks=("sinks", 6, 10000.0, 0.0),
        others=("others", 303, 38.0, 18.0),
    )
    bars = [
        (3, -2000, 2000, 6000, CALM),
        (2, -57, -40, -23, CALM),
        (1, 20, 38, 56, CALM),
        (0, 10000, 10000, 10000, LOUD),
    ]
    assert_bars(axes.lines, bars)
    labels = ["special (9): 25%", "word start (300): 25%", "others (303): 25%", "sinks (6): 25%"]
    assert ticks(axes.yaxis) == ([3, 2, 1, 0], labels)
    # The median of 6000, 57, 56 and 10000.
    assert axes.xaxis.get_transform().linthresh == 3028.5
    assert axes.get_xlim() == close([-4000 - 3028.5 / 4, 20000 + 3028.5 / 4])
    assert ticks(axes.xaxis) == ([0, 10000], ["0", "10000"])


@pytest.mark.parametrize(
    ("mean", "limits", "marks"),
    [
        # Ends at -800 and 0.75; the median of 0.75, 1, 0.375 and 800 is 0.875.
        (-700.0, (-1600 - 0.875 / 4, 1.5 + 0.875 / 4), [-100, -10, -1, 0, 1]),
        (700.0, (-2 - 0.875 / 4, 1600 + 0.875 / 4), [-1, 0, 1, 10, 100]),
    ],
)
def test_the_axis_of_values_has_powers_of_ten_on_both_sides(mean, limits, marks):
    classes = [("a", 5, 0.5, 0.25), ("b", 5, -0.5, 0.5)]
    axes = parts_panel(classes, ("sinks", 2, mean, 100.0), ("others", 10, 0.25, 0.125))
    assert axes.get_xlim() == close(limits)
    assert ticks(axes.xaxis) == (close(marks), [f"{mark:g}" for mark in marks])
    assert axes.get_xscale() == "symlog" and axes.xaxis.get_transform().linthresh == 0.875
    assert axes.xaxis.get_minor_formatter()(0.5, 0) == ""


@pytest.mark.parametrize(
    ("mean", "limits", "marks"),
    [
        (5.0, (-1.25, 11.25), [0, 10]),  # 10 is just twice the end
        (4.0, (-1.0, 9.0), [0]),
        (-5.0, (-11.25, 1.25), [-10, 0]),
        (-4.0, (-9.0, 1.0), [0]),
        (0.0, (-2.5e-31, 2.5e-31), [0]),
    ],
)
def test_one_value_alone_has_an_axis_from_0_to_twice_it(mean, limits, marks):
    nothing = ("sinks", 0, 0.0, 0.0)
    axes = parts_panel([("a", 5, mean, 0.0)], nothing, ("others", 5, mean, 0.0))
    assert axes.get_xlim() == pytest.approx(limits, rel=1e-9, abs=0)
    assert ticks(axes.xaxis) == (close(marks), [f"{mark:g}" for mark in marks])
    assert not any(line.get_color() == LOUD for line in axes.lines)


@pytest.mark.parametrize("points", [9, 12])
def test_letters_have_the_size_of_the_place_they_are_for(points):
    figure = draw_probes([hand_made_probe()], "a model", points)
    left, right = figure.axes
    for axes in (left, right):
        assert {label.get_fontsize() for label in axes.get_yticklabels()} == {points}
        assert {label.get_fontsize() for label in axes.get_xticklabels()} == {points - 1}
    assert right.get_title(loc="left") == "Mean and std of its values"
    assert right._left_title.get_fontsize() == points + 1
    assert right.get_xlabel() == "value; % of its variance beside each name"
    assert right.xaxis.label.get_fontsize() == points - 1
    assert right.xaxis.label.get_color() == GREY
    assert (POINTS, NODE_POINTS) == (9, 12)


def test_each_hidden_state_has_a_row_as_high_as_its_letters_need():
    """3.3 inches at 9 points, and above all 0.6 for the title."""
    for count, points, height in ((1, 9, 3.9), (3, 9, 10.5), (1, 12, 5.0), (2, 12, 9.4)):
        figure = draw_probes([hand_made_probe(layer=-n - 1) for n in range(count)], "m", points)
        assert list(figure.get_size_inches()) == close([11.5, height])
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert len(titles) == 2 * count
        for row, title in enumerate(titles[::2]):
            assert title.startswith(f"Layer {-row - 1}: mixed.")
        assert list(figure.axes[0].get_gridspec().get_width_ratios()) == [1.2, 1]
        for axes in figure.axes:
            sides = {name: spine.get_visible() for name, spine in axes.spines.items()}
            assert sides == {"left": True, "bottom": True, "top": False, "right": False}


@pytest.mark.parametrize("points", [9, 12])
def test_the_title_begins_at_the_left_and_is_cut_to_one_line(points):
    figure = draw_probes([hand_made_probe()], "short", points)
    title = figure._suptitle
    assert (title.get_text(), title.get_ha()) == ("short", "left")
    assert title.get_position()[0] == 0.01 and title.get_fontsize() == points + 2
    long = draw_probes([hand_made_probe()], "a long name " * 40, points)
    assert "\n" not in long._suptitle.get_text() and long._suptitle.get_text().endswith("name")
    box = long._suptitle.get_window_extent(FigureCanvasAgg(long).get_renderer())
    assert 9.5 < box.width / long.dpi <= 11.0


def test_the_picture_of_a_node_is_that_of_its_letters():
    pixels = probe_picture(hand_made_probe(), "a model")
    expected = to_pixels(draw_probes([hand_made_probe()], "a model", 12))
    assert pixels.dtype == np.float32 and np.array_equal(pixels, expected)


def test_the_file_shows_what_is_drawn_for_a_page():
    expected = to_png(draw_probes([hand_made_probe()], "a model", 9))
    assert plot_probes([hand_made_probe()], "a model") == expected
