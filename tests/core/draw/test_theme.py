"""The colours of a light and a dark page: what is written can be read on what is behind it."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

import torch  # noqa: E402
from matplotlib import rcParams  # noqa: E402
from matplotlib.colors import to_hex, to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from zimage_layer_lab.core.dit.gain import Gains  # noqa: E402
from zimage_layer_lab.core.dit.response import Response, Responses  # noqa: E402
from zimage_layer_lab.core.draw.figures import to_pixels  # noqa: E402
from zimage_layer_lab.core.draw.gain_picture import gain_figure  # noqa: E402
from zimage_layer_lab.core.draw.outlier_picture import outlier_figure  # noqa: E402
from zimage_layer_lab.core.draw.profile_picture import profile_figure  # noqa: E402
from zimage_layer_lab.core.draw.response_picture import response_figure  # noqa: E402
from zimage_layer_lab.core.draw.theme import picture_theme  # noqa: E402
from zimage_layer_lab.core.outliers.survey import survey_outliers  # noqa: E402
from zimage_layer_lab.core.profile.heat_map import HeatMap  # noqa: E402
from zimage_layer_lab.core.record.record import plain_record  # noqa: E402

from ...oracles.figures import seen_texts  # noqa: E402
from ...oracles.profiles import hand_profile  # noqa: E402


def outliers():
    hidden = torch.randn(1, 30, 48, generator=torch.Generator().manual_seed(7))
    hidden[0, 0, 5], hidden[0, :, 11] = 700.0, hidden[0, :, 11] / 300
    return outlier_figure(hidden, plain_record(30), survey_outliers(hidden, None, 10.0))


def profile():
    made = hand_profile([1.0, 3.0, 9000.0, 700.0, 40.0], [0.1, 0.2, 0.3, 0.4, 0.5], 2, 3)
    zeros, levels = torch.zeros(5, 30), torch.logspace(-1, 3, 150).reshape(5, 30)
    indices = tuple(layer.index for layer in made.layers)
    heat = HeatMap(indices, zeros, zeros, levels, torch.zeros(5, 30, 2).long())
    return profile_figure(made, heat, 10.0)


def responses():
    names = ["dimension 396", "token 0", *(f"control: dimension {n}" for n in range(3))]
    rows = tuple(Response(name, (0.1,) * 7, (0.2,) * 7, 25) for name in names)
    sigmas = tuple(np.linspace(1, 0.1, 7))
    return response_figure(Responses(tuple(range(1, 8)), sigmas, rows, (1.0,) * 7, 25), "a fox")


def gains():
    return gain_figure(Gains(torch.logspace(-1, 2, 64).double()), "cap_embedder", [5, 63])


def luminance(color) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(channels, (0.2126, 0.7152, 0.0722)))


def contrast(one, other) -> float:
    """WCAG 2.2: 1 to 21; text wants 4.5."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("draw", [outliers, profile, responses, gains])
def test_every_word_has_the_contrast_that_text_wants(draw, theme):
    before = dict(rcParams)
    with picture_theme(theme):
        figure = draw()
        pixels = to_pixels(figure)
        written = seen_texts(figure)
    assert dict(rcParams) == before
    paper = pixels[0, 0]
    assert (paper.max() < 0.2) if theme == "dark" else (paper == 1).all()
    assert len(written) > 10
    poor = {(seen.text, seen.color) for seen in written if contrast(seen.color, paper) < 4.5}
    assert not poor


def test_dark_says_the_same_in_the_same_places():
    written = []
    for theme in ("light", "dark"):
        with picture_theme(theme):
            written.append([(seen.text, *seen.box.bounds) for seen in seen_texts(outliers())])
    assert written[0] == written[1]


def test_another_theme_is_refused():
    with pytest.raises(ValueError, match="theme is 'blue', neither 'light' nor 'dark'"):
        with picture_theme("blue"):
            pass


LIGHTER = {
    "#000000": "#e4e4e7", "#c2410c": "#fb923c", "#1d4ed8": "#7aa7ff", "#047857": "#34d399",
    "#64748b": "#9aa8ba", "#cbd5e1": "#52606f", "#7c3aed": "#b197fc", "#b45309": "#f5b041",
    "#0e7490": "#22d3ee", "#be185d": "#f472b6",
}  # fmt: skip


def coloured(color):
    """A figure with that colour in all kinds of things."""
    figure = Figure(figsize=(3, 3))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "o-", color=color, mfc="none", alpha=0.5)
    axes.bar([0], [1], color=color, edgecolor="none")
    axes.scatter([0, 1], [0, 1], facecolors=[color, "#123456"])
    axes.scatter([0, 1], [0, 1], c=[0.0, 1.0], cmap="gray")
    axes.annotate("named", (0, 0), (1, 1), color=color, arrowprops={"color": color})
    return figure


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("color", LIGHTER)
def test_on_dark_paper_each_colour_of_ours_is_lighter_and_no_other(color, dark):
    with picture_theme("dark" if dark else "light"):
        figure = coloured(color)
        to_pixels(figure)
    expected = LIGHTER[color] if dark else color
    axes = figure.axes[0]
    [line], [bar], [note] = axes.lines, axes.patches, axes.texts
    some, by_value = axes.collections
    assert to_hex(line.get_color()) == expected and line.get_alpha() == 0.5
    assert to_hex(line.get_markeredgecolor()) == expected
    assert line.get_markerfacecolor() == "none"
    assert to_hex(bar.get_facecolor()) == expected and bar.get_edgecolor()[3] == 0
    assert [to_hex(one) for one in some.get_facecolor()] == [expected, "#123456"]
    assert [to_hex(one) for one in by_value.get_facecolor()] == ["#000000", "#ffffff"]
    assert to_hex(note.get_color()) == expected
    assert to_hex(note.arrow_patch.get_facecolor()) == expected
    assert to_hex(note.arrow_patch.get_edgecolor()) == expected


def test_dark_paper_is_behind_everything_and_axes_are_pale():
    with picture_theme("dark"):
        figure = coloured("#000000")
        pixels = to_pixels(figure)
        axes = figure.axes[0]
        axes.set_xlabel("a")
        assert to_hex(figure.get_facecolor()) == to_hex(axes.get_facecolor()) == "#202124"
        assert to_hex(axes.xaxis.label.get_color()) == "#e4e4e7"
        assert {to_hex(spine.get_edgecolor()) for spine in axes.spines.values()} == {"#e4e4e7"}
        assert {to_hex(label.get_color()) for label in axes.get_xticklabels()} == {"#e4e4e7"}
    assert np.allclose(pixels[0, 0] * 255, (0x20, 0x21, 0x24))


def test_what_is_see_through_stays_so_and_half_of_it_half():
    with picture_theme("dark"):
        figure = Figure()
        axes = figure.add_subplot()
        half = axes.axhspan(0, 1, color="#64748b", alpha=0.18)
        none = axes.axhspan(0, 1, facecolor=(0, 0, 0, 0))
        to_pixels(figure)
    assert half.get_facecolor() == pytest.approx((*to_rgb("#9aa8ba"), 0.18))
    assert none.get_facecolor() == (0, 0, 0, 0)
