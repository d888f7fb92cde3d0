"""The picture of a grid: every pixel where it belongs, text legible, differences as they are."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
pytest.importorskip("PIL", reason="pictures need Pillow")

from zimage_layer_lab.core.compare.compare_grid import grid_shape, make_cells  # noqa: E402
from zimage_layer_lab.core.compare.grid_picture import draw_grid, tiles_of  # noqa: E402
from zimage_layer_lab.core.draw.picture_text import text_width, wrap  # noqa: E402

from ...oracles.images import flat, rounded, textured  # noqa: E402


def draw(images, labels=(), columns=0, rows=(), above=(), difference="none", baseline=0, **more):
    cells = make_cells(images, labels)
    shape = grid_shape(len(cells), columns, rows, above)
    captions = [cell.label for cell in cells]
    tiles, legend = tiles_of(cells, shape, captions, difference, baseline)
    return draw_grid(tiles, shape, legend, **more)


def find(picture: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Top and left of the only place in ``picture`` that equals ``image`` bit for bit."""
    height, width, _ = image.shape
    tops, lefts = np.nonzero((picture == image[0, 0]).all(-1))
    places = [
        (int(top), int(left))
        for top, left in zip(tops, lefts, strict=True)
        if np.array_equal(picture[top : top + height, left : left + width], image)
    ]
    assert len(places) == 1, f"found {len(places)} times"
    return places[0]


@pytest.mark.parametrize("count", [1, 2, 5, 7, 37])
def test_every_image_is_in_the_picture_bit_for_bit_in_reading_order(count):
    images = [textured(number) for number in range(count)]
    picture = draw(images)
    assert picture.pixels.dtype == np.uint8 and picture.scale == 1.0
    places = [find(picture.pixels, rounded(image[0])) for image in images]
    assert places == sorted(places)
    columns = math.ceil(math.sqrt(count))
    for index, (top, left) in enumerate(places):
        assert top == places[index - index % columns][0], "a row is level"
        assert left == places[index % columns][1], "a column is straight"
    steps = {below[0] - above[0] for above, below in zip(places, places[columns:], strict=False)}
    assert all(step >= 40 for step in steps), "rows do not overlap"


def test_smaller_images_are_centred_in_a_cell_of_the_largest_and_never_stretched():
    sizes = [(200, 300), (300, 200), (64, 64), (299, 151)]
    images = [textured(10 + i, *size) for i, size in enumerate(sizes)]
    picture = draw(images).pixels
    places = [find(picture, rounded(image[0])) for image in images]
    centres = [
        (top + height / 2, left + width / 2)
        for (top, left), (height, width) in zip(places, sizes, strict=True)
    ]
    assert abs(centres[0][0] - centres[1][0]) <= 1 and abs(centres[2][0] - centres[3][0]) <= 1
    assert abs(centres[0][1] - centres[2][1]) <= 1 and abs(centres[1][1] - centres[3][1]) <= 1
    assert centres[1][1] - centres[0][1] > 300 and centres[2][0] - centres[0][0] > 300


def test_labels_stand_above_their_own_image():
    """The text of each label changes nothing but the strip above its image."""
    images = [textured(number, 150, 150) for number in range(4)]
    plain = draw(images, ["-", "-", "-", "-"]).pixels
    for index, image in enumerate(images):
        labels = ["-"] * 4
        labels[index] = "layer -6"
        ys, xs = np.nonzero((draw(images, labels).pixels != plain).any(-1))
        top, left = find(plain, rounded(image[0]))
        assert top - 40 < ys.min() and ys.max() < top
        assert left <= xs.min() and xs.max() < left + 150


def test_the_size_is_said_only_where_sizes_differ():
    same = tiles_of(make_cells([flat(1), flat(2)], []), grid_shape(2), ["a", "b"])[0]
    other = make_cells([flat(1), flat(2, 64, 96)], [])
    assert [tile.note for tile in same] == ["", ""]
    assert [tile.note for tile in tiles_of(other, grid_shape(2), ["a", "b"])[0]] == [
        "30x40",
        "96x64",
    ]


def test_titles_stand_outside_the_cells_of_their_row_and_column():
    images = [textured(number, 120, 120) for number in range(9)]
    rows, above = ["the widest", "r", "r"], ["c", "c", "c"]
    plain = draw(images, rows=rows, above=above).pixels
    places = [find(plain, rounded(image[0])) for image in images]
    for row in (1, 2):
        titles = [title if index != row else "z" for index, title in enumerate(rows)]
        ys, xs = np.nonzero((draw(images, rows=titles, above=above).pixels != plain).any(-1))
        top, left = places[3 * row]
        assert top < ys.min() and ys.max() < top + 120 and xs.max() < left
    for column in range(3):
        titles = [title if index != column else "z" for index, title in enumerate(above)]
        ys, xs = np.nonzero((draw(images, rows=rows, above=titles).pixels != plain).any(-1))
        top, left = places[column]
        assert left < xs.min() and xs.max() < left + 120 and ys.max() < top


def test_missing_cells_are_drawn_as_missing_and_move_no_other():
    images = [textured(number, 120, 120) for number in range(6)]
    titles = {"rows": ["a", "b"], "above": ["x", "y", "z"]}
    whole = draw(images, **titles).pixels
    middle = draw([*images[:2], None, *images[3:]], **titles).pixels
    last = draw(images[:5], **titles).pixels
    assert whole.shape == middle.shape == last.shape
    for lacking, index in ((middle, 2), (last, 5)):
        top, left = find(whole, rounded(images[index][0]))
        blank = lacking[top : top + 120, left : left + 120]
        assert len(np.unique(blank.reshape(-1, 3), axis=0)) > 2, "it says so in words"
        assert blank.mean() > 200
        for other in set(range(6)) - {index}:
            image = rounded(images[other][0])
            assert find(lacking, image) == find(whole, image)


