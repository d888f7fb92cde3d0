"""The heat map names each dimension where it is drawn; any text from outside can be drawn."""

import warnings
from functools import partial

import pytest
import torch
from zimage_layer_lab.core.draw import profile_pictures
from zimage_layer_lab.core.profile.heat_map import HeatMap, by_column, heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise


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
def test_the_picture_spans_whole_columns_so_that_each_stands_at_its_own_place(width, monkeypatch):
    """Named dimensions pointed at black cells once: the last column may hold fewer dimensions."""
    drawn = {}
    keep = partial(drawn.__setitem__, "figure")
    monkeypatch.setattr(profile_pictures, "to_png", keep)
    zeros = torch.zeros(4, width)
    heat = HeatMap((0, 1, 2, 3), zeros, zeros, zeros + 1, torch.zeros(4, width, 2).long())
    profile_pictures.plot_heat_map(heat, "a title")
    axes = drawn["figure"].axes[0]
    [image] = axes.images
    left, right, _, _ = image.get_extent()
    each = -(-width // 640)
    assert (left, right) == (-0.5, image.get_array().shape[1] * each - 0.5)
    assert axes.get_xlim() == (-0.5, width - 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["\x1b[2J\x1b]0;title\x07", "a\x00b\x7f\n", "\ud83e", "$\\frac{$ $x^", "狐 🦊"],
    ids=ascii,
)
def test_a_text_from_outside_is_drawn_without_a_warning(text):
    """matplotlib warns of every character that its fonts lack, control characters included."""
    stats = ProfileStats(2, 8)
    generator = torch.Generator().manual_seed(0)
    states = {index: torch.randn(9, 8, generator=generator) for index in range(3)}
    stats.update(states)
    profile, heat = summarise(stats, text), heat_map(stats)
    document = profile.to_json(lambda place: text)
    layers = [(layer, stats.dimensions[layer.index]) for layer in profile.layers]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures = [
            profile_pictures.plot_layers(profile),
            profile_pictures.plot_dimensions(layers),
            profile_pictures.plot_tokens(states[1], [text] * 9, [0, 3], -2),
            profile_pictures.plot_comparison(document, document),
            profile_pictures.plot_heat_map(heat, text),
        ]
        picture = profile_pictures.profile_picture(profile, heat, 10.0)
    assert all(png.startswith(b"\x89PNG") for png in pictures)
    assert picture.ndim == 3 and picture.shape[2] == 3
