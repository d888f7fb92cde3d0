"""Pictures in the colours of a light or a dark page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context, rcParams
from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Annotation

INK, PAPER = "#e4e4e7", "#202124"
"""Text and background of a dark picture."""
_DARK_DEFAULTS = {
    **{f"{part}.facecolor": PAPER for part in ("figure", "axes", "savefig")},
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{"axes.edgecolor": INK, "axes.labelcolor": INK, "legend.facecolor": PAPER},
}
_LIGHTER = {
    "#000000": INK,
    "#c2410c": "#fb923c",
    "#1d4ed8": "#7aa7ff",
    "#047857": "#34d399",
    "#64748b": "#9aa8ba",
    "#cbd5e1": "#52606f",
    "#7c3aed": "#b197fc",
    "#b45309": "#f5b041",
    "#0e7490": "#22d3ee",
    "#be185d": "#f472b6",
}
"""Each colour that the pictures use -> the same hue on dark paper."""
_COLOURS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


@contextmanager
def picture_theme(name: str) -> Iterator[None]:
    """Figures that are made and turned into pixels in here are "light" or "dark".

    Raises:
        ValueError: if there is no such theme.
    """
    if name not in ("light", "dark"):
        raise ValueError(f"theme is {name!r}, neither 'light' nor 'dark'")
    with rc_context(_DARK_DEFAULTS if name == "dark" else {}):
        yield


def follow_theme(figure: Figure) -> None:
    """Bring the colours that ``figure`` sets itself into the theme that is on."""
    if to_hex(rcParams["figure.facecolor"]) != PAPER:
        return
    for artist in figure.findobj():
        _lighten(artist)
        if isinstance(artist, Annotation) and artist.arrow_patch is not None:
            _lighten(artist.arrow_patch)


def _lighten(artist: Artist) -> None:
    if isinstance(artist, Collection) and artist.get_array() is not None:
        return  # Coloured by its values.
    for name in _COLOURS:
        get, give = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
        if get is None or give is None:
            continue
        before = get()
        if isinstance(before, np.ndarray) and before.ndim == 2:
            after: Any = [_lighter(row) for row in before]
        else:
            after = _lighter(before)
        if not np.array_equal(np.asarray(before), np.asarray(after)):
            give(after)


def _lighter(colour: Any) -> Any:
    """The colour for dark paper, as opaque as before; an unknown or invisible one stays."""
    if isinstance(colour, str) and colour.lower() in ("none", "auto"):
        return colour
    red, green, blue, alpha = to_rgba(colour)
    lighter = _LIGHTER.get(to_hex((red, green, blue)))
    return to_rgba(lighter, alpha) if lighter and alpha else colour
