"""Heat maps: every cell the ratio that it stands for, every dimension and token in its place."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from zimage_layer_lab.core.draw.heat_map_picture import (
    draw_heat_map,
    heat_map_figure,
    plot_heat_map,
    plot_tokens,
    tokens_figure,
)
from zimage_layer_lab.core.profile.heat_map import HeatMap, by_column

from ...oracles.figures import assert_readable, no_warning, seen_texts, words

ORANGE = "#c2410c"


@pytest.fixture(autouse=True)
def _no_warning():
    with no_warning():
        yield


def map_of(relative, first=0):
    relative = torch.as_tensor(relative, dtype=torch.float32)
    rows, width = relative.shape
    zeros = torch.zeros(rows, width)
    indices = tuple(range(first, first + rows))
    return HeatMap(indices, zeros, zeros, relative, torch.zeros(rows, width, 2).long())


def random_map(rows, width, seed=0):
    return np.exp(np.random.default_rng(seed).normal(size=(rows, width)) * 3)


@pytest.mark.parametrize("width", [64, 640, 896, 960, 2560, 4096])
def test_every_dimension_falls_into_the_column_of_its_neighbours(width):
    each = -(-width // 640)
    for dimension in (0, width // 3, width - 1):
        values = torch.zeros(1, width)
        values[0, dimension] = 5.0
        grid = by_column(values)
        assert grid.shape[1] == -(-width // each) <= 640
        assert grid[0].argmax() == dimension // each
        assert grid.isfinite().all()


@pytest.mark.parametrize("width", [576, 960, 2561])
def test_the_picture_spans_whole_columns_so_that_each_stands_at_its_own_place(width):
    """Named dimensions pointed at black cells once: the last column may hold fewer dimensions."""
    figure = heat_map_figure(map_of(np.zeros((4, width))), "a title")
    axes = figure.axes[0]
    [image] = axes.images
    left, right, _, _ = image.get_extent()
    each = -(-width // 640)
    assert (left, right) == (-0.5, image.get_array().shape[1] * each - 0.5)
    assert axes.get_xlim() == (-0.5, width - 0.5)
    note = f"; a column is the largest of {each} dimensions" if each > 1 else ""
    assert axes.get_xlabel() == f"dimension; the loudest are named above{note}"


def test_each_cell_is_the_logarithm_of_its_ratio_and_the_embeddings_are_on_top():
    relative = random_map(5, 30)
    figure = heat_map_figure(map_of(relative, 20), "a title")
    [image] = figure.axes[0].images
    assert np.allclose(image.get_array(), np.log10(relative.clip(0.1)), atol=1e-5)
    assert image.get_clim() == pytest.approx(
        (np.log10(relative.clip(0.1)).min(), np.log10(relative).max()), abs=1e-5
    )
    assert image.origin == "upper" and figure.axes[0].get_ylim() == (4.5, -0.5)
    rows = {label.get_text(): place for place, label in ticks(figure.axes[0].yaxis)}
    assert rows == {"20": 0, "21": 1, "22": 2, "23": 3, "24": 4}
    assert figure.axes[0].get_title(loc="left") == "a title"
    assert figure.axes[0].get_ylabel() == "hidden state"


def ticks(axis):
    return list(zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True))


@pytest.mark.parametrize("rows", [1, 2, 19, 31, 37, 81])
def test_rows_are_named_by_their_own_hidden_state(rows):
    figure = heat_map_figure(map_of(random_map(rows, 30), 3), "a title")
    named = ticks(figure.axes[0].yaxis)
    assert all(int(label.get_text()) == place + 3 for place, label in named)
    assert 1 <= len(named) <= 16
    assert_readable(figure)


def test_the_loudest_dimensions_are_named_above_their_columns():
    relative = np.ones((3, 900))
    loud = [5, 6, 7, 300, 301, 899, 0, 450, 451, 700]
    for rank, dimension in enumerate(loud):
        relative[rank % 3, dimension] = 1000.0 - rank
    relative[1, 600] = 50.0
    figure = heat_map_figure(map_of(relative), "a title")
    notes = {int(note.get_text()): note for note in figure.axes[0].texts}
    assert {dimension: note.xy[0] for dimension, note in notes.items()} == {n: n for n in loud}
    assert {note.get_color() for note in notes.values()} == {ORANGE}
    assert_readable(figure)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (random_map(3, 20), {"1x", "10x"}),
        (np.full((3, 20), 3.0), {"5x", "10x", "20x"}),
        (np.array([[1.0, 10.0, 100.0]]), {"1x", "10x", "100x"}),
        (np.array([[2.0, 2e4]]), {"10x", "100x", "1000x", "10000x"}),
        (np.array([[1.0, 1e30]]), {"1x", "10000x", "1e+08x"}),
        (np.array([[math.nan, math.nan, 5.0]]), {"0.1x", "1x"}),
        (np.zeros((2, 4)), {"0.1x", "1x"}),
    ],
    ids=["usual", "flat", "decades", "offset", "huge", "NaN", "zero"],
)
def test_the_colour_bar_names_ratios(values, shown):
    figure = heat_map_figure(map_of(values), "a title")
    assert_readable(figure)
    bar = figure.axes[1]
    named = {label.get_text(): place for place, label in ticks(bar.yaxis)}
    assert shown <= set(named) and len(named) <= 9
    for label, place in named.items():
        assert 10.0**place == pytest.approx(float(label[:-1]), rel=1e-4)
    assert "largest |x| over the layer's median |x|" in words(figure)


def tokens(count=6, width=9):
    hidden = torch.from_numpy(np.random.default_rng(1).normal(size=(count, width)))
    hidden[0, 4] = -700.0
    return hidden, [f"t{i}" for i in range(count)]


def test_each_token_is_drawn_by_its_magnitude_whatever_its_sign():
    hidden, texts = tokens()
    figure = tokens_figure(hidden, texts, [4, 2], -6)
    [image] = figure.axes[0].images
    # torch takes the lower of two middle values.
    median = np.sort(np.abs(hidden.numpy()).ravel())[(hidden.numel() - 1) // 2]
    expected = np.log10((np.abs(hidden.numpy()[:, [4, 2]]) / median).clip(0.1)).T
    assert np.allclose(image.get_array(), expected, atol=1e-5)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dim 4", "dim 2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == texts
    assert axes.get_title(loc="left") == "layer -6: which token carries it"
    assert figure.axes[1].get_ylabel() == "|x| over the median |x|"


@pytest.mark.parametrize(
    "texts",
    [
        ["\n", "$\\frac{", "中国", "🦊", "\ud83d", "x" * 400],
        [" fox", " in", " the", " snow", ".", "\x1b[2J"],
        ["狐" * 60] * 6,
    ],
    ids=["hostile", "words", "long"],
)
def test_any_tokens_are_readable(texts):
    hidden, _ = tokens()
    assert_readable(tokens_figure(hidden, texts, [4, 2], -2))
    assert_readable(tokens_figure(hidden * 0, texts, [4], -2))
    assert_readable(tokens_figure(hidden.repeat(20, 1), texts * 20, list(range(8)), -2))


@pytest.mark.parametrize("name", ["狐 🦊 $x$ \x1b[2J", "a long name " * 30], ids=["odd", "long"])
def test_any_title_is_readable(name):
    figure = heat_map_figure(map_of(random_map(4, 50)), name)
    assert_readable(figure)
    assert "\n" not in figure.axes[0].get_title(loc="left")
    assert any("狐" in text or "\\u72d0" in text or "…" in text for text in words(figure))


def test_each_picture_is_a_png():
    hidden, texts = tokens()
    pictures = [
        plot_heat_map(map_of(random_map(4, 50)), "t"),
        plot_tokens(hidden, texts, [4, 2], -2),
    ]
    assert all(png.startswith(b"\x89PNG") for png in pictures)
    assert seen_texts(heat_map_figure(map_of(random_map(4, 50)), "t"))


@pytest.mark.parametrize(("rows", "step"), [(16, 1), (17, 2), (32, 2), (33, 3)])
def test_at_most_sixteen_hidden_states_are_numbered_the_first_always(rows, step):
    axes = heat_map_figure(map_of(random_map(rows, 30)), "a title").axes[0]
    assert axes.get_yticks().tolist() == list(range(0, rows, step))


def test_the_picture_is_ten_inches_wide_and_grows_with_the_hidden_states():
    sizes = {
        rows: heat_map_figure(map_of(random_map(rows, 30)), "t").get_size_inches().tolist()
        for rows in (4, 20, 60)
    }
    assert sizes == {4: [10, 3], 20: [10, pytest.approx(4.4)], 60: [10, pytest.approx(9.6)]}


@pytest.mark.parametrize(("width", "named"), [(3, 3), (10, 10), (40, 10)])
def test_ten_dimensions_are_named_or_all_there_are(width, named):
    axes = heat_map_figure(map_of(random_map(3, width)), "a title").axes[0]
    assert len(axes.texts) == named
    assert {note.xy[1] for note in axes.texts} == {1.0}


@pytest.mark.parametrize("upward", [False, True])
@pytest.mark.parametrize(
    ("darkest", "low", "high"),
    [(None, -1.0, 3.0), (1.0, 0.0, 3.0), (100.0, 2.0, 3.0), (500.0, 2.69897, 3.69897)],
)
def test_the_colours_begin_at_the_darkest_ratio_and_span_a_decade_at_least(
    upward, darkest, low, high
):
    relative = [[0.001, 5.0, math.nan], [20.0, 0.5, 1000.0]]
    figure = Figure()
    axes = figure.add_subplot()
    bar = draw_heat_map(figure, axes, map_of(relative), upward, darkest)
    [image] = axes.images
    assert image.get_clim() == pytest.approx((low, high), abs=1e-5) and bar.mappable is image
    expected = np.nan_to_num(relative).clip(darkest or 0.1)
    assert np.allclose(10.0 ** image.get_array(), expected, rtol=1e-5)
    assert image.get_cmap().name == "magma" and image.get_interpolation() == "nearest"
    assert image.origin == ("lower" if upward else "upper")
    bottom, top = (-0.5, 1.5) if upward else (1.5, -0.5)
    assert image.get_extent() == [-0.5, 2.5, bottom, top]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 2.5), (bottom, top))
    assert all(tick == int(tick) for tick in axes.get_xticks()), "dimensions are whole"


def test_the_cells_of_tokens_have_their_own_places_and_colours_from_a_tenth_on():
    hidden, texts = tokens()
    figure = tokens_figure(hidden, texts, [4, 2, 0], -6)
    axes, bar = figure.axes
    [image] = axes.images
    median = np.sort(np.abs(hidden.numpy()).ravel())[(hidden.numel() - 1) // 2]
    assert image.get_clim() == pytest.approx((-1, math.log10(700 / median)), abs=1e-5)
    assert image.get_cmap().name == "magma"
    assert axes.get_xticks().tolist() == list(range(6))
    assert axes.get_yticks().tolist() == list(range(3))
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}
    named = {label.get_text(): place for place, label in ticks(bar.yaxis)}
    assert named == pytest.approx({"0.1x": -1, "1x": 0, "10x": 1, "100x": 2, "1000x": 3})
    nothing = tokens_figure(hidden * 0, texts, [4], -6).axes[0].images[0]
    assert nothing.get_clim() == (-1, 0) and (nothing.get_array() == -1).all()


def test_a_picture_of_tokens_grows_with_tokens_dimensions_and_their_longest_text():
    hidden = torch.ones(100, 30)

    def size(count, dimensions, letters=1):
        texts = ["W" * letters] * count
        return tokens_figure(hidden[:count], texts, range(dimensions), -2).get_size_inches()

    assert size(33, 2)[0] == 8.0 and size(100, 2)[0] == pytest.approx(24.0)
    least = size(10, 1)[1]
    assert size(10, 7)[1] == least and 3.2 < least < 3.4
    assert size(10, 20)[1] - least == pytest.approx(0.34 * 20 - 2.4)
    # 23 letters more at 8 points, of which matplotlib says how wide they are.
    figure = Figure()
    one, all_of_them = figure.text(0, 0, "W", fontsize=8), figure.text(0, 0, "W" * 24, fontsize=8)
    wider = (all_of_them.get_window_extent().width - one.get_window_extent().width) / figure.dpi
    assert size(10, 1, 24)[1] - least == pytest.approx(wider, rel=0.1)
    assert size(10, 1, 24)[1] - size(10, 1, 60)[1] == pytest.approx(0, abs=0.05), "cut to 24"


def test_a_token_is_cut_to_24_letters():
    hidden, _ = tokens(2)
    axes = tokens_figure(hidden, ["a" * 24, "b" * 25], [4], -2).axes[0]
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert shown == ["a" * 24, "b" * 23 + "…"]
