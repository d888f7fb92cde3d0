"""The picture of the image model's answers: a sweep of layers, and other variants."""

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from zimage_layer_lab.core.dit.response import Response, Responses  # noqa: E402
from zimage_layer_lab.core.draw.response_picture import (  # noqa: E402
    response_figure,
    response_picture,
)

from ...oracles.figures import assert_readable, seen_texts, words  # noqa: E402

STEPS = (1, 4, 7)


def figure(labels: list[str], shares: np.ndarray):
    rows = [
        Response(name, (0.1,) * 3, tuple(s), 25) for name, s in zip(labels, shares, strict=True)
    ]
    return response_figure(
        Responses(STEPS, (1.0, 0.9, 0.5), tuple(rows), (1.0,) * 3, 25), "a prompt"
    )


def test_a_sweep_of_all_layers_is_a_curve_from_the_first_to_the_last():
    layers = [-2, -1, *range(-3, -37, -1)]
    shares = np.random.default_rng(0).uniform(0, 1.5, (36, 3))
    drawn = figure([f"layer {layer}" for layer in layers], shares)
    axes = drawn.axes[0]
    by_layer = dict(zip(layers, shares, strict=True))
    for number, step in enumerate(STEPS):
        [line] = [one for one in axes.lines if one.get_label() == f"step {step}"]
        assert list(line.get_xdata()) == list(range(-36, 0))
        expected = [100 * by_layer[layer][number] for layer in range(-36, 0)]
        np.testing.assert_allclose(line.get_ydata(), expected)
    low, high = axes.get_ylim()
    assert low == 0 and high > 100 * shares.max()
    assert -2 in axes.get_xticks()
    # As high as a picture of a few variants, so that it can be read on the node.
    assert drawn.get_figheight() == figure(["layer -2", "layer -6"], shares[:2]).get_figheight()


@pytest.mark.parametrize("other", ["control: dimension 7", "layer -2 masked", "layer -3"])
def test_variants_that_are_no_plain_layers_have_a_row_each(other):
    labels = [*(f"layer -{number}" for number in range(1, 20)), other]
    drawn = figure(labels, np.full((20, 3), 0.5))
    assert [tick.get_text() for tick in drawn.axes[0].get_yticklabels()] == labels


BLUE, ORANGE, GREEN, GREY = "#1d4ed8", "#c2410c", "#047857", "#64748b"
COLORS = (BLUE, ORANGE, GREEN, "#7c3aed", "#b45309", "#0e7490", "#be185d")
SIGMAS = (1.0, 0.9, 0.5)
SHARES = {
    "layer -2 masked": (0.5, 0.25, 0.125),
    "dimension 5": (0.04, 0.05, 0.06),
    "token 0": (1.25, 0.75, 1.0),
    "control: dimension 7": (0.02, 0.03, 0.05),
    "control: dimension 8": (0.04, 0.03, 0.02),
    "control: token 3": (0.1, 0.3, 0.2),
}
SPANS = {"dimension": (0.02, 0.05), "token": (0.1, 0.3), "": (0.02, 0.3)}


def made(shares=SHARES, steps=STEPS, sigmas=SIGMAS):
    rows = [Response(name, (0.1,) * len(steps), tuple(s), 25) for name, s in shares.items()]
    return Responses(steps, sigmas, tuple(rows), (1.0,) * len(steps), 25)


def dots(axes):
    """Label -> (colour, shares, places) of the dots of each step."""
    return {one.get_label(): one for one in axes.lines if one.get_label().startswith("step")}


