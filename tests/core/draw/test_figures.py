"""What all figures share: the limits and ticks of their axes, and their pixels."""

import io
import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.markers import TICKDOWN, TICKLEFT  # noqa: E402
from PIL import Image  # noqa: E402
from zimage_layer_lab.core.draw.figures import (  # noqa: E402
    fit_log_axis,
    log_ticks,
    name_decades,
    new_figure,
    positive,
    set_limits,
    to_pixels,
    to_png,
    whole_ticks,
)

from ...oracles.figures import assert_readable, seen_texts  # noqa: E402

BOTH = pytest.mark.parametrize("which", ["x", "y"])


def log_axis(which, low, high):
    """A log axis of empty axes, ``low`` to ``high``; the other one has no ticks."""
    axes = Figure(figsize=(8, 8)).add_axes([0.2, 0.2, 0.6, 0.6])
    axis, other = (axes.xaxis, axes.yaxis) if which == "x" else (axes.yaxis, axes.xaxis)
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    set_limits(axis, low, high)
    other.set_ticks([])
    return axis


def limits(axis):
    return axis.axes.get_xlim() if axis.axis_name == "x" else axis.axes.get_ylim()


def written(axis):
    """What is written beside the axis, from its low to its high end."""
    place = 0 if axis.axis_name == "x" else 1
    seen = seen_texts(axis.get_figure())
    return [one.text for one in sorted(seen, key=lambda one: one.box.min[place])]


@BOTH
@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.3, 20.0, [0.5, 1, 2, 5, 10, 20]),
        (0.02, 0.9, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (2.5, 9.0, [5]),
        (1.0, 99.0, [1, 2, 5, 10, 20, 50]),
        (1e-12, 3e-12, [1e-12, 2e-12]),
    ],
)
def test_a_short_log_axis_has_ticks_at_1_2_and_5(which, low, high, ticks):
    axis = log_axis(which, low, high)
    log_ticks(axis, low, high)
    assert axis.get_ticklocs() == pytest.approx(ticks)
    assert written(axis) == [f"{tick:g}" for tick in ticks]
    assert not axis.axes.lines and len(axis.get_minorticklocs()) == 0
    assert_readable(axis.get_figure())


@pytest.mark.parametrize(
    ("which", "low", "high", "names"),
    [
        ("x", 1.0, 100.0, "10⁰ 10¹ 10²"),
        ("x", 0.009, 2e2, "10⁻² 10⁻¹ 10⁰ 10¹ 10²"),
        ("x", 0.5, 5e4, "10⁰ 10¹ 10² 10³ 10⁴"),
        ("x", 0.5, 5e5, "10⁰ 10² 10⁴"),
        ("x", 1.0, 1e10, "10⁰ 10³ 10⁶ 10⁹"),
        ("y", 0.5, 5e5, "10⁰ 10¹ 10² 10³ 10⁴ 10⁵"),
        ("y", 1.0, 1e9, "10⁰ 10¹ 10² 10³ 10⁴ 10⁵ 10⁶ 10⁷ 10⁸ 10⁹"),
        ("y", 1.0, 1e10, "10⁰ 10² 10⁴ 10⁶ 10⁸ 10¹⁰"),
        ("y", 2e-25, 0.2, "10⁻²⁴ 10⁻²¹ 10⁻¹⁸ 10⁻¹⁵ 10⁻¹² 10⁻⁹ 10⁻⁶ 10⁻³"),
    ],
)
def test_a_longer_one_has_powers_of_ten_few_enough_to_be_read(which, low, high, names):
    raised = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    axis = log_axis(which, low, high)
    log_ticks(axis, low, high)
    assert written(axis) == names.split()
    powers = [int(name[2:].translate(raised)) for name in names.split()]
    assert axis.get_ticklocs() == pytest.approx([10.0**power for power in powers])
    assert len(axis.get_minorticklocs()) == 0
    assert_readable(axis.get_figure())


@BOTH
@pytest.mark.parametrize("high", [250.0, 2500.0])
def test_small_marks_stand_between_neighbouring_powers_on_the_edge_of_the_axes(which, high):
    axis = log_axis(which, 0.5, high)
    log_ticks(axis, 0.5, high)
    [marks] = axis.axes.lines
    along = 0 if which == "x" else 1
    expected = [*(n / 10 for n in range(5, 10)), *range(2, 10), *range(20, 100, 10), 200]
    expected += [*range(300, 1000, 100), 2000] if high > 2000 else []
    assert marks.get_xydata()[:, along] == pytest.approx(expected)
    pixels = marks.get_transform().transform(marks.get_xydata())
    edge = axis.axes.bbox.y0 if which == "x" else axis.axes.bbox.x0
    assert pixels[:, 1 - along] == pytest.approx([edge] * len(expected))
    inside = axis.axes.transData.transform(np.array([[expected[0]] * 2]))
    assert pixels[0, along] == pytest.approx(inside[0, along])
    assert marks.get_marker() == (TICKDOWN if which == "x" else TICKLEFT), "outward"
    assert to_hex(marks.get_color()) == "#000000" and marks.get_linestyle() == "None"
    assert not marks.get_clip_on()


def test_marks_between_powers_are_left_out_where_powers_are():
    axis = log_axis("x", 0.5, 5e5)
    log_ticks(axis, 0.5, 5e5)
    assert not axis.axes.lines


