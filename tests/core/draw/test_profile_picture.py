"""The one picture of a profile: its lines, bars, cells and words, from hand-made profiles."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from zimage_layer_lab.core.draw.profile_picture import profile_figure, profile_picture
from zimage_layer_lab.core.profile.heat_map import HeatMap, heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from ...oracles.figures import assert_readable, no_warning, seen_texts, words
from ...oracles.profiles import EACH_PROFILE, hand_outlier, hand_profile

ORANGE, BLUE = "#c2410c", "#1d4ed8"
PEAKS = [1.0, 3.0, 20.0, 9000.0, 9100.0, 9000.0, 8000.0, 700.0, 40.0]
MEDIANS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(autouse=True)
def _no_warning():
    with no_warning():
        yield


def map_for(profile, width=30):
    rows = len(profile.layers)
    relative = torch.from_numpy(np.exp(np.random.default_rng(0).normal(size=(rows, width)) * 3))
    zeros = torch.zeros(rows, width)
    indices = tuple(layer.index for layer in profile.layers)
    return HeatMap(indices, zeros, zeros, relative.float(), torch.zeros(rows, width, 2).long())


def draw(profile, threshold=10.0):
    return profile_figure(profile, map_for(profile), threshold)


@pytest.mark.parametrize("profile", EACH_PROFILE)
def test_the_picture_of_any_profile_is_readable(profile):
    assert_readable(draw(profile))


def test_each_row_has_its_hidden_states_own_magnitudes():
    sizes, *_ = draw(hand_profile(PEAKS, MEDIANS, 3, 7)).axes
    by_color = {to_hex(one.get_color()): one for one in sizes.lines if one.get_marker() == "o"}
    assert by_color[ORANGE].get_xdata().tolist() == PEAKS
    assert by_color[BLUE].get_xdata().tolist() == MEDIANS
    assert all(one.get_ydata().tolist() == list(range(9)) for one in by_color.values())
    assert {note.get_text(): note.get_color() for note in sizes.texts} == {
        "largest |x|": ORANGE,
        "median |x|": BLUE,
    }
    assert sizes.get_xscale() == "log"


@pytest.mark.parametrize(
    ("massive", "words"),
    [({3: [4]}, ("emerges", "falls")), (None, ("largest rise", "largest drop"))],
)
def test_a_row_says_what_happens_there(massive, words):
    sizes, *_ = draw(hand_profile(PEAKS, MEDIANS, 3, 7, massive=massive)).axes
    names = [label.get_text() for label in sizes.get_yticklabels()]
    assert names[3] == f"{words[0]}   3  (-6)" and names[7] == f"{words[1]}   7  (-2)"
    assert [names[row] for row in (0, 1, 8)] == ["0  (-9)", "1  (-8)", "8  (-1)"]
    lines = [one for one in sizes.lines if one.get_ls() == ":"]
    assert [one.get_ydata()[0] for one in lines] == [3, 7]
    bold = [label.get_fontweight() == "bold" for label in sizes.get_yticklabels()]
    assert [row for row, is_bold in enumerate(bold) if is_bold] == [3, 7]


def test_bars_count_outliers_and_massive_activations():
    outliers = {3: [hand_outlier(1), hand_outlier(2), hand_outlier(4)], 7: [hand_outlier(1)]}
    profile = hand_profile(PEAKS, MEDIANS, 3, 7, outliers=outliers, massive={3: [4, 5], 4: [4]})
    _, counts, *_ = draw(profile, 6.0).axes
    bars = {}
    for bar in counts.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        bars.setdefault(to_hex(bar.get_facecolor()), {})[row] = bar.get_width()
    assert bars[ORANGE] == {**dict.fromkeys(range(9), 0), 3: 3, 7: 1}
    assert bars[BLUE] == {**dict.fromkeys(range(9), 0), 3: 2, 4: 1}
    assert {note.get_text(): note.get_color() for note in counts.texts} == {
        "std 6x out of line": ORANGE,
        "|x| > 100 and > 1000x median": BLUE,
    }


def test_the_embeddings_are_the_lowest_row_of_the_cells():
    profile = hand_profile(PEAKS, MEDIANS)
    figure = draw(profile)
    cells = figure.axes[2]
    [image] = cells.images
    expected = map_for(profile).relative.numpy().clip(1.0)
    assert np.allclose(image.get_array(), np.log10(expected), atol=1e-5)
    assert image.origin == "lower" and image.get_extent()[2:] == [-0.5, 8.5]
    assert cells.get_ylim() == figure.axes[0].get_ylim() == (-0.5, 8.5)


@pytest.mark.parametrize(("prompts", "said"), [(1, "1 prompt"), (7, "7 prompts")])
def test_the_title_names_model_prompts_and_tokens(prompts, said):
    profile = hand_profile([1, 2, 3], model="m", prompts=prompts, tokens=81)
    assert f"m: {said}, 81 tokens" in words(draw(profile))


@pytest.mark.parametrize("massive", [False, True])
@pytest.mark.parametrize("blocks", [1, 8, pytest.param(36, marks=pytest.mark.slow)])
def test_profiles_of_any_depth_can_be_drawn(blocks, massive):
    stats = ProfileStats(blocks, 32)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        hidden = {i: torch.randn(9, 32, generator=generator) for i in range(blocks + 1)}
        if massive:
            for index in range(blocks // 3, blocks):
                hidden[index][0, 3] = 5000.0
        stats.update(hidden)
    profile = dataclasses.replace(summarise(stats, "m"), model="$m$ 中")
    picture = profile_picture(profile, heat_map(stats), 10.0)
    assert picture.ndim == 3 and picture.shape[2] == 3 and picture.std() > 0.05
    assert picture.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1
    assert_readable(profile_figure(profile, heat_map(stats), 10.0))


def tapped(outliers=None):
    """Of the size of an encoder that two image models tap."""
    made = hand_profile([1.0 + k for k in range(37)], outliers=outliers)
    return dataclasses.replace(made, width=2560)


def test_triangles_stand_beside_the_bars_where_an_image_model_takes_a_hidden_state():
    figure = draw(tapped())
    assert_readable(figure)
    counts = figure.axes[1]
    marks = [one for one in counts.lines if one.get_marker() == "<"]
    assert [one.get_ydata().tolist() for one in marks] == [[9, 18, 27], list(range(2, 36, 3))]
    for one, color, beside in zip(marks, ("#7c3aed", "#0e7490"), (1.03, 1.09), strict=True):
        assert to_hex(one.get_color()) == color and one.get_linestyle() == "None"
        x, y = one.get_transform().transform(one.get_xydata()).T
        assert x == pytest.approx(counts.bbox.x0 + beside * counts.bbox.width)
        middles = counts.transData.transform([(0, row) for row in one.get_ydata()])
        assert y == pytest.approx(middles[:, 1])
        assert not one.get_clip_on()
    notes = [(note.get_text(), to_hex(note.get_color()), note.xyann) for note in counts.texts]
    assert notes == [
        ("std 10x out of line", ORANGE, (0, -28)),
        ("|x| > 100 and > 1000x median", BLUE, (0, -43)),
        ("Flux.2 Klein 4B takes", "#7c3aed", (0, -58)),
        ("Krea 2 takes", "#0e7490", (0, -73)),
    ]


def test_names_of_the_colours_stand_below_their_panel_the_first_on_top():
    figure = draw(hand_profile(PEAKS, MEDIANS, 3, 7))
    sizes, counts, *_ = figure.axes
    seen = {one.text: one.box for one in seen_texts(figure)}
    for axes, texts in (
        (sizes, ("largest |x|", "median |x|")),
        (counts, ("std 10x out of line", "|x| > 100 and > 1000x median")),
    ):
        upper, lower = (seen[text] for text in texts)
        assert upper.x0 == pytest.approx(axes.bbox.x0, abs=2) == pytest.approx(lower.x0, abs=3)
        assert axes.bbox.y0 - upper.y1 == pytest.approx(28 * 110 / 72, abs=2)
        assert upper.y1 - lower.y1 == pytest.approx(15 * 110 / 72, abs=4)


def test_the_two_bars_of_a_row_lie_side_by_side_the_outliers_above():
    outliers, massive = {3: [hand_outlier(1)]}, {3: [4]}
    counts = draw(hand_profile(PEAKS, MEDIANS, 3, 7, outliers=outliers, massive=massive)).axes[1]
    for bar in counts.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        middle = row + (0.2 if to_hex(bar.get_facecolor()) == ORANGE else -0.2)
        assert bar.get_y() + bar.get_height() / 2 == pytest.approx(middle)
        assert bar.get_height() == pytest.approx(0.38)
    assert counts.get_xlim()[0] == 0 and counts.get_xlim()[1] >= 1
    assert all(tick == int(tick) for tick in counts.get_xticks())


def test_without_a_finding_the_axis_of_counts_goes_from_0_to_1():
    counts = draw(hand_profile(PEAKS, MEDIANS)).axes[1]
    assert counts.get_xlim() == (0, 1)
    for found in (
        {"outliers": {3: [hand_outlier(d) for d in range(9)]}},
        {"massive": {2: [*range(9)]}},
    ):
        counts = draw(hand_profile(PEAKS, MEDIANS, **found)).axes[1]
        assert counts.get_xlim() == pytest.approx((0, 9.45))
        assert len(counts.get_xticks()) <= 6 and all(t == int(t) for t in counts.get_xticks())


def test_magnitudes_have_room_and_rows_are_numbered_each():
    figure = draw(hand_profile(PEAKS, MEDIANS, 3, 7))
    sizes = figure.axes[0]
    assert sizes.get_xlim() == pytest.approx((0.1 / 1.6, 9100 * 1.6))
    assert sizes.get_yticks().tolist() == list(range(9))
    assert sizes.get_ylabel() == "hidden state (layer); the last one is normed"
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles[:2] == ["Magnitudes", "Outlier dimensions"]
    assert titles[2].replace("\n", " ") == (
        "Largest |x| of every dimension over the layer's median |x|"
    )
    assert figure.axes[2].get_xlabel() == "dimension; the loudest are named above"
    for axes in figure.axes[:2]:
        assert not axes.spines["top"].get_visible() and not axes.spines["right"].get_visible()


def test_where_no_magnitude_has_a_place_there_are_no_ticks_for_them():
    sizes = draw(hand_profile([0.0] * 3, [0.0] * 3)).axes[0]
    assert len(sizes.get_xticks()) == 0


def test_the_map_says_how_many_dimensions_share_a_column_and_begins_at_1x():
    profile = hand_profile(PEAKS, MEDIANS)
    figure = profile_figure(profile, map_for(profile, 1300), 10.0)
    assert_readable(figure)
    cells, bar = figure.axes[2:]
    assert (
        cells.get_title(loc="left")
        .replace("\n", " ")
        .endswith("median |x|; a column is the largest of 3 dimensions")
    )
    [image] = cells.images
    assert image.get_clim()[0] == 0 and len(cells.texts) == 10
    assert bar.get_yticklabels()[0].get_text() == "1x"


def test_the_picture_grows_with_the_hidden_states():
    for count, height in ((9, 5.0), (13, 5.0), (37, 9.8)):
        figure = draw(hand_profile([1.0] * count))
        assert figure.get_size_inches().tolist() == [12.0, pytest.approx(height)]
        assert figure.dpi == 110


def test_the_title_stands_at_the_left():
    figure = draw(hand_profile(PEAKS, model="m"))
    [box] = [one.box for one in seen_texts(figure) if one.text.startswith("m: ")]
    assert box.x0 == pytest.approx(0.01 * 1320, abs=2)


def test_a_long_name_is_cut_to_a_line():
    figure = draw(hand_profile(PEAKS, model="a long name of a model " * 20))
    assert_readable(figure)
    assert "…" in figure.get_suptitle() and "\n" not in figure.get_suptitle()
