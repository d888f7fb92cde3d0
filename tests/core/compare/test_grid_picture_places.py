"""The picture of a grid, pixel by pixel: where images, frames, texts and legends begin and end.

Up to 406 pixels a side the font has 14 pixels, a line 18, a gap 11; the strip of a caption of n
lines is 18 n + 3 pixels high. A letter H ends 14 pixels below the top of its line.
"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
pytest.importorskip("PIL", reason="pictures need Pillow")

import matplotlib  # noqa: E402
from PIL import ImageFont  # noqa: E402
from zimage_layer_lab.core.compare.compare_grid import Shape, grid_shape, make_cells  # noqa: E402
from zimage_layer_lab.core.compare.grid_picture import (  # noqa: E402
    Legend,
    Tile,
    draw_grid,
    tiles_of,
)

from ...oracles.images import flat  # noqa: E402

PAPER, INK, GREY, EDGE = (255, 255, 255), (15, 23, 42), (100, 116, 139), (203, 213, 225)
BEHIND, BLANK = (241, 245, 249), (226, 232, 240)
RED, GREEN = (250, 10, 10), (10, 250, 10)


def image(height=150, width=200, color=RED):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def length(text, size=14):
    """Pixels that it is wide, by the font that comes with matplotlib."""
    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size).getlength(text)


def box(picture, color, area=(0, 0, None, None)):
    """Left, top, right and bottom (both included) of the pixels of ``color`` in an area."""
    left, top, right, bottom = area
    ys, xs = np.nonzero((picture[top:bottom, left:right] == color).all(-1))
    return tuple(int(n) for n in (xs.min() + left, ys.min() + top, xs.max() + left, ys.max() + top))


def written(picture, area=(0, 0, None, None), color=INK):
    """The box of what is written in ``color``, paler pixels at its edges included."""
    left, top, right, bottom = area
    part = picture[top:bottom, left:right].astype(int)
    ys, xs = np.nonzero((abs(part - color) <= 90).all(-1))
    return tuple(int(n) for n in (xs.min() + left, ys.min() + top, xs.max() + left, ys.max() + top))


def assert_begins(text_box, left, text, size=14):
    """An H has its stem 1.4 pixels from its left and right end at 14 pixels."""
    assert left <= text_box[0] <= left + 0.15 * size
    assert text_box[2] == pytest.approx(left + length(text, size) - 0.1 * size, abs=2)


def test_images_lie_in_a_grid_with_gaps_under_captions():
    colors = [(250, 10, 10 * n) for n in range(6)]
    tiles = [Tile(image(color=color), "H") for color in colors]
    picture, scale = draw_grid(tiles, Shape(2, 3))
    assert scale == 1.0 and picture.shape == (11 + 2 * (21 + 150 + 11), 11 + 3 * (200 + 11), 3)
    for index, color in enumerate(colors):
        row, column = divmod(index, 3)
        left, top = 11 + 211 * column, 11 + 182 * row
        assert box(picture, color) == (left, top + 21, left + 199, top + 21 + 149)
        h = written(picture, (left, top, left + 200, top + 20))
        assert_begins(h, left, "H")
        assert h[3] == top + 13 and 9 <= h[3] - h[1] + 1 <= 11
        frame = picture[top + 20 : top + 172, left - 1 : left + 201]
        for side in (frame[0], frame[-1], frame[:, 0], frame[:, -1]):
            assert (side == EDGE).all(), "a frame of one pixel"
    assert (picture[:11] == PAPER).all() and (picture[-10:] == PAPER).all()
    assert (picture[:, :10] == PAPER).all() and (picture[:, -10:] == PAPER).all()


def test_without_captions_there_is_no_strip_for_them():
    picture, _ = draw_grid([Tile(image()), Tile(image(color=GREEN))], Shape(1, 2))
    assert picture.shape == (11 + 150 + 11, 11 + 2 * 211, 3)
    assert box(picture, RED) == (11, 11, 210, 160)
    assert box(picture, GREEN) == (222, 11, 421, 160)


def test_captions_stand_right_above_their_image_whatever_others_need():
    tiles = [Tile(image(), "H H H " * 25), Tile(image(color=GREEN), "H")]
    picture, _ = draw_grid(tiles, Shape(1, 2))
    assert picture.shape[0] == 11 + (3 * 18 + 3) + 150 + 11, "three lines at most"
    assert box(picture, RED)[1] == 11 + 57
    long = written(picture, (11, 0, 211, 67))
    assert long[2] <= 211 and long[3] == 11 + 2 * 18 + 13 and 11 <= long[1] <= 15
    short = written(picture, (222, 0, 422, 67))
    assert short[3] == 11 + 2 * 18 + 13 and short[1] > 11 + 2 * 18


def test_a_grey_note_stands_between_caption_and_image():
    tiles = [Tile(image(), "H", "HHH"), Tile(image(color=GREEN), "H\nH", "")]
    picture, _ = draw_grid(tiles, Shape(1, 2))
    top = 11 + 2 * 18 + 3
    assert box(picture, RED)[1] == top and picture.shape[0] == top + 150 + 11
    strip = (11, 0, 211, top - 1)
    caption, note = written(picture, strip), written(picture, strip, GREY)
    assert caption[3] == 11 + 13 and (picture[caption[1] : caption[3], 11:40] == INK).all(-1).any()
    grey = (picture[11 + 18 : 11 + 36, 11:80] == GREY).all(-1)
    assert grey.any() and np.nonzero(grey)[0].max() + 29 == 11 + 18 + 13
    assert_begins((np.nonzero(grey)[1].min() + 11, 0, note[2], 0), 11, "HHH")
    dark = (picture[11 + 18 : 11 + 36, 11:80] == INK).all(-1)
    assert not dark.any(), "nothing else is written there"


@pytest.mark.parametrize(
    ("side", "font", "line", "gap"),
    [
        (392, 14, 18, 11),
        (448, 16, 21, 13),
        (560, 20, 26, 16),
        (1344, 48, 62, 38),
        (1500, 48, 62, 38),
    ],
)
def test_the_font_is_a_28th_of_the_larger_side_within_limits(side, font, line, gap):
    for height, width in ((side, side // 2), (side // 2, side)):
        picture, scale = draw_grid([Tile(image(height, width), "H")], Shape(1, 1))
        above = line + gap // 3
        assert scale == 1.0
        assert picture.shape == (gap + above + height + gap, gap + width + gap, 3)
        assert box(picture, RED) == (gap, gap + above, gap + width - 1, gap + above + height - 1)
        assert written(picture, (0, 0, None, gap + above - 1))[3] == gap + font - 1


def test_a_small_image_lies_in_the_middle_of_a_cell_that_has_room_for_words():
    picture, _ = draw_grid([Tile(image(8, 6), "H")], Shape(1, 1))
    assert picture.shape == (11 + 21 + 20 + 11, 11 + 112 + 11, 3)
    assert box(picture, RED) == (11 + 53, 32 + 6, 11 + 53 + 5, 32 + 6 + 7)
    assert box(picture, BEHIND) == (11, 32, 11 + 111, 32 + 19)


def test_smaller_images_are_centred_before_a_grey_of_their_own():
    tiles = [Tile(image(150, 300)), Tile(image(201, 101, GREEN))]
    picture, _ = draw_grid(tiles, Shape(1, 2))
    assert picture.shape == (11 + 201 + 11, 11 + 2 * 311, 3)
    assert box(picture, RED) == (11, 11 + 25, 310, 11 + 25 + 149)
    assert box(picture, GREEN) == (322 + 99, 11, 322 + 99 + 100, 211)
    assert (picture[11, 11:311] == BEHIND).all() and (picture[100, 322:421] == BEHIND).all()


def test_column_titles_are_centred_above_and_end_on_one_line():
    tiles = [Tile(image(), "-") for _ in range(2)]
    long = "HHHHHHHH HHHHHHHH HHHHHHHH"
    picture, _ = draw_grid(tiles, Shape(1, 2, (), (long, "HH")))
    top = 11 + 2 * 18 + 5
    assert picture.shape[0] == top + 21 + 150 + 11
    assert box(picture, RED)[1] == top + 21
    first = written(picture, (11, 0, 211, 11 + 18))
    wide = length("HHHHHHHH HHHHHHHH")
    assert_begins(first, 11 + round((200 - wide) / 2), "HHHHHHHH HHHHHHHH")
    assert first[3] == 11 + 13
    for area, text, left in (((11, 29, 211, top), "HHHHHHHH", 11), ((222, 0, 422, top), "HH", 222)):
        second = written(picture, area)
        assert second[3] == 11 + 18 + 13
        assert_begins(second, left + round((200 - length(text)) / 2), text)


def test_row_titles_stand_beside_the_middle_of_their_images():
    tiles = [Tile(image(color=(250, 10, 10 * n)), "H") for n in range(4)]
    picture, _ = draw_grid(tiles, Shape(2, 2, ("HHHH", "H"), ()))
    left = 11 + round(length("HHHH")) + 11
    assert picture.shape == (11 + 2 * 182, left + 2 * 211, 3)
    assert box(picture, (250, 10, 0))[:2] == (left, 32)
    for row, text in ((0, "HHHH"), (1, "H")):
        top = 32 + 182 * row
        title = written(picture, (0, top, left - 1, top + 150))
        assert_begins(title, 11, text)
        assert title[3] == top + (150 - 18) // 2 + 13
    picture, _ = draw_grid(tiles, Shape(2, 2, ("HHHHHH " * 9, "H"), ()))
    wide = length("HHHHHH HHHHHH HHHHHH")
    assert wide <= 200 < length("HHHHHH " * 3 + "HHHHHH"), "as wide as an image at most"
    left = 11 + round(wide) + 11
    assert box(picture, (250, 10, 0))[0] == left
    title = written(picture, (0, 32, left - 1, 182))
    assert title[3] == 32 + (150 - 3 * 18) // 2 + 2 * 18 + 13


def test_titles_have_four_lines_at_most_and_row_titles_sixteen_letters_height_of_width():
    tiles = [Tile(image(300, 400)) for _ in range(2)]
    text = "HHHHHH " * 90
    picture, _ = draw_grid(tiles, Shape(1, 2, (text,), (text, "H")))
    left, top, *_ = box(picture, RED)
    assert top == 11 + 4 * 18 + 5
    assert 11 + 150 < left <= 11 + 16 * 14 + 11


def test_a_missing_image_is_crossed_out_and_says_so_in_its_middle():
    tiles = [Tile(image(), "H"), Tile(None, "H")]
    picture, _ = draw_grid(tiles, Shape(1, 2))
    left, top = 222, 32
    cell = picture[top : top + 150, left : left + 200]
    for y, x in ((0, 0), (149, 199), (149, 0), (0, 199)):
        assert (cell[y, x] == EDGE).all(), "both diagonals go from corner to corner"
    frame = picture[top - 1 : top + 151, left - 1 : left + 201]
    for side in (frame[0], frame[-1], frame[:, 0], frame[:, -1]):
        assert (side == EDGE).all()
    colors = np.unique(cell[:30].reshape(-1, 3), axis=0).tolist()
    assert sorted(colors) == sorted([list(EDGE), list(BLANK)])
    wide = length("no image")
    at = left + round((200 - wide) / 2)
    start = top + (150 - 18) // 2
    text = (abs(cell.astype(int) - GREY) <= 60).all(-1)
    ys, xs = np.nonzero(text)
    assert at <= xs.min() + left <= at + 2
    assert xs.max() + left == pytest.approx(at + wide - 1, abs=1.5)
    assert start + 13 <= ys.max() + top <= start + 17, "the g goes below the line"


def test_the_cross_ends_a_little_before_the_words_that_it_surrounds():
    picture, _ = draw_grid([Tile(image(60, 390)), Tile(None)], Shape(2, 1))
    wide = length("no image")
    at, start = 11 + round((390 - wide) / 2), 82 + (60 - 18) // 2
    line = (picture == EDGE).all(-1)
    assert not line[start : start + 19, at - 4 : at + round(wide) + 5].any()
    for column in (at - 5, at + round(wide) + 5):
        assert line[start : start + 19, column].any(), "but one pixel further it goes on"
    narrow, _ = draw_grid([Tile(image(300, 120)), Tile(None)], Shape(1, 2))
    line, start = (narrow == EDGE).all(-1), 11 + (300 - 18) // 2
    column = slice(11 + 120 + 11 + 40, 11 + 120 + 11 + 80)
    assert not line[start : start + 19, column].any()
    assert line[start - 1, column].any() and line[start + 19, column].any()


def test_the_words_of_a_narrow_missing_image_are_broken():
    tiles = [Tile(image(300, 100)), Tile(None, message="HHHHHH HHHHHH HHHHHH HHHHHH")]
    picture, _ = draw_grid(tiles, Shape(1, 2))
    left = 11 + 112 + 11
    cell = picture[11:311, left : left + 112].astype(int)
    ys, xs = np.nonzero((abs(cell - GREY) <= 60).all(-1))
    start = (300 - 2 * 18) // 2
    assert start <= ys.min() <= start + 5 and ys.max() == start + 18 + 13, "two lines"
    assert xs.min() >= 0 and xs.max() < 112
    assert (xs.min() + xs.max()) / 2 == pytest.approx(56, abs=8)


def test_a_legend_stands_under_the_grid_at_its_left():
    text = "HHHH HHHH"
    picture, _ = draw_grid([Tile(image())], Shape(1, 1), Legend(text))
    assert picture.shape == (11 + 150 + 11 + 18 + 11, 222, 3)
    legend = written(picture, (0, 172, None, None))
    assert_begins(legend, 11, text)
    assert legend[3] == 172 + 13
    picture, _ = draw_grid([Tile(image())], Shape(1, 1), Legend("HHHH " * 40))
    assert picture.shape[0] == 11 + 150 + 11 + 2 * 18 + 11, "two lines at most"
    legend = written(picture, (0, 172, None, None))
    assert legend[3] == 172 + 18 + 13 and 150 < legend[2] < 211


def test_a_heat_map_has_its_colours_from_0_to_the_largest_in_its_legend():
    picture, _ = draw_grid([Tile(image())], Shape(1, 1), Legend("H", 41))
    assert picture.shape == (11 + 150 + 11 + 18 + 11 + 18, 222, 3)
    top = 172 + 18
    words = written(picture, (0, 172, None, 190))
    assert words[3] == 172 + 13
    bar = picture[top + 4 : top + 18, 25 : 25 + 84]
    expected = (matplotlib.colormaps["magma"](np.linspace(0, 1, 84))[:, :3] * 255).round()
    assert (bar == expected.astype(np.uint8)).all()
    around = picture[top + 3 : top + 19, 24 : 25 + 85]
    for side in (around[0], around[-1], around[:, -1]):
        assert (side == PAPER).all()
    zero = written(picture, (0, top, 24, None))
    assert 11 <= zero[0] <= 13 and zero[3] in (top + 13, top + 14)
    levels = written(picture, (25 + 84, top, None, None))
    assert 25 + 84 + 4 <= levels[0] <= 25 + 84 + 4 + 2
    assert levels[2] <= 25 + 84 + 4 + length("41") and levels[3] == top + 13


def test_a_picture_just_as_large_as_is_allowed_is_not_scaled():
    tiles = [Tile(image(150, 300), "H"), Tile(image(150, 300, GREEN), "H")]
    whole, scale = draw_grid(tiles, Shape(1, 2), largest_side=633)
    assert scale == 1.0 and whole.shape == (193, 633, 3)
    smaller, scale = draw_grid(tiles, Shape(1, 2), largest_side=632)
    assert scale == pytest.approx(0.99)
    assert smaller.shape == (11 + 21 + 148 + 11, 11 + 2 * (297 + 11), 3)
    assert box(smaller, RED) == (11, 32, 11 + 296, 32 + 147)


def test_all_images_of_a_picture_that_is_too_large_are_scaled_alike():
    tiles = [Tile(image(100, 300)), Tile(image(50, 10, GREEN)), Tile(image(1, 300, (10, 10, 250)))]
    picture, scale = draw_grid(tiles, Shape(1, 3), largest_side=500)
    # 3 x (300 + 11) + 11 = 944 pixels at first, then 3 x (158 + 11) + 11 = 518, then 503.
    assert scale == pytest.approx(500 / 944 * 500 / 518 * 0.99)
    assert 0.45 < scale < 0.53 and picture.shape[1] <= 500
    width, height = int(300 * scale), int(100 * scale)
    assert picture.shape == (11 + height + 11, 11 + 3 * (width + 11), 3)
    assert box(picture, RED) == (11, 11, 10 + width, 10 + height)
    left, top, right, bottom = box(picture, GREEN)
    assert (right - left + 1, bottom - top + 1) == (int(10 * scale), int(50 * scale))
    left, top, right, bottom = box(picture, (10, 10, 250))
    assert (right - left + 1, bottom - top + 1) == (width, 1), "one pixel at least"
    assert top == 11 + (height - 1) // 2


def test_a_picture_is_refused_only_where_images_would_have_less_than_16_pixels():
    tiles = [Tile(image(100, 100)) for _ in range(4)]
    picture, scale = draw_grid(tiles, Shape(4, 1), largest_side=137)
    assert 16 <= 100 * scale < 22 and max(picture.shape[:2]) <= 137
    with pytest.raises(
        ValueError, match="4 rows x 1 columns with their labels do not fit into 120"
    ):
        draw_grid(tiles, Shape(4, 1), largest_side=120)


# What is drawn


def notes(tiles):
    return [tile.note for tile in tiles]


def test_the_baseline_is_marked_and_the_legend_names_it():
    cells = make_cells([flat(1), flat(2), flat(3, 64, 96), None], ["a", "b", "c", "d"])
    tiles, legend = tiles_of(cells, grid_shape(4), list("abcd"), "absolute", 1)
    assert notes(tiles) == ["30x40", "30x40, baseline", "96x64", ""]
    assert legend == Legend("absolute difference to b, unscaled", 0)
    assert [tile.caption for tile in tiles] == list("abcd")
    tiles, legend = tiles_of(cells[:2], grid_shape(2), list("ab"), "heat map", 1)
    assert notes(tiles) == ["", "baseline"]
    assert legend.text == "difference to b: the largest of red, green and blue, in levels of 255"
    tiles, legend = tiles_of(cells, grid_shape(4), list("abcd"))
    assert legend == Legend("", 0) and [tile.message for tile in tiles] == [
        "different size", "different size", "different size", "no image",
    ]  # fmt: skip


def test_without_a_caption_the_legend_names_the_place_of_the_baseline():
    cells = make_cells([flat(n) for n in range(1, 5)], [])
    _, legend = tiles_of(cells, grid_shape(4), [""] * 4, "absolute", 2)
    assert legend.text == "absolute difference to row 2 / column 1, unscaled"
    titled = grid_shape(4, 0, ("r", "s"), ("x", "y"))
    _, legend = tiles_of(cells, titled, [""] * 4, "heat map", 3)
    assert legend.text.startswith("difference to s / y: ")


@pytest.mark.parametrize(("rows", "above"), [(("r", "s"), ()), ((), ("x", "y"))])
def test_with_titles_the_places_after_the_last_are_blank(rows, above):
    cells = make_cells([flat(n) for n in range(1, 4)], [])
    tiles, _ = tiles_of(cells, Shape(2, 2, rows, above), list("abc"))
    assert len(tiles) == 4 and tiles[3] == Tile(None, "", "", "no image")
    tiles, _ = tiles_of(cells, Shape(2, 2), list("abc"))
    assert len(tiles) == 3


def test_the_heat_map_gives_each_level_its_own_place_on_the_scale():
    base = np.full((4, 5, 3), 100, np.uint8)
    other = base.copy()
    other[0, :, 1] = [100, 101, 99, 110, 120]
    cells = make_cells([flat(1, 4, 5)] * 2, [])
    cells = [cells[0]._replace(pixels=base), cells[1]._replace(pixels=other)]
    tiles, legend = tiles_of(cells, grid_shape(2), list("ab"), "heat map", 0)
    assert legend.levels == 20
    magma = (matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(int)
    expected = magma[[0, 13, 13, 128, 255]]  # 255 / 20 is 12.75.
    assert (tiles[1].pixels[0] == expected).all()
