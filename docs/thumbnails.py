"""Draws the pictures of the templates: `python docs/thumbnails.py` writes workflows/*.jpg anew.

Each is a diagram of what its workflow compares. The tiles stand for pictures and show none: what a
layer or a mask does to a picture is for the workflow to show. Needs matplotlib and Pillow.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrow, Polygon, Rectangle
from PIL import Image

WORKFLOWS = Path(__file__).resolve().parents[1] / "workflows"
PIXELS = 512
PAPER, INK, PALE = "#f6f3ec", "#22303c", "#c9cfd3"
TEXT, PICTURE, MASK = "#2f6f9f", "#d9822b", "#b3402e"


class Sketch:
    """100 x 100 units, the origin at the top left, and the title below.

    The page lays a badge over the upper left: above 18 units nothing is drawn.
    """

    def __init__(self, title: str):
        self.figure = Figure(figsize=(PIXELS / 100, PIXELS / 100), dpi=100, facecolor=PAPER)
        self.axes = self.figure.add_axes((0, 0.13, 1, 0.87))
        self.axes.set(xlim=(0, 100), ylim=(100, 0))
        self.axes.axis("off")
        style = {"size": 25, "weight": "bold", "color": INK, "ha": "center", "va": "center"}
        self.figure.text(0.5, 0.075, title, **style)

    def text(self, x: float, y: float, words: str, size: float = 20, **style) -> None:
        style = {"color": INK, "ha": "center", "va": "center", **style}
        self.axes.text(x, y, words, fontsize=size, **style)

    def box(self, x, y, width, height, color, **style) -> None:
        style = {"edgecolor": INK, "linewidth": 1.5, **style}
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=color, **style))

    def arrow(self, x: float, y: float, right: float, down: float = 0) -> None:
        self.axes.add_patch(
            FancyArrow(x, y, right, down, width=1.2, head_width=5, head_length=4, color=INK,
                       length_includes_head=True)
        )  # fmt: skip

    def tile(self, x, y, width, height, label, share=0.0, color=TEXT, size=20) -> None:
        """A picture's place with its label; ``share`` of it is in the colour of pictures."""
        self.box(x, y, width, height, color)
        self.box(x, y, width * share, height, PICTURE, linewidth=0)
        self.box(x, y, width, height, "none")
        self.text(x + width / 2, y + height / 2, label, size, color="white", weight="bold")

    def layers(self, x: float, lit: Sequence[int], count: int = 24) -> None:
        """A text encoder as a stack of layers, the last on top; ``lit`` count from the end."""
        step = 68 / count
        for number in range(count):
            on = number + 1 in lit
            self.box(x, 22 + step * number, 22, step * 0.75, TEXT if on else PALE, linewidth=0)
        self.text(x + 11, 95, "Qwen3", 19)

    def photo(self, x: float, y: float, size: float, style: str = PICTURE) -> None:
        """An icon of a picture."""
        self.box(x, y, size, size * 0.8, "white", linewidth=2)
        hill = [(x, y + size * 0.8), (x + size * 0.4, y + size * 0.3), (x + size, y + size * 0.8)]
        self.axes.add_patch(Polygon(hill, facecolor=style))
        self.axes.add_patch(Circle((x + size * 0.76, y + size * 0.22), size * 0.1, color=style))

    def prompt(self, x: float, y: float) -> None:
        """An icon of a text."""
        for number, width in enumerate((26, 22, 25)):
            self.box(x, y + 6 * number, width, 3, TEXT, linewidth=0)

    def save(self, path: Path) -> None:
        raw = io.BytesIO()
        self.figure.savefig(raw, format="png")
        Image.open(raw).convert("RGB").save(path, quality=90)


def two_layers() -> Sketch:
    sketch = Sketch("Two text layers")
    sketch.layers(6, lit=(2, 6))
    for y, label in ((22, "-2"), (58, "-6")):
        sketch.arrow(32, y + 15, 15)
        sketch.tile(52, y, 42, 30, f"layer {label}")
    return sketch