def test_each_variant_has_a_row_with_a_dot_for_each_step_the_first_on_top():
    figure = response_figure(made(), "a prompt")
    assert_readable(figure)
    rows = figure.axes[0]
    assert [label.get_text() for label in rows.get_yticklabels()] == list(SHARES)
    assert rows.get_yticks().tolist() == [5, 4, 3, 2, 1, 0]
    assert rows.get_ylim() == pytest.approx((-0.7, 5.7))
    for number, step in enumerate(STEPS):
        drawn = dots(rows)[f"step {step}"]
        assert drawn.get_xdata().tolist() == [share[number] for share in SHARES.values()]
        assert drawn.get_ydata().tolist() == [5, 4, 3, 2, 1, 0]
        assert drawn.get_color() == COLORS[number]
        assert drawn.get_marker() == "o" and drawn.get_linestyle() == "None"
    assert rows.get_xscale() == "log"
    colors = [to_hex(label.get_color()) for label in rows.get_yticklabels()]
    assert colors == ["#000000"] * 3 + [GREY] * 3
    legend = [text.get_text() for text in rows.get_legend().get_texts()]
    assert legend == ["step 1", "step 4", "step 7"]
    assert rows.get_legend().get_window_extent().y1 < rows.bbox.y0
    [whole] = [one for one in rows.lines if to_hex(one.get_color()) == GREY]
    assert whole.get_xdata() == [1.0, 1.0], "what removing the prompt does"


def test_grey_behind_a_row_spans_the_controls_of_its_kind():
    rows = response_figure(made(), "a prompt").axes[0]
    kinds = ["", "dimension", "token", "dimension", "dimension", "token"]
    assert len(rows.collections) == 6
    for place, kind, band in zip(range(5, -1, -1), kinds, rows.collections, strict=True):
        corners = band.get_paths()[0].vertices
        low, high = SPANS[kind]
        assert corners.min(0) == pytest.approx((low, place - 0.5))
        assert corners.max(0) == pytest.approx((high, place + 0.5))
        assert to_hex(band.get_facecolor()[0]) == GREY and band.get_alpha() < 0.5
    assert rows.get_title(loc="left") == (
        "Share of what removing the prompt\nchanges; grey: controls"
    )


def test_without_controls_nothing_is_grey():
    figure = response_figure(made({"a": (0.5,) * 3, "b": (0.1,) * 3}), "a prompt")
    rows, curves = figure.axes
    assert rows.get_title(loc="left") == "Share of what removing the prompt\nchanges"
    assert not rows.collections and not curves.patches
    assert {to_hex(label.get_color()) for label in rows.get_yticklabels()} == {"#000000"}


@pytest.mark.parametrize(
    ("smallest", "low", "ticks"),
    [
        (0.4, 0.005, ["1 %", "10 %", "100 %"]),
        (0.0024, 0.0012, ["1 %", "10 %", "100 %"]),
        (0.0003, 0.00015, ["0.1 %", "1 %", "10 %", "100 %"]),
        (1e-9, 1e-6, ["0.001 %", "0.01 %", "0.1 %", "1 %", "10 %", "100 %"]),
    ],
)
def test_axes_begin_below_the_smallest_share_but_not_below_a_millionth(smallest, low, ticks):
    responses = made({"a": (smallest, 0.5, 0.9), "b": (0.0, math.nan, -0.5)})
    figure = response_figure(responses, "a prompt")
    assert_readable(figure)
    rows, curves = figure.axes
    assert rows.get_xlim() == pytest.approx((low / 1.3, 3.0))
    assert curves.get_ylim() == pytest.approx((low / 1.3, 3.0))
    for axis in (rows.xaxis, curves.yaxis):
        named = [label.get_text() for label in axis.get_ticklabels()]
        assert named == ticks
        for name, place in zip(named, axis.get_ticklocs(), strict=True):
            assert place == pytest.approx(float(name[:-2]) / 100)
    at = [dots(rows)[f"step {step}"].get_xdata()[1] for step in STEPS]
    assert at[0] == at[2] == pytest.approx(low) and math.isnan(at[1]), "0 stands at the edge"
    assert dots(rows)["step 1"].get_xdata()[0] == pytest.approx(max(smallest, low))


