"""The picture of two models' stds: each dot in its place, lines, colours and names."""

import warnings

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.draw.figures import CALM, GREY, LOUD, QUIET
from zimage_layer_lab.core.draw.ratio_picture import plot_ratios, ratios_figure
from zimage_layer_lab.core.outliers.std_ratios import StdRatios, StdView

from ...oracles.figures import assert_readable, seen_texts, words

A = np.array([1.5, 64.1, 800.0, 4.0, 6.0])
B = np.array([927.6, 2689.6, 4.0, 4.0, 3.0])
BARE_A, BARE_B = np.array([1.5, 3.0, 700.0, 4.0, 6.0]), np.array([1.4, 3.0, 4.0, 4.0, 3.0])


def view(a, b):
    return StdView(torch.from_numpy(a), torch.from_numpy(b))


def figure(a=A, b=B, bare=True):
    apart = view(BARE_A, BARE_B) if bare else None
    return ratios_figure(StdRatios(view(a, b), apart), "qwen3vl_4b, layer -2", "qwen, layer -6")


def dots(axes):
    """Colour -> the (std in B, std in A) of its dots."""
    return {
        line.get_color(): sorted(map(tuple, line.get_xydata().tolist()))
        for line in axes.lines
        if line.get_marker() == "o"
    }


def test_one_dot_a_dimension_std_in_b_across_and_std_in_a_up():
    whole, bare = figure().axes
    assert dots(whole) == {
        QUIET: [(927.6, 1.5), (2689.6, 64.1)],
        LOUD: [(4.0, 800.0)],
        CALM: [(3.0, 6.0), (4.0, 4.0)],
    }
    assert dots(bare) == {
        LOUD: [(4.0, 700.0)],
        CALM: [(1.4, 1.5), (3.0, 3.0), (3.0, 6.0), (4.0, 4.0)],
    }
    assert (whole.get_xlabel(), whole.get_ylabel()) == ("std in B", "std in A")
    assert whole.get_title("left") == "all tokens: each dot a dimension"
    assert bare.get_title("left") == "without sink tokens: each dot a dimension"


def test_a_diagonal_and_a_line_for_ten_times_more_and_less():
    for axes in figure().axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = [line for line in axes.lines if line.get_linestyle() != "None"]
        factors = {}
        for line in lines:
            x, y = line.get_xydata().T
            assert y[0] / x[0] == pytest.approx(y[1] / x[1])
            assert line.get_color() == GREY
            factors[round(y[0] / x[0], 9)] = line.get_linestyle()
        assert factors == {1.0: "-", 10.0: ":", 0.1: ":"}


def test_the_extremes_are_named_in_their_colours_with_their_ratio():
    said = [(seen.text, seen.color) for seen in seen_texts(figure())]
    for text, color in (
        ("0: 1/618x", QUIET),
        ("1: 1/42x", QUIET),
        ("2: 200x", LOUD),
        ("2: 175x", LOUD),
        ("4: 2x", CALM),
        ("0: 1.07x", CALM),
    ):
        assert (text, color) in said
    texts = [text for text, _ in said]
    assert "A: qwen3vl_4b, layer -2\nB: qwen, layer -6" in texts
    for label in (
        "equal", "10x louder and quieter", "within 10x", "A over 10x louder", "A over 10x quieter",
    ):  # fmt: skip
        assert texts.count(label) == 1
    assert not any(text.startswith("3:") for text in texts), "it is the same in both"
    assert_readable(figure())


def test_without_the_second_view_there_is_one_panel():
    drawn = figure(bare=False)
    assert len(drawn.axes) == 1 and "without sink tokens: each dot a dimension" not in words(drawn)
    assert_readable(drawn)


def test_a_dimension_that_does_not_vary_stands_at_the_edge_and_is_named():
    a, b = np.array([0.0, 2.0, 3.0, 0.0]), np.array([2.0, 0.0, 3.0, 0.0])
    drawn = figure(a, b, bare=False)
    [axes] = drawn.axes
    assert dots(axes) == {
        QUIET: [(2.0, 1.0)], LOUD: [(1.0, 2.0)], CALM: [(1.0, 1.0), (3.0, 3.0)]
    }  # fmt: skip
    assert {"0: A silent", "1: B silent"} <= set(words(drawn))
    assert_readable(drawn)
    assert_readable(figure(np.zeros(3), np.zeros(3), bare=False))


def test_many_dimensions_of_two_real_sizes_stay_readable():
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.normal(size=(2, 2560)) * 0.4) * 4
    a[7], b[396], b[4] = 3000.0, 927.6, 2689.6
    drawn = ratios_figure(StdRatios(view(a, b), view(a, b * 0.9)), "m" * 90, "狐 $x$")
    assert_readable(drawn)


