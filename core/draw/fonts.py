"""Which font draws a text that comes from outside: a token, a label, a model's name.

Such a text is drawn as :func:`printable` gives it, in matplotlib with :func:`text_style`, in Pillow
run by run with :func:`runs`. Every character that any installed font has is drawn, and no other.

Needs matplotlib, so nothing imports this module before a picture is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.font_manager import (
    FontEntry,
    FontManager,
    FontProperties,
    findSystemFonts,
    fontManager,
    get_font,
)
from matplotlib.ft2font import FT2Font

BUNDLED_FAMILY = "DejaVu Sans"
"""Comes with matplotlib: Latin, Greek, Cyrillic, Arabic, symbols, but no Chinese."""

PREFERRED_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "Noto Sans CJK JP",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "SimHei",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)
"""Asked right after the bundled one, those first that draw Chinese as in China. matplotlib before
3.11 sees one face of a collection, of Noto's the Japanese one, which has the same characters."""

NOT_FOR_TEXT = ("lastresort", "adobeblank", ".")
"""Beginnings of the names of fonts that have a box, or nothing, for every character."""


class FontFinder:
    """The first of the installed fonts that can draw a character: bundled, preferred, then any.

    matplotlib's list of fonts may be older than a font. So where the first ones lack a character,
    files that are not in the list are added to it, once.

    Args:
        manager: matplotlib's list of fonts.
        font_files: gives the font files of this system.
    """

    def __init__(
        self,
        manager: FontManager = fontManager,
        font_files: Callable[[], Iterable[str]] = findSystemFonts,
    ):
        self._manager = manager
        self._font_files = font_files
        self._families: list[str] = []
        # For every code point 0, or 1 + the number of the first family that has it.
        self._first = np.zeros(0x110000, np.uint16)
        self._known: dict[str, str | None] = {}
        # Reading fonts takes a while, and the bundled one has what most texts need.
        self._unread = [self._add_preferred, self._add_all]
        self._add(BUNDLED_FAMILY, self.file(BUNDLED_FAMILY))

    def family(self, character: str) -> str | None:
        """The family that draws ``character``, None if no font does."""
        if character not in self._known:
            while not self._first[ord(character)] and self._unread:
                self._unread.pop(0)()
            number = int(self._first[ord(character)])
            family = self._families[number - 1] if number else None
            drawn = family is not None and _has_ink(self.file(family), character)
            self._known[character] = family if drawn else None
        return self._known[character]

    def families(self, text: str) -> list[str]:
        """The bundled family and those that ``text`` needs besides, in the order of asking."""
        # No font has a line break: to ask for one would read every font that is installed.
        letters = set(text) - {"\n"}
        needed = {self.family(character) for character in letters} - {None, BUNDLED_FAMILY}
        return [BUNDLED_FAMILY, *sorted(needed, key=self._families.index)]

    def file(self, family: str) -> str:
        """The path of a family's regular face; in matplotlib 3.11 it says which face it is."""
        return self._manager.findfont(FontProperties(family=family))

    def _add_preferred(self) -> None:
        listed = {entry.name for entry in self._manager.ttflist}
        for family in PREFERRED_FAMILIES:
            if family in listed and family not in self._families:
                self._add(family, self.file(family))

    def _add_all(self) -> None:
        listed = {entry.fname for entry in self._manager.ttflist}
        for path in sorted(set(self._font_files()) - listed):
            _try(self._manager.addfont, path)
        self._add_preferred()
        regular: dict[str, FontEntry] = {}
        for entry in sorted(self._manager.ttflist, key=self._unlike_regular):
            regular.setdefault(entry.name, entry)
        own = Path(matplotlib.get_data_path())
        for family, entry in sorted(regular.items()):
            # matplotlib's own others are for formulas: letters stand where symbols should.
            if family not in self._families and own not in Path(entry.fname).parents:
                self._add(family, entry.fname)

    def _add(self, family: str, path: str) -> None:
        if family.replace(" ", "").lower().startswith(NOT_FOR_TEXT):
            return
        codes = _try(_characters, path)
        if codes is not None:
            self._families.append(family)
            new = codes[self._first[codes] == 0]
            self._first[new] = len(self._families)

    def _unlike_regular(self, entry: FontEntry) -> tuple[float, str]:
        score = self._manager.score_weight(entry.weight, "normal")
        return score + self._manager.score_style(entry.style, "normal"), entry.fname


def _characters(path: str) -> np.ndarray:
    """The code points that the font file has; none if it holds bitmaps."""
    font = FT2Font(str(path))
    codes = font.get_charmap() if font.scalable else ()
    return np.fromiter(codes, np.int64, len(codes))


def _has_ink(path: str, character: str) -> bool:
    """Whether something is drawn: fonts of coloured pictures may have empty outlines."""
    font = get_font(path)
    if not font.get_char_index(ord(character)):
        return False
    glyph = _try(font.load_char, ord(character))
    return character == " " or (glyph is not None and glyph.width > 0 and glyph.height > 0)


def _try(read: Callable[..., Any], *arguments: Any) -> Any:
    """``read(*arguments)``, None if it fails: one bad file must not cost the picture."""
    try:
        return read(*arguments)
    except Exception as error:  # whatever FreeType says of a broken or vanished file
        logging.getLogger(__name__).debug("a font is left out: %s", error)
        return None


@lru_cache(maxsize=1)
def _fonts() -> FontFinder:
    return FontFinder()


def printable(text: str, limit: int = 0) -> str:
    r"""``text`` as it can be drawn: a newline is ``\n``, a character that no font has ``\uXXXX``.

    ``limit`` cuts it to that many characters, the last one an ellipsis; 0 does not.
    """
    fonts = _fonts()
    shown = "".join(
        character
        if character.isprintable() and fonts.family(character)
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
    return f"{shown[: limit - 1]}…" if 0 < limit < len(shown) else shown


def text_style(*texts: str) -> dict[str, Any]:
    """Properties of a matplotlib Text that shows any of ``texts``: ``$`` is no formula."""
    return {"family": _fonts().families("".join(texts)), "parse_math": False}


def runs(text: str) -> list[tuple[str, str]]:
    """``text`` cut into stretches, each with the path of the font that draws it."""
    fonts = _fonts()
    stretches = groupby(text, lambda character: fonts.family(character) or BUNDLED_FAMILY)
    return [(fonts.file(family), "".join(stretch)) for family, stretch in stretches]
