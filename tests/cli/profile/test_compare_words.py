"""Every sentence and cell of layerlab compare, on two profiles made by hand."""

import pytest
from zimage_layer_lab.cli.profile.compare import layer_table, model_table, verdict


def layer(number, bare, *outliers, **figures):
    """``bare``: the std without sinks; ``outliers``: (dimension, ratio, class)."""
    return {
        "layer": number,
        "index": 41 + number,
        "median_abs": 1.25,
        "max_abs": 800.0,
        "std": 7.0,
        "std_without_sinks": bare,
        "outliers": [
            {"dimension": dimension, "ratio": ratio, "class": kind}
            for dimension, ratio, kind in outliers
        ],
        **figures,
    }


def profile(name, **changes):
    return {
        "model": {"name": name, "blocks": 40, "width": 64},
        "tokens": 99,
        "prompts": 3,
        "sink_positions": [[0], [], [0, 7]],
        "emergence_layer": 4,
        "fall_layer": 30,
        "threshold": 10.0,
        **changes,
    }


LOUD = (396, 617.9, "sink-borne"), (4, 12.0, "channel-wide")
SILENT = ((7, None, "channel-wide"),)
A, B = profile("a"), profile("b")
SAME = layer(-2, 3.0)


def said(a, b, *pairs):
    return verdict(a, b, list(pairs) or [(SAME, SAME)])


@pytest.mark.parametrize(
    ("changes", "course"),
    [
        (
            {},
            "sink tokens at position 0, 7 in 2 of 3 prompts; max|x| rises most at hidden state 4 "
            "of 40 (10% of the depth) and drops most after it at 30 (75%).",
        ),
        (
            {"fall_layer": None, "sink_positions": [[], [], []]},
            "no sink token in 3 prompts; max|x| rises most at hidden state 4 of 40 (10% of the "
            "depth), and stays up.",
        ),
        (
            {"emergence_layer": None, "fall_layer": None},
            "sink tokens at position 0, 7 in 2 of 3 prompts; emergence is not known (not every "
            "layer was measured).",
        ),
    ],
)
def test_the_course_of_each_side(changes, course):
    lines = said(A, profile("b", **changes))
    assert lines[1] == f"B: {course}"
    assert said(profile("a", **changes), B)[0] == f"A: {course}"


def test_the_dimensions_that_are_in_both_or_in_one():
    pair = layer(-2, 3.0, *LOUD, (9, 11.0, "channel-wide")), layer(-6, 3.0, LOUD[0], *SILENT)
    assert said(A, B, pair)[2] == (
        "Layer -2 of A against layer -6 of B: 3 and 2 dimensions are out of line (in both: 396; "
        "only in A: 4, 9; only in B: 7)."
    )
    assert said(A, B)[2] == (
        "Layer -2 of A against layer -2 of B: 0 and 0 dimensions are out of line."
    )
    wide = profile("b", model={"name": "b", "blocks": 40, "width": 128})
    assert said(A, wide, pair)[2].endswith(
        "3 and 2 dimensions are out of line; the models have different widths, so their numbers "
        "do not correspond."
    )


def test_the_widest_difference_and_the_shallowest_notable_one():
    shallow, deep = (layer(-30, 2.0), layer(-30, 3.0)), (layer(-2, 8.0), layer(-2, 2.0))
    alike = layer(-39, 2.0), layer(-39, 2.0)
    start = "Without sink tokens, the std of all values"
    assert said(A, B, deep, shallow, alike)[5] == (
        f"{start} differs most between layer -2 of A and layer -2 of B: 8 against 2, a factor of "
        "4. 2 of the 3 pairs differ by a factor of 1.5 or more, the shallowest of them layer -30 "
        "of A and layer -30 of B."
    )
    assert said(A, B, alike, alike)[4] == (
        f"{start} differs most between layer -39 of A and layer -39 of B: 2 against 2, a factor "
        "of 1. None of the 2 pairs differs by a factor of 1.5."
    )
    silent = layer(-40, 0.0), layer(-40, 0.0)
    assert said(A, B, silent)[3] == (
        f"{start} at layer -40 of A and layer -40 of B is 0 against 0, a factor of 1."
    )
    assert said(A, B, shallow)[3] == (
        f"{start} at layer -30 of A and layer -30 of B is 2 against 3, a factor of 1.5."
    )


def test_what_makes_the_two_hard_to_compare_is_said_and_nothing_else():
    assert len(said(A, B)) == 4
    assert said(A, profile("b", threshold=6.0))[4:] == [
        "The two count dimensions as out of line from different thresholds on."
    ]
    assert said(A, profile("b", reference={"name": "qwen"}))[4:] == [
        "Dimensions of A are out of line with its layers' own medians, those of B with qwen: "
        "their numbers do not compare."
    ]
    assert said(A, profile("b", tokens=98))[4:] == [
        "The two were measured on different text (3 prompts, 99 tokens; 3 prompts, 98 tokens): "
        "small differences say nothing."
    ]


def test_the_table_of_a_pair_of_layers():
    table = layer_table(
        layer(-2, 3.0, *LOUD),
        layer(-6, None, *SILENT, median_abs=None, max_abs=123456.0, std=0.5),
    )
    assert table.header == ("", "A, layer -2", "B, layer -6")
    assert table.rows == [
        ("median_abs", "1.25", "-"),
        ("max_abs", "800", "1.2346e+05"),
        ("std", "7", "0.5"),
        ("std_without_sinks", "3", "-"),
        ("out of line", "2", "1"),
        ("loudest", "396: 617.9x, sink-borne", "7: over 0, channel-wide"),
    ]
    assert layer_table(SAME, SAME).rows[-1] == ("loudest", "none", "none")


def test_the_table_of_the_models():
    b = profile("b", threshold=6.5, emergence_layer=5, fall_layer=None, prompts=1)
    assert model_table(A, b).rows == [
        ("model", "a", "b"),
        ("blocks", "40", "40"),
        ("width", "64", "64"),
        ("measured", "3 prompts, 99 tokens", "1 prompt, 99 tokens"),
        ("emergence", "4", "5"),
        ("fall", "30", "None"),
        ("out of line with", "its layers' own medians", "its layers' own medians"),
        ("out of line from", "10x", "6.5x"),
        ("with sinks", "2", "2"),
    ]
