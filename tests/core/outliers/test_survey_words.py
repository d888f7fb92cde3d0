"""The tables and sentences of a survey, letter for letter, of planted states."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.dimension_stats import Place
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.outliers.survey import (
    SURVEY_HEADER,
    Spread,
    SurveyedOutlier,
    survey_table,
)
from zimage_layer_lab.core.outliers.tap_survey import (
    MOST_ROWS,
    survey_taps,
    tap_outlier_table,
    tap_survey_table,
    taps_in_words,
)
from zimage_layer_lab.core.taps.layout import Taps

TOKENS, WIDTH = 20, 40


def cells(line):
    """The columns of a row, which two blanks or more divide."""
    return [cell for cell in line.split("  ") if cell.strip()]


def row_of(line):
    return [cell.strip() for cell in cells(line)]


def name_token(place):
    return f"'w{place.position}' of {place.prompt}"


LOUD = SurveyedOutlier(
    396,
    Spread(1234.56, 2.0, 617.28, "loud"),
    Spread(3.0, 2.0, 1.5, "in line"),
    0.98765,
    "sink-borne",
    123.456,
    Place(0, 3),
    0.5,
)
DEAD = SurveyedOutlier(
    4,
    Spread(0.0, 0.5, 0.0, "quiet"),
    None,
    0.0,
    "channel-wide",
    0.0,
    Place(1, 7),
    0.0,
    constant=True,
)


def test_a_row_of_the_table_has_both_views_and_what_carries_it():
    header, loud, dead = survey_table([LOUD, DEAD], name_token).splitlines()
    assert row_of(header) == list(SURVEY_HEADER)
    assert row_of(loud) == [
        "396", "1235", "2", "617.3", "0.00162", "loud", "3", "2", "1.5", "0.6667", "in line",
        "98.8%", "sink-borne", "123.46", "'w3' of 0: 50.0%",
    ]  # fmt: skip
    assert row_of(dead) == [
        "4", "0", "0.5", "0", "inf", "quiet", "-", "-", "-", "-", "-",
        "0.0%", "channel-wide, constant", "0.00", "'w7' of 1: 0.0%",
    ]  # fmt: skip


def test_of_many_rows_thirty_are_shown_and_the_rest_counted():
    lines = survey_table([LOUD] * 33, name_token).splitlines()
    assert len(lines) == 32 and lines[-1] == "... and 3 more"


def survey(sinks=0, loud=(), quiet=(), layers=(9, 18, 27)):
    """Taps of calm states but for ``loud`` and ``quiet`` (tap, dimension) and so many sinks."""
    hidden = torch.randn(1, TOKENS, len(layers), WIDTH, generator=torch.Generator().manual_seed(2))
    hidden = hidden / hidden.std(1, keepdim=True)
    for tap, dimension in loud:
        hidden[..., tap, dimension] *= 40 + tap
    for tap, dimension in quiet:
        hidden[..., tap, dimension] /= 100
    for number in range(sinks):
        hidden[0, 5 + number, :, 1] = 31
    one = Reference(torch.zeros(WIDTH).double(), torch.ones(WIDTH).double(), 0.0, 1.0)
    return survey_taps(hidden.flatten(2), Taps(layers, WIDTH), [one] * len(layers)), hidden


@pytest.mark.parametrize(
    ("sinks", "loud", "words"),
    [
        (0, [], "no dimension of 3 taps is over 10x out of line; 0 sink tokens"),
        (1, [], "no dimension of 3 taps is over 10x out of line; 1 sink token"),
        (2, [], "no dimension of 3 taps is over 10x out of line; 2 sink tokens"),
        (
            0,
            [(2, 7)],
            "1 dimension is over 10x out of line in 1 of 3 taps (layer 27); 0 sink tokens",
        ),
        (
            1,
            [(2, 7), (0, 7), (0, 1)],
            "3 dimensions are over 10x out of line in 2 of 3 taps (layer 9, layer 27); "
            "1 sink token",
        ),
    ],
)
def test_what_taps_come_to_in_one_line(sinks, loud, words):
    assert taps_in_words(survey(sinks, loud)[0]) == words


def test_of_many_taps_four_are_named():
    found, _ = survey(0, [(tap, 3) for tap in range(6)], layers=tuple(range(10, 17)))
    assert taps_in_words(found).split(";")[0] == (
        "6 dimensions are over 10x out of line in 6 of 7 taps (layer 10, layer 11, layer 12, "
        "layer 13 and 2 more)"
    )


def test_a_row_for_each_tap_with_its_figures_as_numpy_has_them():
    found, hidden = survey(2, loud=[(0, 7), (0, 9)], quiet=[(0, 3), (2, 30)])
    header, *rows = tap_survey_table(found, [("gain", ["1", "2", "3"])]).splitlines()
    assert row_of(header) == [
        "tap", "rms", "share", "max |x|", "loud", "quiet", "no sinks", "sinks", "farthest", "gain",
    ]  # fmt: skip
    x = hidden[0].double().numpy()
    rms = np.median(np.sqrt((x**2).mean(-1)), axis=0)
    share = ((x**2).sum(-1) / (x**2).sum((1, 2))[:, None]).mean(0)
    # The quiet dimension is the farthest: its std is 1 / 100, the loud ones' 40.
    counted = [
        ["2", "1", "3", "0", "3, 100.0x quieter", "1"],
        ["0", "0", "0", "2", "-", "2"],
        ["0", "1", "1", "2", "30, 100.0x quieter", "3"],
    ]
    for tap, row in enumerate(rows):
        assert row_of(row) == [
            f"layer {9 * (tap + 1)}",
            f"{rms[tap]:.4g}",
            f"{share[tap]:.1%}",
            f"{np.abs(x[:, tap]).max():.4g}",
            *counted[tap],
        ]


def test_the_farthest_outliers_of_all_taps_come_first():
    found, hidden = survey(0, loud=[(0, 7), (2, 9)], quiet=[(1, 3)])
    header, *rows = tap_outlier_table(found, name_token).splitlines()
    assert row_of(header) == [
        "tap", "dim", "std", "reference", "ratio", "direction", "no sinks", "sinks carry",
        "class", "carried most by",
    ]  # fmt: skip
    places = [(1, 3, "0.01", "quiet"), (2, 9, "42", "loud"), (0, 7, "40", "loud")]
    names = ["layer 18", "layer 27", "layer 9"]
    for row, name, (tap, dimension, ratio, direction) in zip(rows, names, places, strict=True):
        values = hidden[0, :, tap, dimension].double().numpy()
        squares = (values - values.mean()) ** 2
        top = f"'w{squares.argmax()}' of 0, {squares.max() / squares.sum():.1%}"
        found_row = row_of(row)
        assert found_row[:6] == [name, str(dimension), ratio, "1", ratio, direction]
        bare = values[~found.surveys[tap].sinks[0].numpy()]
        carried = 1 - ((bare - values.mean()) ** 2).sum() / squares.sum()
        assert found_row[6:] == [
            f"{bare.std(ddof=1):.4g}", f"{carried:.1%}", "channel-wide", top,
        ]  # fmt: skip


def test_twenty_four_outliers_are_listed_and_the_rest_counted():
    found, _ = survey(0, loud=[(tap, d) for tap in range(3) for d in range(10)])
    lines = tap_outlier_table(found, name_token).splitlines()
    assert len(lines) == 1 + MOST_ROWS + 1 == 26 and lines[-1] == "... and 6 more"
    assert math.isclose(found.outliers[0][1].whole.ratio, 42, rel_tol=1e-5)
