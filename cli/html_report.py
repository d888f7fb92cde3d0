"""A self-contained HTML page: pictures and tables inside, nothing fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import jinja2


@dataclass(frozen=True)
class Table:
    """``rows`` under ``header``, with an optional ``caption``."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, one picture (PNG bytes) and tables."""

    title: str
    paragraphs: Sequence[str] = ()
    png: bytes = b""
    tables: Sequence[Table] = field(default_factory=tuple)

    @property
    def image(self) -> str:
        """The picture in base64, empty if there is none."""
        return base64.b64encode(self.png).decode("ascii")


def render_report(
    title: str, subtitle: str, headline: Sequence[str], sections: Sequence[Section], footer: str
) -> str:
    """The page as a string; every text is escaped."""
    source = files(__package__).joinpath("templates/report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source).render(
        title=title, subtitle=subtitle, headline=headline, sections=sections, footer=footer
    )
