"""What Compare Grid says: its table from hand-made figures, and each refusal word for word."""

import math
import re

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.compare.compare_grid import (
    Cell,
    Compared,
    Shape,
    check_baseline,
    check_columns,
    compare,
    compare_table,
    grid_shape,
    make_cells,
    read_titles,
)

from ...oracles.images import flat

NONE = Compared(None, None, None, False)
OF_FIGURES = (
    "PSNR and SSIM (1: equal) are those of the 8-bit pixels. Grid score: energy at the 16-pixel "
    "period over that of its neighbourhood; about 1 where no such grid stands out."
)


def pixels(height, width):
    return np.zeros((height, width, 3), np.uint8)


CELLS = [
    Cell("first", pixels(30, 40)),
    Cell("base", pixels(30, 40)),
    Cell("same", pixels(30, 40)),
    Cell("tiny", pixels(30, 40)),
    Cell("other", pixels(20, 40)),
    Cell("gone", None),
]
COMPARED = [
    Compared(31.4159, 0.98765, 1.239, True),
    Compared(None, None, 1.0, True),
    Compared(math.inf, 1.0, 1.0, True),
    Compared(12.0, None, None, True),
    Compared(None, None, 2.0, False),
    NONE,
]


def rows(text):
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def test_the_table_has_a_row_for_each_cell():
    text = compare_table(CELLS, COMPARED, 1, Shape(2, 3))
    assert text.splitlines()[:2] == [
        "5 images in 2 x 3 (rows x columns), against index 1: base",
        "1 of 6 cells without an image; images fill the rest in order",
    ]
    assert rows(text)[2:-1] == [
        ["index", "size", "PSNR (dB)", "SSIM", "grid score", "label"],
        ["0", "40x30", "31.42", "0.9877", "1.24", "first"],
        ["1", "40x30", "baseline", "baseline", "1.00", "base"],
        ["2", "40x30", "identical", "1.0000", "1.00", "same"],
        ["3", "40x30", "12.00", "too small", "too small to tell", "tiny"],
        ["4", "40x20", "different size", "different size", "2.00", "other"],
        ["5", "no image", "-", "-", "-", "gone"],
    ]
    assert text.splitlines()[-1] == OF_FIGURES


def test_with_titles_each_row_names_its_place_and_missing_places_have_rows():
    shape = Shape(2, 3, ("r", "s"), ("x", "y", "z"))
    text = compare_table(CELLS[:4], COMPARED[:4], 1, shape)
    assert text.splitlines()[:2] == [
        "4 images in 2 x 3 (rows x columns), against index 1: base",
        "2 of 6 cells without an image; images fill the rest in order",
    ]
    found = rows(text)[2:-1]
    assert [row[-1] for row in found] == [
        "row / column", "r / x", "r / y", "r / z", "s / x", "s / y", "s / z",
    ]  # fmt: skip
    assert found[5][:-1] == found[6][:-1] == ["-", "no image", "-", "-", "-", "-"]
    for titles in ((("r", "s"), ()), ((), ("x", "y", "z"))):
        assert len(rows(compare_table(CELLS[:4], COMPARED[:4], 1, Shape(2, 3, *titles)))) == 10
    assert len(rows(compare_table(CELLS[:4], COMPARED[:4], 1, Shape(2, 3)))) == 7


def test_one_image_is_said_in_the_singular_and_nothing_of_cells_without_one():
    text = compare_table(CELLS[1:2], COMPARED[1:2], 0, Shape(1, 1))
    assert text.splitlines()[0] == "1 image in 1 x 1 (rows x columns), against index 0: base"
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(
    ("shape", "titled"),
    [
        (Shape(2, 3), False),
        (Shape(2, 3, ("r", "s")), False),
        (Shape(2, 3, (), tuple("xyz")), False),
        (Shape(2, 3, ("r", "s"), tuple("xyz")), True),
        (Shape(1, 3, (), tuple("xyz")), True),
        (Shape(2, 1, ("r", "s")), True),
        (Shape(1, 1), False),
        (Shape(1, 1, ("r",)), True),
    ],
)
def test_titles_alone_tell_cells_apart_where_each_longer_axis_has_them(shape, titled):
    assert shape.titled is titled


def test_a_place_is_named_by_titles_or_by_numbers_from_1():
    plain, titled = Shape(2, 3), Shape(2, 3, ("r", "s"), tuple("xyz"))
    assert [plain.place(index) for index in (0, 2, 5)] == [
        "row 1 / column 1", "row 1 / column 3", "row 2 / column 3",
    ]  # fmt: skip
    assert [titled.place(index) for index in (0, 2, 3)] == ["r / x", "r / z", "s / x"]
    assert Shape(2, 3, ("r", "s")).place(4) == "s / column 2"


def test_a_size_is_width_by_height():
    assert [cell.size for cell in CELLS[3:]] == ["40x30", "40x20", "no image"]


def said(call, *arguments):
    with pytest.raises(ValueError) as error:
        call(*arguments)
    return str(error.value)


