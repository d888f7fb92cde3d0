"""A self-contained HTML page: pictures and tables inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import torch
from torch import Tensor

from ...core.measure.dimension_stats import Place
from ...core.profile.heat_map import HeatMap

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Table:
    """``rows`` under ``header``, with an optional ``caption``.

    A table of ``prose`` breaks its texts anywhere; of others only the last column is broken, and a
    table that is too wide scrolls.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    prose: bool = False


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, one picture (PNG bytes), an interactive heat map, and tables.

    Attributes:
        heat_map: what :func:`heat_map_data` returns.
        tables_say: what the tables show, a sentence that stands before them.
        columns: what each of their columns says, by its name.
    """

    title: str
    paragraphs: Sequence[str] = ()
    png: bytes = b""
    tables: Sequence[Table] = ()
    heat_map: Mapping[str, Any] | None = None
    tables_say: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        """The picture in base64, empty if there is none."""
        return base64.b64encode(self.png).decode("ascii")


def render_report(
    title: str, subtitle: str, headline: Sequence[str], sections: Sequence[Section], footer: str
) -> str:
    """The page as a string; every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, headline=headline, sections=sections, footer=footer
    )


def heat_map_data(
    heat_map: HeatMap, blocks: int, token_text: Callable[[Place], str], unit: str = "prompt"
) -> dict[str, Any]:
    """``heat_map`` as the page's script reads it: arrays in base64, each token's text once.

    ``unit``: what a prompt is called (:attr:`.Profile.unit`).
    """
    places, token = heat_map.places.flatten(0, 1).unique(dim=0, return_inverse=True)
    named = [Place(*place) for place in places.tolist()]
    return {
        "blocks": blocks,
        "unit": unit,
        "width": heat_map.max_abs.shape[1],
        "indices": list(heat_map.indices),
        "relative": _base64(heat_map.relative),
        "max_abs": _base64(heat_map.max_abs),
        "std": _base64(heat_map.std),
        "token": _base64(token.to(torch.int32)),
        "tokens": [[*place, token_text(place)] for place in named],
    }


def _base64(values: Tensor) -> str:
    little_endian = values.contiguous().numpy().astype(values.numpy().dtype.newbyteorder("<"))
    return base64.b64encode(little_endian.tobytes()).decode("ascii")
