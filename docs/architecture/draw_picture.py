"""The picture of the pack's topics and their imports, as SVG."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from read_imports import PACKAGES, Edges, reduced, topic_edges, topics

WIDTH, GAP, LINE, PAD, ROW_GAP = 188, 16, 15, 10, 34
LETTERS = 27
"""Characters of a line in a box."""
COLOURS = {"nodes": "#2f6db3", "cli": "#a35a00", "core": "#2d7d46"}
SAYS = {
    "nodes": "nodes/: thin wrappers, the only importers of ComfyUI. They import core, never cli.",
    "cli": "cli/: the command layerlab. It imports core, never ComfyUI and never nodes.",
    "core": "core/: tensors and plain values. It imports neither nodes, nor cli, nor ComfyUI.",
}


def picture() -> str:
    """The SVG: a panel a package, a box a topic, an arrow from whoever imports.

    Arrows that a longer way says already are left out. What a topic of nodes or cli takes from core
    stands in its box.
    """
    edges = reduced(topic_edges())
    panels, top = [], 10
    width = 2 * GAP + max(_panel_width(package, edges) for package in PACKAGES)
    for package in PACKAGES:
        drawn, height = _panel(package, edges, width, top)
        panels.append(drawn)
        top += height + 16
    arrow = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 20} {top}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif" font-size="11.5">\n<defs>{arrow}</defs>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n' + "".join(panels) + "</svg>\n"
    )


def _rows(package: str, edges: Edges) -> tuple[list[list[str]], list[list[str]]]:
    """The topics in rows, importers first, and the ways of the arrows through the rows.

    An arrow past a row has a slot of its own there (a name that is no topic).
    """
    own = [topic for topic in edges if topic.startswith(f"{package}/")]
    inside = {topic: [t for t in sorted(edges[topic]) if t in own] for topic in own}
    depth = dict.fromkeys(own, 0)
    for _ in own:
        for topic in own:
            for target in inside[topic]:
                depth[target] = max(depth[target], depth[topic] + 1)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for topic in own:
        rows[depth[topic]].append(topic)
    ways = []
    for topic in own:
        for target in inside[topic]:
            slots = [f"|{topic}|{target}|{n}" for n in range(depth[topic] + 1, depth[target])]
            for number, slot in enumerate(slots, depth[topic] + 1):
                rows[number].append(slot)
            ways.append([topic, *slots, target])
    for sweep in range(24):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for number in order:
            _sort(rows[number], rows[number - 1 if sweep % 2 == 0 else number + 1], ways)
    return rows, ways


def _sort(row: list[str], beside: list[str], ways: list[list[str]]) -> None:
    """Each name of ``row`` below or above the middle of those it is tied to in ``beside``."""
    place = {name: (number + 0.5) / len(beside) for number, name in enumerate(beside)}
    middle = {name: (number + 0.5) / len(row) for number, name in enumerate(row)}
    for name in row:
        tied = [
            place[other]
            for way in ways
            for pair in zip(way, way[1:], strict=False)
            if name in pair
            for other in pair
            if other in place
        ]
        if tied:
            middle[name] = sum(tied) / len(tied)
    row.sort(key=middle.__getitem__)


def _slot(name: str) -> int:
    return GAP if name.startswith("|") else WIDTH


def _panel_width(package: str, edges: Edges) -> int:
    rows, _ = _rows(package, edges)
    return max(sum(_slot(name) + GAP for name in row) for row in rows)


def _panel(package: str, edges: Edges, width: int, top: int) -> tuple[str, int]:
    rows, ways = _rows(package, edges)
    colour = COLOURS[package]
    boxes: dict[str, tuple[float, ...]] = {}
    y = top + 34
    for row in rows:
        tall = max(_height(name, edges) for name in row)
        room = (width - sum(map(_slot, row))) / (len(row) + 1)
        x = 10 + room
        for name in row:
            own = tall if name.startswith("|") else _height(name, edges)
            boxes[name] = (x, y, _slot(name), own, y + tall)
            x += _slot(name) + room
        y += tall + ROW_GAP
    parts = [
        f'<rect x="10" y="{top}" width="{width}" height="{y - top - 12}" rx="8" fill="{colour}" '
        f'fill-opacity="0.07" stroke="{colour}"/>\n',
        _text(20, top + 20, SAYS[package], colour, 'font-size="13" font-weight="bold"'),
    ]
    parts += [_arrow(way, boxes, ways) for way in ways]
    parts += [_box(name, boxes[name], colour, edges) for name in boxes if not name.startswith("|")]
    return "".join(parts), y - top - 12


def _lines(topic: str, edges: Edges) -> tuple[list[str], list[str]]:
    """What stands in a box: its modules, and the topics of core that it takes from."""
    members = [name.split("/")[1] for name in topics()[topic]]
    package = topic.split("/")[0]
    taken = [t.split("/")[1] for t in sorted(edges[topic]) if not t.startswith(package)]
    return _wrap(", ".join(members), ", "), _wrap("core: " + "; ".join(taken), " ") if taken else []


def _wrap(text: str, between: str) -> list[str]:
    lines = [""]
    for word in text.split(between):
        joined = f"{lines[-1]}{between}{word}" if lines[-1] else word
        if len(joined) > LETTERS and lines[-1]:
            lines[-1] += between.rstrip()
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


def _height(topic: str, edges: Edges) -> int:
    return (
        0 if topic.startswith("|") else PAD + LINE * (1 + sum(map(len, _lines(topic, edges)))) + 4
    )


def _box(topic: str, box: tuple[float, ...], colour: str, edges: Edges) -> str:
    x, y, wide, tall, _ = box
    parts = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide}" height="{tall}" rx="5" fill="white" '
        f'stroke="{colour}"/>\n',
        _text(x + PAD, y + 17, topic.split("/")[1], colour, 'font-weight="bold"'),
    ]
    members, taken = _lines(topic, edges)
    for number, line in enumerate([*members, *taken], 1):
        shade = "#222" if number <= len(members) else COLOURS["core"]
        parts.append(_text(x + PAD, y + 17 + LINE * number, line, shade))
    return "".join(parts)


def _text(x: float, y: float, text: str, colour: str, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" {style}>{escape(text)}</text>\n'


def _arrow(way: list[str], boxes: Mapping[str, tuple[float, ...]], ways: list[list[str]]) -> str:
    """From under the importer, down through its slots, to the top of what is imported."""

    def port(name: str, mine: int) -> float:
        # Arrows of one box leave and arrive side by side, in the order of where they go.
        tied = [w for w in ways if w[mine] == name]
        tied.sort(key=lambda w: boxes[w[1 if mine == 0 else -2]][0])
        return boxes[name][0] + WIDTH * (tied.index(way) + 1) / (len(tied) + 1)

    x, y = port(way[0], 0), boxes[way[0]][1] + boxes[way[0]][3]
    path = f"M{x:.0f} {y:.0f}"
    if boxes[way[0]][4] > y:
        y = boxes[way[0]][4]  # Past its taller neighbours first.
        path += f" V{y:.0f}"
    stops = [(boxes[slot][0] + GAP / 2, boxes[slot][1], boxes[slot][3]) for slot in way[1:-1]]
    for to_x, to_y, tall in [*stops, (port(way[-1], -1), boxes[way[-1]][1], 0)]:
        half = (y + to_y) / 2
        path += f" C{x:.0f} {half:.0f} {to_x:.0f} {half:.0f} {to_x:.0f} {to_y:.0f}"
        if tall:
            path += f" V{to_y + tall:.0f}"
        x, y = to_x, to_y + tall
    return f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>\n'