def test_labels_that_do_not_match_are_refused_with_both_counts():
    images = [flat(1), flat(2), flat(3)]
    assert said(make_cells, images, ["a"]) == (
        "labels and images differ in number: 1 label for 3 images. Give one label per image, in "
        "their order (typed ones stand one per line), or none at all"
    )
    assert said(make_cells, [flat(1, batch=2), flat(2)], ["a", "b", "c", "d"]) == (
        "labels and images differ in number: 4 labels for 3 images in 2 batches. Give one label "
        "per image or per batch, in their order (typed ones stand one per line), or none at all"
    )


def test_an_empty_label_among_others_is_the_number():
    cells = make_cells([flat(1), flat(2), flat(3)], ["a", " ", "c"])
    assert [cell.label for cell in cells] == ["a", "2", "c"]
    cells = make_cells([flat(1, batch=2), flat(2)], ["", "c"])
    assert [cell.label for cell in cells] == ["#1", "#2", "c"]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([None], "images is empty: connect at least one image"),
        (
            [flat(1), "a"],
            "image 2 of the list is str; it must be (batch, height, width, channels)",
        ),
        (
            [torch.zeros(1, 4, 4)],
            "image 1 of the list is (1, 4, 4); it must be (batch, height, width, channels)",
        ),
        (
            [torch.zeros(1, 0, 4, 3)],
            "image 1 of the list is (1, 0, 4, 3); it must be (batch, height, width, channels)",
        ),
        ([torch.zeros(1, 4, 4, 5)], "image 1 of the list has 5 channels: it must be 1, 3 or 4"),
        ([torch.zeros(1, 4, 4, 2)], "image 1 of the list has 2 channels: it must be 1, 3 or 4"),
        (
            [torch.zeros(1, 4, 4, 3, device="meta")],
            "image 1 of the list holds no values: look at the node before it",
        ),
        (
            [torch.full((1, 4, 4, 3), math.inf)],
            "image 1 of the list holds NaN or infinity: look at the node that made it",
        ),
        (
            [torch.stack([torch.zeros(4, 4, 3)] * 2 + [torch.full((4, 4, 3), math.nan)])],
            "image 1 of the list, image 3 of its batch, holds NaN or infinity: look at the node "
            "that made it",
        ),
    ],
)
def test_what_is_no_image_is_refused_word_for_word(images, words):
    assert said(make_cells, images, []) == words


def test_errors_name_images_as_the_node_does():
    assert said(make_cells, [flat(1), None, "a"], [], ["image_1", "image_2", "image_3"]) == (
        "image_3 is str; it must be (batch, height, width, channels)"
    )


def test_titles_columns_and_shapes_are_refused_word_for_word():
    assert said(read_titles, "row_titles", ["a,,b"]) == (
        "row_titles: title 2 of 3 is empty; remove the extra comma or line, or write a name"
    )
    assert said(check_columns, 2, (), ("x", "y", "z")) == (
        "columns is 2, but there are 3 column_titles: set columns to 0"
    )
    assert check_columns(1000, (), ()) == 1000 and check_columns(0, (), tuple("xyz")) == 0
    assert check_columns(3, (), tuple("xyz")) == 3
    assert said(grid_shape, 5, 0, ("r", "s")) == (
        "5 images do not fill 2 rows (row_titles): give column_titles or columns too, so that it "
        "is known which are missing"
    )
    assert said(grid_shape, 7, 3, ("r", "s")) == (
        "7 images do not fit into 2 rows (row_titles) x 3 columns: give more titles or fewer images"
    )
    assert tuple(grid_shape(6, 3, ("r", "s")))[:2] == (2, 3)
    assert tuple(grid_shape(2, 3, ("r", "s")))[:2] == (2, 3)


def test_a_title_text_may_end_with_one_comma_and_connected_titles_are_whole():
    assert read_titles("row_titles", ["a ,  b c ,"]) == ("a", "b c")
    assert read_titles("row_titles", ["a,b\nc"]) == ("a,b", "c")
    assert read_titles("row_titles", ["  "], typed=False) == ()
    assert read_titles("row_titles", ["a  b\nc"], typed=False) == ("a b c",)


def test_a_baseline_is_refused_word_for_word():
    cells = make_cells([flat(1), None, flat(2)], [])
    assert said(check_baseline, cells, 3) == (
        "baseline is 3, but there are 3 images: it must be between 0 (the first) and 2 (the last)"
    )
    assert said(check_baseline, cells, 1) == (
        "baseline is 1, which has no image: choose another one"
    )
    assert check_baseline(cells, 0) == 0 and check_baseline(cells, 2) == 2


def test_each_cell_is_compared_with_the_baseline_only_where_it_can_be():
    cells = make_cells([flat(1), flat(1), flat(2, 64, 64), None, flat(3)], [])
    found = compare(cells, 1)
    assert found[0] == Compared(math.inf, 1.0, None, True)
    assert found[1] == Compared(None, None, None, True)
    assert found[2] == Compared(None, None, pytest.approx(1.0, abs=1e-6), False)
    assert found[3] == NONE
    error = np.mean((np.array([1, 254, 7]) - np.array([3, 252, 21])) ** 2 / 255**2)
    assert found[4].psnr == pytest.approx(-10 * math.log10(error), abs=1e-4)
