"""A written report page, read back with Python's own HTML parser."""

import html.parser
from typing import NamedTuple


class PageTable(NamedTuple):
    """A table, the heading that it stands under, its caption, and whether it is one of texts."""

    section: str
    caption: str
    header: list[str]
    rows: list[list[str]]
    prose: bool


class ReadPage(html.parser.HTMLParser):
    """What a page says, in order.

    Attributes:
        blocks: (element, text) of headings, paragraphs, terms, definitions, captions and cells.
        tables: every :class:`PageTable`.
    """

    BLOCKS = ("title", "h1", "h2", "p", "dt", "dd", "caption", "th", "td")

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[str, str]] = []
        self.tables: list[PageTable] = []
        self._open: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag in self.BLOCKS:
            self._open.append(tag)
            self.blocks.append((tag, ""))
        elif tag == "table":
            self.blocks.append(("table", ""))
            prose = "prose" in (dict(attrs).get("class") or "").split()
            self.tables.append(PageTable(self._section, "", [], [], prose))
        elif tag == "tr" and self.tables:
            self.tables[-1].rows.append([])
        elif tag == "img":
            self.blocks.append(("img", dict(attrs)["alt"]))

    def handle_data(self, data):
        if self._open:
            tag, said = self.blocks[-1]
            self.blocks[-1] = (tag, said + data)

    def handle_endtag(self, tag):
        if not self._open or tag != self._open[-1]:
            return
        self._open.pop()
        said = self.blocks[-1][1]
        if tag == "h2":
            self._section = said
        elif tag == "caption":
            self.tables[-1] = self.tables[-1]._replace(caption=said)
        elif tag == "th":
            self.tables[-1].header.append(said)
            self.tables[-1].rows.clear()
        elif tag == "td":
            self.tables[-1].rows[-1].append(said)

    def section(self, title: str) -> list[tuple[str, str]]:
        """The blocks from a heading to the next one."""
        start = self.blocks.index(("h2", title))
        ends = [i for i, (tag, _) in enumerate(self.blocks) if tag == "h2" and i > start]
        return self.blocks[start + 1 : min(ends, default=len(self.blocks))]

    def say(self, tag: str) -> list[str]:
        """The texts of all elements of a kind."""
        return [said for kind, said in self.blocks if kind == tag]
