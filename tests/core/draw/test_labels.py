"""Names beside the data: in order, apart, in the axes' own numbers and colours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from zimage_layer_lab.core.draw.labels import (
    Mark,
    broken,
    inches,
    name_above,
    name_on_the_right,
    spread,
)

from ...oracles.figures import assert_readable, seen_texts


@given(
    places=st.lists(st.floats(-5, 5), max_size=12),
    gap=st.floats(0.01, 0.08),
)
def test_labels_are_moved_apart_in_order(places, gap):
    moved = spread(places, gap, 0.0, 1.0)
    order = sorted(range(len(places)), key=lambda i: places[i])
    ranked = [moved[i] for i in order]
    assert all(b - a >= gap - 1e-9 for a, b in zip(ranked[:-1], ranked[1:], strict=True))
    assert not ranked or (ranked[0] >= -1e-9 and ranked[-1] <= 1 + 1e-9)


def test_a_label_with_room_stays_where_it_is():
    assert spread([0.7, 0.2, 0.5], 0.1, 0.0, 1.0) == [0.7, 0.2, 0.5]
    assert spread([0.5, 0.52], 0.1, 0.0, 1.0) == pytest.approx([0.5, 0.6])


@pytest.mark.parametrize("text", ["a", "falls, layer -2: 29", "iiii", "WWWW", "1,234"])
def test_a_width_is_what_matplotlib_takes_at_most(text):
    figure = Figure(dpi=100)
    figure.text(0.1, 0.5, text, fontsize=12)
    [seen] = seen_texts(figure)
    pixel = 0.01
    assert seen.box.width / 100 <= inches(text, 12) + pixel
    assert inches(text, 12) <= seen.box.width / 100 * 1.25 + 3 * pixel


def test_a_text_is_broken_by_its_width():
    narrow, wide = broken("i " * 40, 10, 2.0, 9), broken("W " * 40, 10, 2.0, 9)
    assert len(narrow.split("\n")) < len(wide.split("\n"))
    assert all(inches(line, 10) <= 2.0 for line in wide.split("\n"))
    assert "…" in broken("W " * 400, 10, 2.0, 3)
    assert broken("one line\n", 10, 4.0, 1) == "one line\\n", "a token's newline is shown"


def axes_of(figure):
    axes = figure.add_axes([0.2, 0.2, 0.5, 0.5])
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    return axes


names = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 100), st.integers(0, 99_999)), max_size=8
)


@settings(max_examples=15)
@given(names)
def test_no_name_lies_over_another_wherever_the_points_are(points):
    for name, least in ((name_above, 4.0), (name_on_the_right, 2.5)):
        figure = Figure(figsize=(8, 5), dpi=80)
        axes = axes_of(figure)
        name(axes, [Mark((x, y), str(n), "#c2410c") for x, y, n in points], least)
        assert_readable(figure)


@pytest.mark.parametrize("name", [name_above, name_on_the_right])
def test_each_name_leads_to_its_own_point_in_its_own_colour(name):
    figure = Figure(figsize=(8, 5))
    axes = axes_of(figure)
    name(axes, [Mark((70, 20), "right", "#c2410c"), Mark((30, 60), "left", "#047857")], 2.5)
    found = {note.get_text(): note for note in axes.texts}
    points = {"right": (70, 20), "left": (30, 60)}
    if name is name_above:
        points = {text: (x, 1.0) for text, (x, _) in points.items()}
    assert {text: note.xy for text, note in found.items()} == points
    assert found["right"].get_color() == "#c2410c" and found["left"].get_color() == "#047857"
    places = {seen.text: seen.box for seen in seen_texts(figure)}
    if name is name_above:
        assert places["left"].x1 < places["right"].x0, "in the order of the points"
        assert places["left"].y0 > axes.bbox.y1, "above the axes"
    else:
        assert places["right"].y1 < places["left"].y0
        assert places["left"].x0 > axes.bbox.x1, "to the right of them"
