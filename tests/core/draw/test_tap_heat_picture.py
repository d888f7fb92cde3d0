"""The picture of taps: each cell the logarithm of its ratio, all in their places."""

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from zimage_layer_lab.core.draw.tap_heat_picture import (  # noqa: E402
    farthest_of,
    tap_heat_figure,
    tap_heat_picture,
)
from zimage_layer_lab.core.measure.reference import Reference  # noqa: E402
from zimage_layer_lab.core.outliers.tap_survey import survey_taps  # noqa: E402
from zimage_layer_lab.core.taps.layout import Taps  # noqa: E402

from ...oracles.figures import assert_readable, seen_texts, words  # noqa: E402

ORANGE, PURPLE = "#c2410c", "#7c3aed"


def survey_of(ratios, layers=None):
    """A survey in which the std of each dimension of each tap is ``ratios`` times a reference."""
    ratios = np.asarray(ratios, dtype=float)
    taps, width = ratios.shape
    pattern = torch.tensor([1.0, -1.0] * 3, dtype=torch.float64)[None, :, None] * (5 / 6) ** 0.5
    hidden = (pattern * torch.from_numpy(ratios.reshape(1, 1, -1))).float()
    one = Reference(torch.zeros(width).double(), torch.ones(width).double(), 0.0, 1.0)
    layout = Taps(tuple(layers or range(9, 9 + taps)), width)
    return survey_taps(hidden, layout, [one] * taps)


def assert_readable_with_numbers(figure):
    """Each number lies inside its own cell, and no other text over anything."""
    cells = figure.axes[1]
    boxes = {one.text: [] for one in seen_texts(figure)}
    for text, box, _ in seen_texts(figure):
        boxes[text].append(box)
    for note in list(cells.texts):
        column, tap = note.xy
        corners = cells.transData.transform([(column - 0.5, tap + 0.5), (column + 0.5, tap - 0.5)])
        (left, bottom), (right, top) = corners
        assert any(
            left < box.x0 and box.x1 < right and bottom < box.y0 and box.y1 < top
            for box in boxes[note.get_text()]
        ), note.get_text()
        note.remove()
    assert_readable(figure)


CALM = [[1.0, 2.0, 0.5, 1.0], [1.0, 1.0, 3.0, 0.25], [4.0, 1.0, 1.0, 1.0]]
LOUD = np.ones((3, 20))
LOUD[0, 7], LOUD[1, 3], LOUD[2, 11], LOUD[2, 7] = 500.0, 1 / 200, 20.0, 0.5


def test_cells_are_logarithms_of_ratios_one_row_a_tap_the_first_on_top():
    figure = tap_heat_figure(survey_of(CALM), "a title")
    assert_readable(figure)
    whole, bar = figure.axes
    [image] = whole.images
    assert np.allclose(image.get_array(), np.log10(CALM), atol=1e-5)
    assert image.get_clim() == (-1, 1) and image.get_cmap().name == "PuOr_r"
    assert image.get_extent() == [-0.5, 3.5, 2.5, -0.5] and image.get_interpolation() == "nearest"
    assert whole.get_xlim() == (-0.5, 3.5)
    assert [label.get_text() for label in whole.get_yticklabels()] == [
        "layer 9", "layer 10", "layer 11",
    ]  # fmt: skip
    assert whole.get_yticks().tolist() == [0, 1, 2]
    assert whole.get_xlabel() == "dimension of a tap"
    assert bar.get_ylabel() == "std over the reference"
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0.1x", "1x", "10x"]
    assert not whole.texts and "a title" in words(figure)
    [title] = [one for one in seen_texts(figure) if one.text == "a title"]
    assert title.box.x0 == pytest.approx(0.01 * 1210, abs=2)


def test_the_farthest_are_named_above_orange_over_and_purple_under_the_reference():
    assert_readable_with_numbers(tap_heat_figure(survey_of(LOUD), "a title"))
    figure = tap_heat_figure(survey_of(LOUD), "a title")
    whole, cells, bar = figure.axes
    notes = {note.get_text(): (note.xy[0], to_hex(note.get_color())) for note in whole.texts}
    assert notes == {"7": (7, ORANGE), "3": (3, PURPLE), "11": (11, ORANGE)}
    reach = np.log10(500)
    for axes in (whole, cells):
        assert axes.images[0].get_clim() == pytest.approx((-reach, reach), abs=1e-5)
        assert axes.images[0].get_cmap().name == "PuOr_r"
        assert axes.get_yticks().tolist() == [0, 1, 2]
    named = [label.get_text() for label in bar.get_yticklabels()]
    assert named == ["0.01x", "0.1x", "1x", "10x", "100x"]


def test_below_each_of_the_farthest_has_a_column_with_its_ratios_in_words():
    cells = tap_heat_figure(survey_of(LOUD), "a title").axes[1]
    assert np.allclose(cells.images[0].get_array(), np.log10(LOUD[:, [7, 3, 11]]), atol=1e-5)
    assert [label.get_text() for label in cells.get_xticklabels()] == ["7", "3", "11"]
    assert cells.get_xticks().tolist() == [0, 1, 2] and cells.get_xlim() == (-0.5, 7.5)
    assert cells.get_xlabel() == "the dimensions that are farthest out of line in one tap"
    said = {note.xy: (note.get_text(), to_hex(note.get_color())) for note in cells.texts}
    dark, pale = "#ffffff", "#111111"
    assert said == {
        (0, 0): ("5e+02", dark), (1, 0): ("1", pale), (2, 0): ("1", pale),
        (0, 1): ("1", pale), (1, 1): ("0.005", dark), (2, 1): ("1", pale),
        (0, 2): ("0.5", pale), (1, 2): ("1", pale), (2, 2): ("20", pale),
    }  # fmt: skip
    assert {(note.get_ha(), note.get_va()) for note in cells.texts} == {("center", "center")}