def test_curves_go_from_much_noise_on_the_left_to_little_with_the_controls_behind():
    figure = response_figure(made(), "a prompt")
    curves = figure.axes[1]
    assert curves.get_title(loc="left") == "Over the noise level, the largest"
    drawn = [one for one in curves.lines if one.get_marker() == "o"]
    judged = ("token 0", "layer -2 masked", "dimension 5")
    for name, color, one in zip(judged, COLORS, drawn, strict=False):
        assert one.get_xdata().tolist() == list(SIGMAS)
        assert one.get_ydata().tolist() == list(SHARES[name])
        assert one.get_color() == color and one.get_linestyle() == "-"
    assert len(drawn) == 3 and curves.get_yscale() == "log"
    assert curves.get_xlim() == pytest.approx((1.025, 0.475))
    assert curves.get_xlabel() == "noise level sigma"
    [whole] = [one for one in curves.lines if to_hex(one.get_color()) == GREY]
    assert whole.get_ydata() == [1.0, 1.0]
    spans = sorted((band.get_y(), band.get_y() + band.get_height()) for band in curves.patches)
    assert np.allclose(spans, sorted((SPANS["dimension"], SPANS["token"])))
    assert {to_hex(band.get_facecolor()) for band in curves.patches} == {GREY}
    names = {note.get_text(): note for note in curves.texts}
    assert {text: note.get_color() for text, note in names.items()} == {
        "token 0: 100 %": BLUE,
        "layer -2 masked: 29.2 %": ORANGE,
        "dimension 5: 5 %": GREEN,
    }
    assert names["layer -2 masked: 29.2 %"].xy == pytest.approx((0.5, 0.125))
    boxes = {one.text: one.box for one in seen_texts(figure)}
    assert all(boxes[text].x0 > curves.bbox.x1 for text in names)


def test_the_seven_largest_on_average_have_a_curve_and_what_has_no_share_comes_last():
    shares = {f"v{number}": (0.01 * number,) * 3 for number in range(1, 9)}
    shares["unknown"] = (math.nan,) * 3
    curves = response_figure(made(shares), "a prompt").axes[1]
    drawn = [one for one in curves.lines if one.get_marker() == "o"]
    assert [one.get_ydata()[0] for one in drawn] == pytest.approx(
        [0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02]
    )
    assert [one.get_color() for one in drawn] == list(COLORS)
    few = {"unknown": (math.nan,) * 3, "some": (0.001,) * 3, "none": (0.0,) * 3}
    figure = response_figure(made(few), "a prompt")
    names = [note.get_text() for note in figure.axes[1].texts]
    assert names == ["some: 0.1 %", "none: 0 %", "unknown: -"]


def test_a_single_step_has_room_at_both_sides():
    shares = {"a": (0.5,), "b": (0.25,)}
    figure = response_figure(made(shares, (3,), (0.8,)), "a prompt")
    assert_readable(figure)
    assert figure.axes[1].get_xlim() == pytest.approx((0.85, 0.75))


def test_more_steps_than_colours_begin_with_the_first_again_four_to_a_line():
    steps = tuple(range(1, 10))
    sigmas = tuple(np.linspace(1.0, 0.2, 9))
    for shares in ({"a": (0.5,) * 9, "b": (0.25,) * 9}, sweep(9)):
        figure = response_figure(made(shares, steps, sigmas), "a prompt")
        assert_readable(figure)
        rows = figure.axes[0]
        drawn = [dots(rows)[f"step {step}"].get_color() for step in steps]
        assert drawn == [*COLORS, BLUE, ORANGE]
        tops = {round(box.y1) for text, box, _ in seen_texts(figure) if text.startswith("step ")}
        assert len(tops) == 3
    two = {"a": (0.5, 0.5), "b": (0.25, 0.1)}
    figure = response_figure(made(two, (1, 2), (1.0, 0.5)), "a prompt")
    boxes = [box for text, box, _ in seen_texts(figure) if text.startswith("step ")]
    assert len(boxes) == 2 and boxes[0].y1 == pytest.approx(boxes[1].y1, abs=1)


