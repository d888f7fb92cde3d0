"""Letters of every picture can be read, none larger than the title's; lines and dots be seen."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.text import Text  # noqa: E402
from zimage_layer_lab.core.dit.response import Response, Responses  # noqa: E402
from zimage_layer_lab.core.draw.heat_map_picture import heat_map_figure, tokens_figure  # noqa: E402
from zimage_layer_lab.core.draw.outlier_picture import outlier_figure  # noqa: E402
from zimage_layer_lab.core.draw.profile_picture import profile_figure  # noqa: E402
from zimage_layer_lab.core.draw.profile_pictures import (  # noqa: E402
    comparison_figure,
    dimensions_figure,
    layers_figure,
    masking_figure,
)
from zimage_layer_lab.core.draw.ratio_picture import ratios_figure  # noqa: E402
from zimage_layer_lab.core.draw.response_picture import response_figure  # noqa: E402
from zimage_layer_lab.core.draw.tap_heat_picture import tap_heat_figure  # noqa: E402
from zimage_layer_lab.core.edit.mask_effects import ModeEffect  # noqa: E402
from zimage_layer_lab.core.measure.split_stats import SplitStats  # noqa: E402
from zimage_layer_lab.core.outliers.std_ratios import StdRatios, StdView  # noqa: E402
from zimage_layer_lab.core.outliers.survey import survey_outliers  # noqa: E402
from zimage_layer_lab.core.outliers.tap_survey import survey_taps  # noqa: E402
from zimage_layer_lab.core.profile.heat_map import HeatMap  # noqa: E402
from zimage_layer_lab.core.record.record import plain_record  # noqa: E402
from zimage_layer_lab.core.taps.layout import Taps  # noqa: E402

from ...oracles.figures import seen_texts  # noqa: E402
from ...oracles.profiles import hand_outlier, hand_profile  # noqa: E402


def states(tokens=8, width=24):
    hidden = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(7))
    hidden[:, 0, 5] = 7000.0
    return hidden


def a_profile():
    found = {3: [hand_outlier(1)], 7: [hand_outlier(2)]}
    return hand_profile(
        [1, 3, 20, 9000, 9100, 9000, 8000, 700, 40], None, 3, 7, massive={3: [4]}, outliers=found
    )


def heat():
    zeros, levels = torch.zeros(9, 30), torch.logspace(-1, 3, 270).reshape(9, 30)
    return HeatMap(tuple(range(9)), zeros, zeros, levels, torch.zeros(9, 30, 2).long())


def responses(labels):
    rows = tuple(Response(name, (0.1,) * 3, (0.5, 0.25, 0.1), 25) for name in labels)
    return Responses((1, 4, 7), (1.0, 0.9, 0.5), rows, (1.0,) * 3, 25)


def dimensions():
    split = SplitStats(24)
    split.update(states()[0], sinks=torch.arange(8) < 1)
    return dimensions_figure([(a_profile().layers[3], split)], 10.0, "a reference")


def comparison():
    document = a_profile().to_json(lambda place: "t")
    return comparison_figure(document, document)


def masking():
    effects = [
        ModeEffect("zero", (7,), 30, 30, 1.2, 0.4, 0.5, 0.9),
        ModeEffect("drop sinks", (), 1, 30, math.nan, math.nan, 0.0, 1.0),
    ]
    return masking_figure({-2: effects})


def ratios():
    a, b = torch.logspace(-2, 2, 9).double(), torch.ones(9).double()
    return ratios_figure(StdRatios(StdView(a, b), StdView(a, b)), "a", "b")


def taps():
    return tap_heat_figure(survey_taps(states(), Taps((9, 18), 12), [None, None]), "a title")


ON_A_NODE = {
    "outliers": lambda: outlier_figure(states(), plain_record(8), survey_outliers(states())),
    "profile": lambda: profile_figure(a_profile(), heat(), 10.0),
    "responses": lambda: response_figure(responses(["a", "control: b"]), "a prompt"),
    "layers swept": lambda: response_figure(
        responses([f"layer -{number}" for number in range(1, 15)]), "a prompt"
    ),
}
IN_A_REPORT = {
    "taps": taps,
    "layers": lambda: layers_figure(a_profile()),
    "dimensions": dimensions,
    "comparison": comparison,
    "masking": masking,
    "ratios": ratios,
    "heat map": lambda: heat_map_figure(heat(), "a title"),
    "tokens": lambda: tokens_figure(states()[0], list("abcdefgh"), [5, 3], -2),
}


def sizes(figure):
    """Points of the letters of every text that is drawn."""
    drawn = {seen.text for seen in seen_texts(figure)}
    return [text.get_fontsize() for text in figure.findobj(Text) if text.get_text() in drawn]


@pytest.mark.parametrize("name", ON_A_NODE)
def test_on_a_node_700_pixels_wide_letters_can_be_read_and_titles_are_the_largest(name):
    figure = ON_A_NODE[name]()
    pixels = np.array(sizes(figure)) / 72 * figure.dpi * 700 / figure.bbox.width
    least = 6.4 if name == "profile" else 7.2  # Its ten loudest dimensions are named in small.
    assert len(pixels) > 10 and pixels.min() > least
    assert max(sizes(figure)) == 12


@pytest.mark.parametrize("name", IN_A_REPORT)
def test_in_a_report_letters_have_8_to_12_points(name):
    points = sizes(IN_A_REPORT[name]())
    assert len(points) > 10 and min(points) >= 8 and max(points) <= 12


@pytest.mark.parametrize("name", [*ON_A_NODE, *IN_A_REPORT])
def test_every_line_dot_and_area_can_be_seen(name):
    for axes in {**ON_A_NODE, **IN_A_REPORT}[name]().axes:
        for line in axes.lines:
            assert line.get_alpha() is None or line.get_alpha() >= 0.3
            if line.get_linestyle() != "None":
                assert 0.5 <= line.get_linewidth() <= 2.5
            if line.get_marker() not in ("None", None, ""):
                assert 2 <= line.get_markersize() <= 8
        for note in axes.texts:
            if getattr(note, "arrow_patch", None) is not None:
                assert 0.4 <= note.arrow_patch.get_linewidth() <= 1
                assert note.arrow_patch.get_alpha() >= 0.4
        for area in (*axes.patches, *axes.collections):
            assert area.get_alpha() is None or 0.1 <= area.get_alpha() <= 0.3