@pytest.mark.parametrize("text", ["\x1b[2J\x00", "$\\frac{$", "狐 🦊"], ids=ascii)
def test_a_name_from_outside_is_drawn_without_a_warning(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = plot_ratios(StdRatios(view(A, B), None), text, text)
    assert png.startswith(b"\x89PNG")


def test_both_panels_have_one_square_scale_with_room_at_its_ends():
    drawn = figure()
    assert drawn.get_size_inches().tolist() == [11.2, 6.2]
    assert figure(bare=False).get_size_inches().tolist() == [5.6, 6.2]
    for axes in drawn.axes:
        limits = pytest.approx((1.4 / 1.6, 2689.6 * 1.6))
        assert axes.get_xlim() == limits and axes.get_ylim() == limits
        for line in axes.lines:
            if line.get_linestyle() != "None":
                assert line.get_xdata() == limits
        spines = axes.spines
        assert not spines["top"].get_visible() and not spines["right"].get_visible()


def test_half_of_the_smallest_std_is_the_edge_where_one_is_0():
    [axes] = figure(np.array([0.0, 2.0, 6.0]), np.array([2.0, 0.0, 6.0]), bare=False).axes
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((1 / 1.6, 6 * 1.6))
    shown = [
        text for text in words(figure(np.zeros(3), np.zeros(3), bare=False)) if "x" not in text
    ]
    assert "std in A" in shown
    [axes] = figure(np.zeros(3), np.zeros(3), bare=False).axes
    assert axes.get_xlim() == pytest.approx((0.5 / 1.6, 1.6))
    assert dots(axes) == {CALM: [(0.5, 0.5)] * 3}


def test_a_std_too_small_for_the_axes_stands_at_a_millionth_of_a_millionth():
    [axes] = figure(np.array([1e-20, 1.0]), np.array([1.0, 1.0]), bare=False).axes
    assert dots(axes)[QUIET] == [(1.0, 1e-12)]
    assert axes.get_xlim() == pytest.approx((1e-12 / 1.6, 1.6))


def test_ten_times_is_still_within_and_a_little_more_is_not():
    a, b = np.array([10.0, 1.0, 10.01, 1.0]), np.array([1.0, 10.0, 1.0, 10.01])
    [axes] = figure(a, b, bare=False).axes
    assert dots(axes) == {
        CALM: [(1.0, 10.0), (10.0, 1.0)],
        LOUD: [(1.0, 10.01)],
        QUIET: [(10.01, 1.0)],
    }
    sizes = {
        line.get_color(): line.get_markersize() for line in axes.lines if line.get_ls() == "None"
    }
    assert sizes[LOUD] == sizes[QUIET] > sizes[CALM]


def test_six_of_the_loudest_and_six_of_the_quietest_are_named_at_their_dots():
    b = np.ones(40)
    a = np.array([*np.linspace(20, 3000, 20), *(1 / np.linspace(20, 3000, 20))])
    [axes] = figure(a, b, bare=False).axes
    notes = {note.get_text(): note for note in axes.texts}
    loud = {19: "3,000x", 18: "2,843x", 17: "2,686x", 16: "2,529x", 15: "2,373x", 14: "2,216x"}
    expected = [f"{d}: {times}" for d, times in loud.items()]
    expected += [f"{d + 20}: 1/{times}" for d, times in loud.items()]
    assert sorted(notes) == sorted(expected)
    for text, note in notes.items():
        dimension = int(text.split(":")[0])
        assert note.xy == pytest.approx((1.0, a[dimension]))
        assert note.get_color() == (LOUD if dimension < 20 else QUIET)


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(99.94, "99.9x"), (100.0, "100x"), (100.4, "100x"), (1234.5, "1,234x"), (1.004, "1x"),
     (0.5, "1/2x"), (1 / 1234.5, "1/1,234x")],
)  # fmt: skip
def test_ratios_are_said_in_few_letters(ratio, shown):
    [axes] = figure(np.array([ratio, 1.0]), np.array([1.0, 1.0]), bare=False).axes
    assert [note.get_text() for note in axes.texts] == [f"0: {shown}"]


def test_the_legend_names_each_colour_and_line_once_under_the_panels():
    drawn = figure()
    [legend] = drawn.legends
    named = {}
    for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        named[text.get_text()] = (handle.get_color(), handle.get_linestyle())
    assert named == {
        "equal": (GREY, "-"),
        "10x louder and quieter": (GREY, ":"),
        "within 10x": (CALM, "None"),
        "A over 10x louder": (LOUD, "None"),
        "A over 10x quieter": (QUIET, "None"),
    }
    seen = {one.text: one.box for one in seen_texts(drawn)}
    assert all(seen[name].y1 < seen["std in B"].y0 for name in named)
    assert seen["A: qwen3vl_4b, layer -2\nB: qwen, layer -6"].x0 == pytest.approx(
        0.01 * drawn.bbox.width, abs=2
    )