def test_without_titles_nothing_is_missing_from_a_row_that_is_not_full():
    picture = draw([textured(number, 120, 120) for number in range(3)]).pixels
    top, left = find(picture, rounded(textured(2, 120, 120)[0]))
    assert (picture[top : top + 120, left + 140 : left + 240] == 255).all()


def test_a_picture_that_would_be_too_large_is_scaled_down_as_a_whole():
    images = [flat(40 * number, 300, 200) for number in range(1, 5)]
    picture = draw(images, largest_side=400)
    height, width, _ = picture.pixels.shape
    assert max(height, width) <= 400 and 0.3 < picture.scale < 0.7
    for image in images:
        colour = rounded(image[0])[0, 0]
        ys, xs = np.nonzero((picture.pixels == colour).all(-1))
        assert ys.max() - ys.min() + 1 == int(300 * picture.scale)
        assert xs.max() - xs.min() + 1 == int(200 * picture.scale)


def test_a_grid_that_fits_at_no_scale_is_refused():
    with pytest.raises(ValueError, match="40 rows x 1 columns .* 300 x 300 pixels"):
        draw([flat(1)] * 40, columns=1, largest_side=300)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 500), (500, 3)])
def test_images_of_any_size_can_be_drawn(size):
    images = [textured(number, *size) for number in range(3)]
    picture = draw(images, ["a label longer than these images are wide", "$x_1$\n", "图层 🦊"])
    if min(size) > 1:
        assert find(picture.pixels, rounded(images[2][0]))


def test_images_are_not_modified():
    image = textured(4)
    before = image.clone()
    draw([image, textured(5)], difference="heat map")
    assert torch.equal(image, before)


# Titles and shape


def test_text_is_broken_into_lines_of_the_width_and_loses_nothing():
    text = "layer -6, masked by zero, alpha 0.3 and_a_word_that_is_wider_than_a_whole_line_is"
    lines = wrap(text, 16, 150, 99)
    assert len(lines) > 3 and all(text_width(line, 16) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("most", [1, 2, 3])
def test_text_that_is_too_long_keeps_both_ends(most):
    """Labels of a sweep often differ only at their end."""
    text = "a photograph of a fox in the snow at dawn, " * 3 + "layer -6"
    lines = wrap(text, 16, 240, most)
    assert len(lines) == most and all(text_width(line, 16) <= 240 for line in lines)
    shown = " ".join(lines)
    assert shown.startswith("a photo") and shown.endswith("layer -6") and "…" in shown


def test_characters_that_no_font_has_are_escaped():
    assert wrap("a\U000f0000b", 16, 500, 3) == ["a\\U000f0000b"]


def test_the_absolute_view_shows_the_difference_and_the_baseline_itself():
    images = [textured(1), textured(2), textured(3)]
    picture = draw(images, difference="absolute", baseline=1).pixels
    pixels = [rounded(image[0]) for image in images]
    places = [
        find(picture, abs(pixels[0].astype(int) - pixels[1]).astype(np.uint8)),
        find(picture, pixels[1]),
        find(picture, abs(pixels[2].astype(int) - pixels[1]).astype(np.uint8)),
    ]
    assert places == sorted(places)


def test_the_heat_map_has_one_scale_for_all_cells():
    """Channels differ by at most 10, 20 and 40 levels: a quarter, half and all of magma."""
    import matplotlib

    base = torch.full((1, 40, 30, 3), 100 / 255)
    images = [base]
    for levels in (10, 20, 40):
        other = base.clone()
        other[..., levels % 3] += levels / 255
        other[..., (levels + 1) % 3] -= 5 / 255
        images.append(other)
    cells = make_cells(images, [])
    tiles, legend = tiles_of(cells, grid_shape(4), list("abcd"), "heat map", 0)
    assert legend.levels == 40 and "difference to a" in legend.text
    assert np.array_equal(tiles[0].pixels, cells[0].pixels) and "baseline" in tiles[0].note
    for tile, share in zip(tiles[1:], (0.25, 0.5, 1.0), strict=True):
        expected = np.array(matplotlib.colormaps["magma"](share)[:3]) * 255
        assert abs(tile.pixels.reshape(-1, 3) - expected).max() <= 3
        assert len(np.unique(tile.pixels.reshape(-1, 3), axis=0)) == 1


def test_equal_images_have_a_heat_map_of_the_lowest_colour():
    tiles, legend = tiles_of(make_cells([flat(9)] * 2, []), grid_shape(2), "ab", "heat map", 0)
    assert legend.levels == 0 and tiles[1].pixels.max() < 10
    draw([flat(9)] * 2, difference="heat map")


def test_an_image_of_another_size_has_no_difference_and_says_so():
    cells = make_cells([flat(1), flat(2, 64, 64), None], [])
    for difference in ("absolute", "heat map"):
        tiles, _ = tiles_of(cells, grid_shape(3), "abc", difference, 0)
        assert tiles[1].pixels is None and tiles[1].message == "different size"
        assert tiles[2].pixels is None and tiles[2].message == "no image"


def test_an_unknown_view_is_refused():
    with pytest.raises(ValueError, match="difference 'heatmap' is not one of"):
        draw([flat(1)], difference="heatmap")
