"""The reader of figures itself: it sees what people see, and every fault planted here."""

import pytest
from matplotlib.figure import Figure

from ...oracles.figures import assert_readable, seen_texts, words


@pytest.fixture
def figure():
    figure = Figure(figsize=(4, 3), dpi=100)
    axes = figure.add_axes([0.2, 0.2, 0.6, 0.6])
    axes.set_xlim(0, 10)
    axes.set_ylim(0, 10)
    axes.set_xticks([2, 8])
    axes.set_yticks([])
    return figure


def test_it_reads_what_is_drawn(figure):
    axes = figure.axes[0]
    axes.set_xticks([2, 8, 50], ["two", "eight", "out of sight"])
    axes.text(5, 5, "inside", color="#c2410c")
    axes.text(5, 5, "hidden", visible=False)
    figure.axes[0].set_xlim(0, 10)
    assert words(figure) == ["eight", "inside", "two"]
    assert {seen.text: seen.color for seen in seen_texts(figure)}["inside"] == "#c2410c"
    assert_readable(figure)


def test_texts_over_each_other(figure):
    figure.axes[0].text(5, 5, "one text")
    figure.axes[0].text(5.5, 5, "another")
    with pytest.raises(AssertionError, match="'another' and 'one text' overlap"):
        assert_readable(figure)


def test_a_text_that_is_cut(figure):
    figure.axes[0].text(9, 5, "a text that goes on beyond the edge")
    with pytest.raises(AssertionError, match="leaves the canvas"):
        assert_readable(figure)


@pytest.mark.parametrize(
    ("draw", "what"),
    [
        (lambda axes: axes.plot([0, 10], [0, 10]), "a line"),
        (lambda axes: axes.plot([5.3], [5.2], "o"), "a line"),
        (lambda axes: axes.axhline(5.2), "a line"),
        (lambda axes: axes.bar([5], [8]), "a bar"),
        (lambda axes: axes.imshow([[0, 1], [1, 0]], extent=(0, 10, 0, 10)), "an image"),
    ],
)
def test_a_text_over_data(figure, draw, what):
    axes = figure.axes[0]
    axes.text(5, 5, "a text")
    assert_readable(figure)
    draw(axes)
    axes.set_aspect("auto")
    with pytest.raises(AssertionError, match=f"'a text' lies over {what}"):
        assert_readable(figure)


def test_data_that_is_not_shown_covers_nothing(figure):
    figure.axes[0].plot([-20, -15], [12, 12])
    figure.axes[0].plot([float("nan")], [float("nan")])
    figure.axes[0].text(5, 5, "a text")
    assert_readable(figure)
