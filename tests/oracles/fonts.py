"""Font files with a few characters each, made by hand: every one is a black square."""

from collections.abc import Iterable
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

EM = 1000


def make_font(family: str, characters: str, blank: str = "", weight: int = 400) -> TTFont:
    """A face that draws ``characters`` as squares, and nothing for those of ``blank``."""
    names = {ord(one): f"u{ord(one):05x}" for one in (*characters, *blank)}
    builder = FontBuilder(EM, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    filled = {names[ord(one)] for one in characters}
    builder.setupGlyf({name: _glyph(name in filled) for name in builder.font.getGlyphOrder()})
    builder.setupHorizontalMetrics({name: (EM, 100) for name in builder.font.getGlyphOrder()})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200, usWeightClass=weight)
    builder.setupPost()
    return builder.font


def _glyph(filled: bool):
    pen = TTGlyphPen(None)
    if filled:
        pen.moveTo((100, 0))
        for point in ((100, 800), (900, 800), (900, 0)):
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()


def write_font(path: Path, *arguments, **keywords) -> str:
    """:func:`make_font` as a .ttf file; its path as matplotlib lists it."""
    make_font(*arguments, **keywords).save(path)
    return str(path)


def write_collection(path: Path, families: Iterable[str], characters: str) -> str:
    """A .ttc file with a face for each family, all with the same characters."""
    collection = TTCollection()
    collection.fonts = [make_font(family, characters) for family in families]
    collection.save(path)
    return str(path)
