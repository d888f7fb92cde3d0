"""The one picture of a profile: its lines, bars, cells and words, from hand-made profiles."""

import dataclasses

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from zimage_layer_lab.core.draw.profile_picture import profile_figure, profile_picture
from zimage_layer_lab.core.profile.heat_map import HeatMap, heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from ...oracles.figures import assert_readable, no_warning, words
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