@BOTH
@pytest.mark.parametrize(
    ("first", "last", "step"),
    [
        (0, 0, 1), (31, 33, 1), (0, 12, 1), (0, 13, 2), (3, 27, 2), (3, 28, 5), (0, 60, 5),
        (0, 61, 10), (0, 120, 10), (0, 121, 20), (0, 240, 20), (0, 241, 50), (0, 600, 50),
        (0, 601, 100), (0, 1200, 100), (0, 1201, 1000), (0, 20_000, 1000),
    ],
)  # fmt: skip
def test_whole_ticks_are_multiples_of_a_round_step(which, first, last, step):
    axes = Figure().add_subplot()
    axis = axes.xaxis if which == "x" else axes.yaxis
    whole_ticks(axis, first, last)
    assert limits(axis) == (first - 0.5, last + 0.5)
    assert axis.get_ticklocs().tolist() == list(range(-(-first // step) * step, last + 1, step))
    assert limits(axes.yaxis if which == "x" else axes.xaxis) == (0, 1)


def test_only_finite_values_over_0_have_a_place_on_a_log_axis():
    nan, inf = math.nan, math.inf
    shown = positive([None, 0.0, -1.0, nan, inf, -inf, 2.0, 1e-300])
    assert np.isnan(shown[:6]).all() and shown[6:].tolist() == [2.0, 1e-300]
    assert shown.dtype == np.float64 and positive([]).shape == (0,)


@BOTH
def test_a_log_axis_has_room_for_all_values(which):
    axis = log_axis(which, 1e-5, 1e5)
    some = [np.array([[3.2, math.nan], [48.0, 16.0]]), np.array([math.nan, 8.0])]
    assert fit_log_axis(axis, some) is True
    assert limits(axis) == pytest.approx((2.0, 76.8))
    assert written(axis) == ["2", "5", "10", "20", "50"]


@BOTH
def test_a_log_axis_without_a_value_stays_as_it_is(which):
    axis = log_axis(which, 1e-5, 1e5)
    assert fit_log_axis(axis, [np.full(3, math.nan), np.full((2, 2), math.nan)]) is False
    assert limits(axis) == (1e-5, 1e5)


@pytest.mark.parametrize(
    ("low", "high", "ratios"),
    [
        (-1.0, 2.0, [0.1, 1, 10, 100]),
        (-0.5, 3.2, [1, 10, 100, 1000]),
        (0.0, 1.0, [1, 10]),
        (0.0, 8.0, [10.0**power for power in range(9)]),
        (0.0, 8.5, [1, 1e2, 1e4, 1e6, 1e8]),
        (-1.0, 16.0, [10.0**power for power in (-1, 2, 5, 8, 11, 14)]),
        (math.log10(3), math.log10(30), [5, 10, 20]),
        (math.log10(3), math.log10(9), [5]),
        (math.log10(5.2), math.log10(60), [10, 20, 50]),
        (math.log10(0.04), math.log10(0.6), [0.05, 0.1, 0.2, 0.5]),
    ],
)
def test_a_colour_bar_of_logarithms_names_ratios(low, high, ratios):
    figure = Figure()
    axes = figure.add_subplot()
    bar = figure.colorbar(axes.imshow([[low, high]], vmin=low, vmax=high))
    bar.minorticks_on()
    name_decades(bar, low, high, color="#c2410c")
    assert bar.get_ticks() == pytest.approx(np.log10(ratios))
    labels = bar.ax.get_yticklabels()
    assert [label.get_text() for label in labels] == [f"{ratio:g}x" for ratio in ratios]
    assert {to_hex(label.get_color()) for label in labels} == {"#c2410c"}, "in the given style"
    assert len(bar.ax.get_yticks(minor=True)) == 0


def test_panels_stand_side_by_side_without_an_upper_and_a_right_edge():
    figure, panels = new_figure(6.0, 3.0, 3)
    assert figure.get_size_inches().tolist() == [6.0, 3.0]
    assert list(panels) == figure.axes and len(panels) == 3
    figure.draw_without_rendering()
    boxes = [axes.get_position() for axes in panels]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < boxes[2].x0
    assert len({box.y0 for box in boxes}) == 1
    for axes in panels:
        shown = {side for side, spine in axes.spines.items() if spine.get_visible()}
        assert shown == {"left", "bottom"}
    assert len(new_figure(2.0, 3.0)[1]) == 1


def test_a_png_has_130_pixels_per_inch():
    png = Image.open(io.BytesIO(to_png(Figure(figsize=(2.0, 1.0)))))
    assert png.format == "PNG" and png.size == (260, 130)


def test_a_png_has_the_pixels_that_matplotlib_saves():
    def figure():
        made, [left, right] = new_figure(5.0, 3.0, 2)
        left.plot([1, 2, 3], [10.0, 0.1, 3.0], "o-", label="a line")
        log_ticks(left.yaxis, 0.1, 10.0)
        right.set_title("a title", loc="left")
        made.legend(loc="outside lower center")
        return made

    buffer = io.BytesIO()
    figure().savefig(buffer, format="png", dpi=130)
    expected = np.asarray(Image.open(buffer))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(to_png(figure())))), expected)


@pytest.mark.parametrize("measured", [False, True])
def test_pixels_are_red_green_and_blue_from_0_to_1_top_row_first(measured):
    figure = Figure(figsize=(2.0, 1.0), dpi=50, facecolor="#ff3300")
    figure.add_axes([0, 0, 1, 0.5], facecolor="#0000ff", xticks=[], yticks=[])
    if measured:
        seen_texts(figure)
    pixels = to_pixels(figure)
    assert pixels.shape == (50, 100, 3) and pixels.dtype == np.float32
    assert pixels[10, 50] == pytest.approx([1.0, 0.2, 0.0])
    assert pixels[40, 50].tolist() == [0.0, 0.0, 1.0]