@pytest.mark.parametrize(
    ("ratio", "color"), [(85.0, "#ffffff"), (58.0, "#ffffff"), (52.0, "#111111")]
)
def test_numbers_are_white_from_65_percent_of_the_colours_on(ratio, color):
    """10 to the power of 0.65 times log10(500) is 56.8."""
    ratios = np.ones((2, 20))
    ratios[0, 7], ratios[1, 4] = 500.0, ratio
    cells = tap_heat_figure(survey_of(ratios), "a title").axes[1]
    assert {to_hex(n.get_color()) for n in cells.texts if n.get_text() == f"{ratio:.2g}"} == {color}


def test_ratios_beyond_ten_thousand_have_the_last_colour_and_their_own_number():
    ratios = np.ones((2, 20))
    ratios[0, 7], ratios[1, 4] = 1e6, 1e-6
    whole, cells, _ = tap_heat_figure(survey_of(ratios), "a title").axes
    [image] = whole.images
    assert image.get_clim() == (-4, 4)
    assert image.get_array()[0, 7] == 4 and image.get_array()[1, 4] == -4
    assert {"1e+06", "1e-06"} <= {note.get_text() for note in cells.texts}


def test_ten_are_named_sixteen_have_a_column_the_farthest_first():
    ratios = np.ones((2, 40))
    ratios[1, :20] = np.linspace(20, 400, 20)
    assert_readable_with_numbers(tap_heat_figure(survey_of(ratios), "a title"))
    figure = tap_heat_figure(survey_of(ratios), "a title")
    whole, cells, _ = figure.axes
    assert [note.get_text() for note in whole.texts] == [str(d) for d in range(19, 9, -1)]
    columns = [label.get_text() for label in cells.get_xticklabels()]
    assert columns == [str(d) for d in range(19, 3, -1)]
    assert cells.get_xlim() == (-0.5, 15.5)


def test_a_dimension_out_of_line_in_two_taps_is_named_once_by_the_farther():
    ratios = np.ones((2, 20))
    ratios[0, 7], ratios[1, 7] = 30.0, 1 / 300
    whole, cells, _ = tap_heat_figure(survey_of(ratios), "a title").axes
    assert [(note.get_text(), to_hex(note.get_color())) for note in whole.texts] == [("7", PURPLE)]
    assert [label.get_text() for label in cells.get_xticklabels()] == ["7"]


def test_of_dimensions_that_share_a_column_the_farthest_from_1_is_shown():
    logs = torch.tensor([[0.5, -2.0, 1.0, 0.0, -0.25], [0.0, 0.0, -1.0, 3.0, 0.5]])
    assert farthest_of(logs, 2).tolist() == [[-2.0, 1.0, -0.25], [0.0, 3.0, 0.5]]
    assert farthest_of(logs, 5).tolist() == [[-2.0], [3.0]]
    assert torch.equal(farthest_of(logs, 1), logs)
    ratios = np.ones((2, 1300))
    ratios[0, 1299], ratios[1, 1] = 0.01, 50.0
    assert_readable_with_numbers(tap_heat_figure(survey_of(ratios), "a title"))
    figure = tap_heat_figure(survey_of(ratios), "a title")
    whole = figure.axes[0]
    [image] = whole.images
    assert image.get_array().shape == (2, 434)
    assert image.get_array()[0, 433] == pytest.approx(-2) and image.get_array()[1, 0] > 1.6
    assert image.get_extent()[:2] == [-0.5, 1301.5] and whole.get_xlim() == (-0.5, 1299.5)
    assert whole.get_xlabel() == "dimension of a tap; a column is the farthest of 3"


@pytest.mark.parametrize(("taps", "step"), [(16, 1), (17, 2), (33, 3)])
def test_at_most_sixteen_taps_are_named(taps, step):
    ratios = np.ones((taps, 8))
    ratios[1, 3] = 50.0
    figure = tap_heat_figure(survey_of(ratios, range(taps)), "a title")
    for axes in figure.axes[:2]:
        assert axes.get_yticks().tolist() == list(range(0, taps, step))
        shown = [label.get_text() for label in axes.get_yticklabels()]
        assert shown == [f"layer {tap}" for tap in range(0, taps, step)]


def test_any_title_is_cut_to_a_line():
    figure = tap_heat_figure(survey_of(CALM), "狐 $x$ " * 60)
    assert_readable(figure)
    assert "\n" not in figure.get_suptitle() and "…" in figure.get_suptitle()


def test_the_picture_has_the_size_of_the_other_picture_of_outliers():
    picture = tap_heat_picture(survey_of(LOUD), "a title")
    assert picture.shape == (968, 1210, 3) and picture.dtype == np.float32
    other = survey_of(CALM)
    assert not np.array_equal(tap_heat_picture(other, "a title"), picture)
