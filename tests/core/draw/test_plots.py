"""The heat map names each dimension where it is drawn, whatever the width."""

import pytest
import torch
from zimage_layer_lab.core.draw import plots
from zimage_layer_lab.core.profile.heat_map import HeatMap, by_column


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
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.setdefault("axes", figure.axes[0]))
    zeros = torch.zeros(4, width)
    heat = HeatMap((0, 1, 2, 3), zeros, zeros, zeros + 1, torch.zeros(4, width, 2).long())
    plots.plot_heat_map(heat, "a title")
    [image] = drawn["axes"].images
    left, right, _, _ = image.get_extent()
    each = -(-width // 640)
    assert (left, right) == (-0.5, image.get_array().shape[1] * each - 0.5)
    assert drawn["axes"].get_xlim() == (-0.5, width - 0.5)
