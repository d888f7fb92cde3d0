"""Text in pixels: broken into lines, and drawn with whatever font has the character.

Needs Pillow and matplotlib, whose fonts it uses, so nothing imports this module before a picture is
asked for.
"""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageDraw, ImageFont

from .fonts import printable, runs


@lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    # One file may hold several faces; matplotlib 3.11 says which one it found.
    return ImageFont.truetype(str(path), size, index=getattr(path, "face_index", 0))


def _runs(text: str, size: int) -> list[tuple[ImageFont.FreeTypeFont, str]]:
    """``text`` cut into stretches, each with a font that can draw it."""
    return [(_font(path, size), run) for path, run in runs(text)]


def text_width(text: str, size: int) -> float:
    """Pixels that one line of text takes at a font size in pixels."""
    return sum(font.getlength(run) for font, run in _runs(text, size))


def line_height(size: int) -> int:
    """Pixels from one line to the next."""
    return round(1.3 * size)


def draw_lines(
    draw: ImageDraw.ImageDraw, lines: list[str], left: int, top: int, size: int, color: str
) -> None:
    """Write lines under each other; ``left`` and ``top`` are the corner of the first."""
    for number, line in enumerate(lines):
        x, baseline = float(left), top + number * line_height(size) + size
        for font, run in _runs(line, size):
            draw.text((x, baseline), run, fill=color, font=font, anchor="ls")
            x += font.getlength(run)


def wrap(text: str, size: int, width: int, most_lines: int) -> list[str]:
    """``text`` as lines of at most ``width`` pixels; characters that cannot be drawn are escaped.

    Where it takes more than ``most_lines``, its middle is left out: labels of a sweep often differ
    only at their end.
    """
    text = printable(text)
    lines = _broken(text, size, width)
    if len(lines) <= most_lines:
        return lines
    low, high = 0, len(text)
    while high - low > 1:
        kept = (low + high) // 2
        if len(_broken(_shortened(text, kept), size, width)) <= most_lines:
            low = kept
        else:
            high = kept
    return _broken(_shortened(text, low), size, width)


def _shortened(text: str, kept: int) -> str:
    """The first and the last characters, ``kept`` in all."""
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def _broken(text: str, size: int, width: int) -> list[str]:
    """Broken between words, and inside a word that is wider than a line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if text_width(longer, size) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = ""
        for character in word:
            if line and text_width(line + character, size) > width:
                lines.append(line)
                line = ""
            line += character
    return [*lines, line] if line else lines
