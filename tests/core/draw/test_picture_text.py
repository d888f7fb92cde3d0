"""Text in pixels: broken between words, inside long ones, and shortened in the middle.

All digits of the font that comes with matplotlib are equally wide.
"""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
pytest.importorskip("PIL", reason="pictures need Pillow")

from PIL import Image, ImageDraw  # noqa: E402
from zimage_layer_lab.core.draw.fonts import printable  # noqa: E402
from zimage_layer_lab.core.draw.picture_text import (  # noqa: E402
    draw_lines,
    line_height,
    text_width,
    wrap,
)

DIGITS = "01234567890123456789"


def room(text, size=14):
    """The least whole number of pixels that the text fits into."""
    return int(np.ceil(text_width(text, size)))


def test_a_line_is_as_high_as_one_point_three_letters():
    assert [line_height(size) for size in (10, 14, 16, 20, 48)] == [13, 18, 21, 26, 62]


def test_a_width_is_the_sum_of_its_letters():
    assert text_width("", 14) == 0
    assert text_width("00", 14) == pytest.approx(2 * text_width("7", 14))
    assert text_width("7", 28) == pytest.approx(2 * text_width("7", 14), rel=0.05)


def test_words_fill_a_line_as_long_as_they_fit():
    assert wrap("000 11 2 33", 14, room("000 11"), 9) == ["000 11", "2 33"]
    assert wrap("000 11 2 33", 14, room("000 11") - 1, 9) == ["000", "11 2", "33"]
    assert wrap("  000 \t 11 ", 14, 500, 9) == ["000 \\t 11"]
    assert wrap("", 14, 100, 3) == [] == wrap("   ", 14, 100, 3)


def test_a_word_wider_than_a_line_begins_a_line_and_is_cut():
    assert wrap("1 0123456789 2", 14, room("0123"), 9) == ["1", "0123", "4567", "89 2"]
    assert wrap("01", 14, 1, 9) == ["0", "1"], "a letter a line at least"


@pytest.mark.parametrize(
    ("kept", "shown"), [(7, "0123…789"), (8, "0123…6789"), (1, "0…"), (2, "0…9")]
)
def test_of_a_text_that_is_too_long_as_much_as_fits_is_kept_at_both_ends(kept, shown):
    assert wrap(DIGITS, 14, room("0" * kept + "…"), 1) == [shown]


def test_a_text_that_just_fits_is_whole():
    assert wrap(DIGITS, 14, room(DIGITS), 1) == [DIGITS]
    assert wrap(DIGITS, 14, room(DIGITS[:10]), 2) == [DIGITS[:10], DIGITS[10:]]
    # The ellipsis is wider than one digit and narrower than two.
    assert wrap(DIGITS, 14, room(DIGITS[:9]), 2) == ["01234567", "…3456789"]


def test_lines_begin_at_their_corner_and_stand_under_each_other():
    canvas = Image.new("RGB", (200, 100), "white")
    draw_lines(ImageDraw.Draw(canvas), ["HH", "H"], 20, 10, 20, "#c2410c")
    ink = (np.asarray(canvas) == (0xC2, 0x41, 0x0C)).all(-1)
    for top, right in ((10, text_width("HH", 20)), (36, text_width("H", 20))):
        ys, xs = np.nonzero(ink[top : top + 26])
        assert ys.max() == 19 and 4 <= ys.min() <= 7, "the letters end at the height of the font"
        assert 21 <= xs.min() <= 23
        assert xs.max() == pytest.approx(20 + right - 3, abs=2)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcd", 0, "abcd"),
        ("abcd", 4, "abcd"),
        ("abcd", 3, "ab…"),
        ("abcd", 1, "…"),
        ("a\nb", 4, "a\\nb"),
        ("a\nb", 3, "a\\…"),
        ("a b", 9, "a b"),
        ("\x1b", 9, "\\x1b"),
    ],
)
def test_a_text_is_cut_to_letters_that_can_be_drawn(text, limit, shown):
    assert printable(text, limit) == shown
