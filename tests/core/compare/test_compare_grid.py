"""Cells, labels, titles and figures of a grid."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.compare.compare_grid import (
    compare,
    compare_table,
    differences,
    grid_shape,
    make_cells,
    read_titles,
)

from ...oracles.images import flat, rounded, textured


def labels_of(images, labels) -> list[str]:
    return [cell.label for cell in make_cells(images, labels)]


@pytest.mark.parametrize("labels", [[], [""], [" \n "], ["", "", ""]])
def test_without_labels_images_are_numbered_from_one(labels):
    assert labels_of([flat(1), flat(2), flat(3)], labels) == ["1", "2", "3"]


@pytest.mark.parametrize(
    "labels", [["a, b", "c", "d\ne"], ["a, b\nc\nd e"], ["\na, b\r\n\r\n c \nd  e\n"]]
)
def test_labels_are_a_list_or_one_per_line(labels):
    assert labels_of([flat(1), flat(2), flat(3)], labels) == ["a, b", "c", "d e"]


@pytest.mark.parametrize(
    ("labels", "count"), [(["a"], 1), (["a", "b"], 2), (["a\nb\nc\nd"], 4), (list("abcde"), 5)]
)
def test_fewer_or_more_labels_than_images_are_refused_with_both_counts(labels, count):
    with pytest.raises(ValueError, match=f"labels.*{count} labels? for 3 images"):
        make_cells([flat(1), flat(2), flat(3)], labels)


BATCHES = [flat(1, batch=2), flat(2), flat(3, batch=3)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a", "b", "c"], ["a #1", "a #2", "b", "c #1", "c #2", "c #3"]),
        (list("uvwxyz"), list("uvwxyz")),
        (["u\nv\nw\nx\ny\nz"], list("uvwxyz")),
        ([], ["1", "2", "3", "4", "5", "6"]),
    ],
)
def test_batches_are_labelled_by_batch_or_by_image(labels, expected):
    assert labels_of(BATCHES, labels) == expected


@pytest.mark.parametrize(
    "labels", [["a", "b"], ["a"], list("abcd"), list("abcde"), list("abcdefg")]
)
def test_any_other_number_of_labels_for_batches_is_refused(labels):
    with pytest.raises(ValueError, match=f"{len(labels)} labels? for 6 images in 3 batches"):
        make_cells(BATCHES, labels)


def test_images_of_a_batch_stay_in_their_order():
    batch = textured(1, batch=3)
    for cell, image in zip(make_cells([batch], []), batch, strict=True):
        assert np.array_equal(cell.pixels, rounded(image))


def test_alpha_is_dropped_grey_is_shown_and_values_out_of_range_are_limited():
    colour = textured(2)
    with_alpha = torch.cat([colour, torch.zeros(1, 40, 30, 1)], dim=-1)
    grey = textured(3)[..., :1]
    wild = torch.tensor([-0.5, 0.5, 7.0]).expand(1, 4, 4, 3)
    cells = make_cells([with_alpha, grey, wild, colour.half()], [])
    assert np.array_equal(cells[0].pixels, rounded(colour[0]))
    assert np.array_equal(cells[1].pixels, rounded(grey[0].expand(-1, -1, 3)))
    assert cells[2].pixels[0, 0].tolist() == [0, 128, 255]
    assert abs(cells[3].pixels.astype(int) - cells[0].pixels).max() <= 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([flat(1), torch.full((1, 4, 4, 3), torch.nan)], "image 2 of the list holds NaN"),
        (
            [flat(1), torch.stack([torch.ones(4, 4, 3), torch.full((4, 4, 3), torch.inf)])],
            "image 2 of the list, image 2 of its batch, holds NaN or infinity",
        ),
        ([flat(1)[0]], r"image 1 of the list is \(40, 30, 3\)"),
        ([flat(1), torch.zeros(0, 4, 4, 3)], "image 2 of the list"),
        ([torch.zeros(1, 4, 4, 2)], "2 channels"),
        ([flat(1), "a"], "image 2 of the list is str"),
        ([], "images is empty"),
        ([None], "images is empty"),
    ],
)
def test_what_is_no_image_is_refused_by_its_number(images, message):
    with pytest.raises(ValueError, match=message):
        make_cells(images, [])


@pytest.mark.parametrize(
    ("given", "titles"),
    [
        ([], ()),
        ([""], ()),
        ([" , "], ()),
        (["a"], ("a",)),
        (["a, b ,c,"], ("a", "b", "c")),
        (["drop sinks, then scale\nzero\n"], ("drop sinks, then scale", "zero")),
        (["a, b", "c"], ("a, b", "c")),
    ],
)
def test_titles_are_divided_by_commas_or_lines_or_are_a_list(given, titles):
    assert read_titles("row_titles", given) == titles


def test_a_connected_title_is_not_divided():
    """It may be a prompt; only a text typed on the node is a list."""
    given = ["A heron at dawn, mist over the river"]
    assert read_titles("row_titles", given, typed=False) == tuple(given)


def test_an_empty_first_title_is_refused_too():
    with pytest.raises(ValueError, match="title 1 of 3 is empty"):
        read_titles("row_titles", [",a,b"])


@pytest.mark.parametrize("given", [["a,,b"], ["a\n\nb"], ["a", "", "b"]])
def test_an_empty_title_would_shift_the_others_and_is_refused(given):
    with pytest.raises(ValueError, match="column_titles: title 2 of 3 is empty"):
        read_titles("column_titles", given)


@pytest.mark.parametrize(
    ("cells", "columns", "shape"),
    [
        (1, 0, (1, 1)),
        (2, 0, (1, 2)),
        (5, 0, (2, 3)),
        (7, 0, (3, 3)),
        (37, 0, (6, 7)),
        (5, 2, (3, 2)),
        (3, 9, (1, 9)),
    ],
)
def test_without_titles_the_grid_is_near_square_or_as_asked(cells, columns, shape):
    assert tuple(grid_shape(cells, columns))[:2] == shape


@pytest.mark.parametrize(
    ("cells", "columns", "rows", "above", "shape"),
    [
        (6, 0, "ab", "xyz", (2, 3)),
        (5, 0, "ab", "xyz", (2, 3)),
        (6, 3, "ab", "xyz", (2, 3)),
        (6, 0, "ab", "", (2, 3)),
        (5, 3, "ab", "", (2, 3)),
        (5, 0, "", "xyz", (2, 3)),
    ],
)
def test_titles_define_the_grid(cells, columns, rows, above, shape):
    found = grid_shape(cells, columns, tuple(rows), tuple(above))
    assert tuple(found) == (*shape, tuple(rows), tuple(above))


@pytest.mark.parametrize(
    ("cells", "columns", "rows", "above", "message"),
    [
        (7, 0, "ab", "xyz", "7 images do not fit into 2 rows .* x 3 columns"),
        (7, 3, "ab", "", "7 images do not fit into 2 rows .* x 3 columns"),
        (5, 0, "ab", "", "5 images do not fill 2 rows"),
        (6, 2, "ab", "xyz", "columns is 2, but there are 3 column_titles"),
        (6, -1, "", "", "columns is -1"),
        (6, 1001, "", "", "columns is 1001"),
    ],
)
def test_a_grid_whose_places_are_not_certain_is_refused(cells, columns, rows, above, message):
    with pytest.raises(ValueError, match=message):
        grid_shape(cells, columns, tuple(rows), tuple(above))


def test_differences_are_those_of_the_8_bit_pixels():
    images = [textured(1), textured(2), textured(3, 50, 30), None]
    away = differences(make_cells(images, []), 1)
    one, other = (rounded(images[i][0]).astype(int) for i in (0, 1))
    assert np.array_equal(away[0], abs(one - other)) and not away[1].any()
    assert away[2] is None and away[3] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_values_whose_sum_is_infinite_are_an_image(dtype):
    most = torch.finfo(dtype).max
    image = torch.full((1, 20, 30, 3), most / 2, dtype=dtype)
    image[:, 10:] = -most / 2
    image[:, 5] = most
    assert not image[:, :10].sum().isfinite()
    [cell] = make_cells([image[:, :10]], [])
    assert (cell.pixels == 255).all()
    image[0, 3, 4, 1] = math.inf
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        make_cells([image], [])


def table(images, labels=(), baseline=0, rows=(), above=()) -> list[str]:
    cells = make_cells(images, labels)
    shape = grid_shape(len(cells), 0, tuple(rows), tuple(above))
    return compare_table(cells, compare(cells, baseline), baseline, shape).splitlines()


def test_the_table_has_a_line_for_every_cell_with_the_figures_of_its_pixels():
    base = textured(1, 96, 80)
    noisy = (base + 0.1 * (textured(2, 96, 80) - 0.5)).clamp(0, 1)
    lines = table(
        [noisy, base, base, textured(3, 50, 80), None, textured(4, 10, 9)],
        ["noisy", "the base", "copy", "other", "gone", "tiny"],
        baseline=1,
    )
    error = np.mean((rounded(noisy[0]) / 255 - rounded(base[0]) / 255) ** 2)
    assert "5 images in 2 x 3" in lines[0] and "index 1: the base" in lines[0]
    assert "1 of 6 cells" in lines[1]
    assert lines[3].split()[:3] == ["0", "80x96", f"{-10 * math.log10(error):.2f}"]
    assert 0.5 < float(lines[3].split()[3]) < 1 and lines[3].endswith("noisy")
    assert lines[4].split()[:4] == ["1", "80x96", "baseline", "baseline"]
    assert lines[5].split()[:4] == ["2", "80x96", "identical", "1.0000"]
    assert lines[6].count("different size") == 2 and "too small to tell" in lines[6]
    assert lines[7].split() == ["4", "no", "image", "-", "-", "-", "gone"]
    assert lines[8].startswith("5") and lines[8].endswith("tiny")


def test_the_table_of_a_two_axis_sweep_names_row_and_column_of_each_cell():
    lines = table([flat(1), flat(2), flat(3)], ["p", "q", "s"], rows=["-2", "-6"], above="xy")
    assert [line.split("  ")[-1].strip() for line in lines[2:7]] == [
        "row / column",
        "-2 / x",
        "-2 / y",
        "-6 / x",
        "-6 / y",
    ]
    assert "no image" in lines[6] and "1 of 4 cells" in lines[1]


def test_as_many_pixels_in_another_shape_are_another_size():
    images = [textured(1, 64, 96), textured(2, 96, 64)]
    line = table(images)[3]
    assert line.split()[1] == "64x96" and line.count("different size") == 2
    assert differences(make_cells(images, []), 0)[1] is None


def test_small_images_of_one_size_have_a_psnr_but_no_ssim():
    lines = table([textured(1, 10, 9), textured(2, 10, 9)])
    assert "too small" in lines[3] and float(lines[3].split()[2]) > 0


@pytest.mark.parametrize(
    ("baseline", "message"),
    [(2, "between 0 .* and 1"), (-1, "baseline is -1"), (1, "baseline is 1, which has no image")],
)
def test_a_baseline_that_is_no_image_is_refused(baseline, message):
    with pytest.raises(ValueError, match=message):
        compare(make_cells([flat(1), None], []), baseline)


def test_progress_is_told_after_every_cell():
    told = []
    compare(make_cells([flat(1), None, flat(2)], []), 0, lambda: told.append(1))
    assert len(told) == 3