def six_layers() -> Sketch:
    sketch = Sketch("Six text layers")
    sketch.layers(6, lit=(2, 6, 10, 14, 18, 22))
    sketch.arrow(31, 55, 10)
    for number, label in enumerate((-2, -6, -10, -14, -18, -22)):
        x, y = 45 + 26 * (number % 2), 22 + 24 * (number // 2)
        sketch.tile(x, y, 24, 21, str(label))
    sketch.text(70, 95, "one grid", 19)
    return sketch


def mixed_layers() -> Sketch:
    sketch = Sketch("Text layers mixed")
    sketch.layers(6, lit=(2, 6))
    sketch.arrow(31, 55, 10)
    for number, label in enumerate(("layer -2", "layer -6", "mix: raw", "mix: rms", "mix: mean")):
        color = TEXT if number < 2 else "#3f8f6f"
        sketch.tile(46, 20 + 15.5 * number, 48, 13, label, color=color)
    return sketch


def four_strengths() -> Sketch:
    sketch = Sketch("Prompt + picture")
    sketch.prompt(10, 25)
    sketch.text(48, 33, "+", 34, weight="bold")
    sketch.photo(60, 20, 30)
    sketch.arrow(50, 46, 0, 8)
    for number, alpha in enumerate((0, 0.3, 0.5, 1)):
        sketch.tile(4 + 23.5 * number, 58, 21.5, 25, f"{alpha:g}", share=alpha, size=24)
    sketch.text(50, 91, "four strengths: alpha", 20)
    return sketch


def plain_and_masked() -> Sketch:
    sketch = Sketch("Picture tokens")
    sketch.photo(5, 40, 30)
    for row, label in enumerate(("layer -2", "-2 masked", "layer -6")):
        y = 20 + 26 * row
        sketch.arrow(37, 52 + (row - 1) * 8, 9, (row - 1) * 10)
        for token in range(6):
            masked = "masked" in label and token == 3
            height, color = (3, MASK) if masked else (13, PICTURE)
            sketch.box(51 + 7.5 * token, y + 14 - height, 5.5, height, color, linewidth=0)
        sketch.text(73, y + 20, label, 19)
    return sketch


def six_masks() -> Sketch:
    sketch = Sketch("Six outlier masks")
    labels = (
        "layer -2",
        "zero",
        "clamp",
        "scale",
        "mean",
        "drop sinks",
        "sink to mean",
        "layer -6",
    )
    for number, label in enumerate(labels):
        x, y = 4 + 47 * (number % 2), 20 + 19.5 * (number // 2)
        color = PICTURE if label.startswith("layer") else MASK
        sketch.tile(x, y, 45, 17, label, color=color, size=19)
    return sketch


def added_style() -> Sketch:
    sketch = Sketch("Style into a prompt")
    sketch.photo(6, 22, 34)
    sketch.text(48, 35, "-", 40, weight="bold")
    sketch.photo(58, 22, 34, style="#8d9499")
    sketch.text(23, 56, "styled", 19)
    sketch.text(75, 56, "neutral", 19)
    sketch.arrow(50, 55, 0, 10)
    sketch.prompt(6, 74)
    sketch.text(42, 81, "+", 34, weight="bold")
    sketch.tile(52, 71, 42, 20, "style", color=PICTURE, size=24)
    return sketch


def response_by_layer() -> Sketch:
    sketch = Sketch("Response by layer")
    sketch.layers(6, lit=range(1, 25))
    sketch.arrow(31, 55, 9)
    for y, share, label in ((26, "100 %", "no prompt"), (84, "0 %", "layer -2")):
        sketch.box(44, y - 0.5, 52, 1, INK, linewidth=0)
        sketch.text(70, y + (-5 if y < 50 else 5.5), f"{share}: {label}", 18)
    for number in range(12):
        sketch.box(45.5 + 4.2 * number, 28, 2.6, 54.5, PALE, linewidth=0)
    sketch.text(70, 55, "?", 60, color=MASK, weight="bold")
    return sketch


def response_without_each() -> Sketch:
    sketch = Sketch("Outliers: heard?")
    for number, label in enumerate(("no outlier", "no sink token", "neither", "a control")):
        y, color = 20 + 19 * number, MASK if number < 3 else "#8d9499"
        sketch.tile(5, y, 48, 16, label, color=color)
        sketch.arrow(56, y + 8, 13)
        sketch.text(82, y + 8, "? %", 24, color=color, weight="bold")
    return sketch


def _each_layer(sketch: Sketch, numbers: tuple[str, ...], rest: str) -> Sketch:
    for place, number in enumerate(numbers):
        y = 20 + 19 * place
        sketch.tile(5, y, 34, 16, number)
        sketch.arrow(42, y + 8, 13)
        sketch.tile(60, y, 34, 16, f"only {number}")
    sketch.text(50, 97, rest, 18)
    return sketch


def klein_layers() -> Sketch:
    return _each_layer(Sketch("Klein: each layer"), ("9", "18", "27"), "and weights of your own")


def krea_layers() -> Sketch:
    return _each_layer(Sketch("Krea 2: each layer"), ("2", "5", "8", "11"), "to 35")


def concept_strengths() -> Sketch:
    sketch = Sketch("A smile, added")
    sketch.tile(4, 22, 40, 16, "smiling woman", size=15)
    sketch.text(50, 30, "\u2212", 30, weight="bold")
    sketch.tile(56, 22, 40, 16, "woman", size=15)
    sketch.arrow(50, 42, 0, 10)
    for number, strength in enumerate((0, 2, 4, 8)):
        sketch.tile(4 + 24 * number, 58, 20, 26, f"+{strength}", strength / 10, size=22)
    return sketch


def word_weights() -> Sketch:
    sketch = Sketch("One word, three weights")
    for number, (weight, share) in enumerate((("0.6", 0.3), ("1", 0.5), ("1.4", 0.7))):
        top = 22 + 24 * number
        sketch.text(26, top + 9, f"(red:{weight})", 22)
        sketch.arrow(49, top + 9, 10)
        sketch.tile(64, top, 32, 18, weight, share, size=22)
    return sketch


DRAWN: dict[str, Callable[[], Sketch]] = {
    "1": two_layers,
    "2": six_layers,
    "3": mixed_layers,
    "4": four_strengths,
    "5": plain_and_masked,
    "6": six_masks,
    "7": added_style,
    "8": response_by_layer,
    "9": response_without_each,
    "10": klein_layers,
    "11": krea_layers,
    "12": concept_strengths,
    "13": word_weights,
}
"""By the number that a workflow's name begins with."""


def main() -> None:
    for path in sorted(WORKFLOWS.glob("*.json")):
        DRAWN[path.name.split()[0]]().save(path.with_suffix(".jpg"))


if __name__ == "__main__":
    main()
