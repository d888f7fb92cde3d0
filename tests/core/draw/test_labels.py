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


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([0.5, 0.1, 0.52], [0.5, 0.1, 0.6]),
        ([0.97, 0.95, 0.96], [1.0, 0.8, 0.9]),
        ([-3.0, 0.04, 7.0], [0.0, 0.1, 1.0]),
        ([0.3, 0.3, 0.3], [0.3, 0.4, 0.5]),
        ([0.85, 0.2, 0.98], [0.85, 0.2, 0.98]),
        ([0.2, 0.25, 0.29, 0.8], [0.2, 0.3, 0.4, 0.8]),
        ([], []),
    ],
)
def test_labels_are_moved_as_little_as_the_gap_asks_for(places, moved):
    assert spread(places, 0.1, 0.0, 1.0) == pytest.approx(moved)


def test_limits_of_a_row_of_labels_are_kept():
    assert spread([0.0, 10.0], 1.0, 2.0, 5.0) == [2.0, 5.0]
    assert spread([4.8, 4.9], 1.0, 2.0, 5.0) == [4.0, 5.0]
    assert spread([2.1, 2.0], 1.0, 2.0, 5.0) == [3.0, 2.0]


def test_names_on_the_right_begin_three_hundredths_beside_the_axes_a_line_and_a_half_apart():
    figure = Figure(figsize=(8, 5))
    axes = axes_of(figure)
    marks = [
        Mark((50, 40), "a", "#c2410c"),
        Mark((60, 40), "b", "#c2410c"),
        Mark((5, 90), "c", "#c2410c"),
    ]
    name_on_the_right(axes, marks, 2.5, 10)
    gap = 1.4 * 10 / 72 / 2.5
    notes = {note.get_text(): note for note in axes.texts}
    for name, place in (("a", 0.4), ("b", 0.4 + gap), ("c", 0.9)):
        assert notes[name].xyann == pytest.approx((1.03, place))
    assert {note.get_fontsize() for note in axes.texts} == {10}
    name_on_the_right(axes, [Mark((1, 1), "d", "#c2410c")], 2.5)
    assert axes.texts[-1].get_fontsize() == 8


def test_names_above_stand_centred_over_their_points_and_inside_the_width_of_the_axes():
    figure = Figure(figsize=(8, 5))
    axes = axes_of(figure)
    points = {"middle": 50.0, "left": 0.0, "right": 100.0, "beside": 52.0}
    name_above(axes, [Mark((x, 3.0), name, "#c2410c") for name, x in points.items()], 4.0)
    widest = inches("middle", 8) / 4.0
    expected = {"middle": 0.5, "left": widest / 2, "right": 1 - widest / 2}
    expected["beside"] = 0.5 + widest + 0.08 / 4.0
    boxes = {seen.text: seen.box for seen in seen_texts(figure)}
    for name, place in expected.items():
        note = next(note for note in axes.texts if note.get_text() == name)
        assert note.xyann == pytest.approx((place, 11))
        box = boxes[name]
        middle = (box.x0 + box.x1) / 2
        assert middle == pytest.approx(axes.bbox.x0 + place * axes.bbox.width, abs=1.5)
        assert box.y0 == pytest.approx(axes.bbox.y1 + 11 * figure.dpi / 72, abs=3)
    name_above(axes, [], 4.0)


@pytest.mark.parametrize("name", [name_above, name_on_the_right])
def test_a_line_leads_from_the_point_to_the_middle_of_the_side_of_the_name_that_faces_it(name):
    figure = Figure(figsize=(8, 5))
    axes = axes_of(figure)
    name(axes, [Mark((70, 20), "a name", "#c2410c")], 2.5)
    [seen] = [one for one in seen_texts(figure) if one.text == "a name"]
    [note] = axes.texts
    [path], _ = note.arrow_patch._get_path_in_displaycoord()
    ends = path.vertices[[0, -1]]
    if name is name_above:
        start, end = ((seen.box.x0 + seen.box.x1) / 2, seen.box.y0), (70, 100)
    else:
        start, end = (seen.box.x0, (seen.box.y0 + seen.box.y1) / 2), (70, 20)
    drawn = sorted(ends.tolist())
    expected = sorted([list(start), axes.transData.transform(end).tolist()])
    for one, other in zip(drawn, expected, strict=True):
        assert one == pytest.approx(other, abs=6)
    assert note.arrow_patch.get_edgecolor()[:3] == pytest.approx(
        (0xC2 / 255, 0x41 / 255, 0x0C / 255)
    )


def test_a_point_beyond_the_axes_is_named_too():
    figure = Figure(figsize=(8, 5))
    axes = axes_of(figure)
    name_on_the_right(axes, [Mark((70, 120), "over", "#c2410c")], 2.5)
    assert [seen.text for seen in seen_texts(figure) if seen.text == "over"] == ["over"]
    assert axes.texts[0].xyann == (1.03, 1.0)