def sweep(steps=3, layers=range(-1, -37, -1)):
    return {f"layer {layer}": (-0.01 * layer,) * steps for layer in layers}


@pytest.mark.parametrize(
    ("layers", "ticks"),
    [
        (range(-1, -37, -1), [-34, -30, -26, -22, -18, -14, -10, -6, -2]),
        (range(-1, -13, -1), [-12, -10, -8, -6, -4, -2]),
        (range(-2, -13, -1), None),
        (range(-1, -12, -1), None),
        (range(-3, -15, -1), [-14, -12, -10, -8, -6, -4]),
    ],
)
def test_a_sweep_of_twelve_layers_has_few_ticks_and_none_beside_them(layers, ticks):
    figure = response_figure(made(sweep(layers=layers)), "a prompt")
    assert_readable(figure)
    axes = figure.axes[0]
    if ticks is None:
        assert len(axes.get_yticklabels()) == 11
        return
    assert axes.get_xticks().tolist() == ticks
    assert axes.get_xlabel() == "layer"
    assert axes.get_title(loc="left") == "Share of what removing the prompt changes"
    [whole] = [one for one in axes.lines if to_hex(one.get_color()) == GREY]
    assert whole.get_ydata() == [100, 100]
    assert axes.get_ylim() == (0, 105)
    assert {"0 %", "100 %"} <= set(words(figure))
    lines = dots(axes)
    assert [lines[f"step {step}"].get_color() for step in STEPS] == list(COLORS[:3])
    assert {one.get_linestyle() for one in lines.values()} == {"-"}
    assert axes.get_legend().get_window_extent().y1 < axes.bbox.y0


def test_layers_that_come_twice_are_rows():
    shares = sweep(layers=range(-1, -20, -1))
    rows = [Response(name, (0.1,) * 3, share, 25) for name, share in shares.items()]
    responses = Responses(STEPS, SIGMAS, (*rows, rows[0]), (1.0,) * 3, 25)
    figure = response_figure(responses, "a prompt")
    assert len(figure.axes[0].get_yticklabels()) == 20


@pytest.mark.parametrize(("count", "height"), [(2, 5.6), (12, 5.6), (13, 5.78), (40, 13.07)])
def test_the_picture_grows_with_the_rows(count, height):
    shares = {f"variant {number}": (0.5,) * 3 for number in range(count)}
    figure = response_figure(made(shares), "a prompt")
    assert figure.get_size_inches().tolist() == [10.5, pytest.approx(height)]
    assert figure.dpi == 100


def test_the_title_is_the_prompt_at_the_left_shortened_to_a_line():
    for title in ("a prompt", "狐 " + "a long prompt " * 30):
        figure = response_figure(made(), title)
        assert_readable(figure)
        [seen] = [one for one in seen_texts(figure) if one.text == figure.get_suptitle()]
        assert seen.box.x0 == pytest.approx(0.01 * 1050, abs=2) and seen.box.y1 > 540
        assert seen.text == title or ("…" in seen.text and "\n" not in seen.text)


def test_long_labels_are_shortened_to_a_line():
    shares = {"a long name of a variant " * 5: (0.5,) * 3, "b": (0.1,) * 3}
    figure = response_figure(made(shares), "a prompt")
    assert_readable(figure)
    label = figure.axes[0].get_yticklabels()[0].get_text()
    assert "…" in label and "\n" not in label
    [name] = [note.get_text() for note in figure.axes[1].texts if note.get_color() == BLUE]
    assert "…" in name and name.endswith(": 50 %") and "\n" not in name


def test_the_picture_has_a_hundred_pixels_an_inch():
    picture = response_picture(made(), "a prompt")
    assert picture.shape == (560, 1050, 3) and picture.dtype == np.float32
    assert picture[0, 0].tolist() == [1, 1, 1] and picture.min() < 0.2
