"""Reports on concepts, word by word, of concepts and findings made by hand."""

import re

import pytest
import torch
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.concept.direction import Finding
from zimage_layer_lab.core.concept.words import concept_in_words, found_in_words, leading_table
from zimage_layer_lab.core.taps.layout import INTERLEAVED, Taps

# Its squares are 0.25, 0.01, 0.49, 0.09, 0.16 and 0, together 1: its size is (1 / 6) ** 0.5.
SIX = (0.5, -0.1, 0.7, 0.3, -0.4, 0.0)
SPREAD = (0.25, 0.0, 1.4, 0.2, 0.1, 1.0)
LEADING = [
    ["leading dimension", "share", "difference", "in its own std"],
    ["2", "49.0%", "+0.7000", "+0.50"],
    ["0", "25.0%", "+0.5000", "+2.00"],
    ["4", "16.0%", "-0.4000", "-4.00"],
    ["3", "9.0%", "+0.3000", "+1.50"],
    ["1", "1.0%", "-0.1000", "-"],
]
HEADER = [
    *("difference of means", "before RMSNorm", "after", "after/before", "in concept"),
    *("consistency", "lowest"),
]
KNOWN = {"model": "qwen_3_4b", "fingerprint": "ab12", "layer": "-2"}


def double(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def concept(direction=SIX, spread=SPREAD, provenance=KNOWN, **more):
    vector = double(*direction)
    return Concept(vector, 0 * vector, double(*spread), provenance=provenance, **more)


def finding(concept, cosines, raw=(0.5,), normed=(0.45,), limited=(), tokens=20, sinks=2):
    return Finding(concept, double(*cosines), double(*raw), double(*normed), limited, tokens, sinks)


def cells(report):
    """The lines of a report; those of tables as lists of cells."""
    lines = [re.split(r" {2,}", line) for line in report.split("\n")]
    return [line if len(line) > 1 else line[0] for line in lines]


def test_one_pair_is_reported_with_its_size_and_nothing_to_compare_it_with():
    smile = concept(prompts=(("a smile", "a face"),))
    assert cells(found_in_words(finding(smile, [[torch.nan]]))) == [
        "strength 1 changes a token by 40.8 % of its length",
        "'a smile' against 'a face', qwen_3_4b at layer -2: 1 pair, 20 content tokens, 2 sink "
        "tokens among them left out",
        HEADER,
        ["layer -2", "0.5000", "0.4500", "0.90", "0.4082", "-", "-"],
        "one pair: there is no other to compare it with; more pairs show what they share",
        *LEADING,
    ]


def test_pairs_are_reported_with_their_consistency_and_what_was_limited():
    smile = concept(prompts=(("a", "b"), ("a smiling cat", "a cat")))
    found = finding(smile, [[0.75], [0.25], [0.5]], raw=(0.3,), limited=(4, 2))
    assert cells(found_in_words(found)) == [
        "strength 1 changes a token by 40.8 % of its length",
        "'a' against 'b', qwen_3_4b at layer -2: 3 pairs, 20 content tokens, 2 sink tokens among "
        "them left out",
        HEADER,
        ["layer -2", "0.3000", "0.4500", "1.50", "0.4082", "0.500", "0.250"],
        "consistency: cosine of each pair's difference with the mean of the other pairs'; pair 2 "
        "('a smiling cat') agrees least, 0.250",
        "limited, as they vary over 3 times as much as the median dimension: 4, 2",
        *LEADING,
    ]


def least(found):
    """Of a report, what it says of the pair that agrees least."""
    [line] = [line for line in found_in_words(found).split("\n") if line.startswith("consistency:")]
    return line.partition("'; ")[2]


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ((), "pair 2 agrees least, 0.100"),
        ((("a", "b"),), "pair 2 agrees least, 0.100"),
        ((("a", "b"), ("", "")), "pair 2 agrees least, 0.100"),
        ((("a", "b"), ("c", "")), "pair 2 ('c') agrees least, 0.100"),
    ],
)
def test_the_pair_that_agrees_least_is_named_by_its_prompt_if_it_has_one(prompts, says):
    assert least(finding(concept(prompts=prompts), [[0.4], [0.1]])) == says


@pytest.mark.parametrize(
    ("cosine", "says"),
    [
        (0.0, "pair 1 agrees least, 0.000"),
        (0.5, "pair 1 agrees least, 0.500"),
        (
            -0.3,
            "pair 1 agrees least, -0.300: it points the other way, so look whether its sides are "
            "swapped",
        ),
    ],
)
def test_a_pair_that_points_the_other_way_may_be_swapped(cosine, says):
    assert least(finding(concept(), [[cosine], [0.9]])) == says


def test_the_pair_that_agrees_least_does_so_over_all_taps_together():
    two = concept(taps=Taps((9, 18), 3, blocks=36))
    cosines = [[0.9, 0.1], [0.2, 0.3], [0.5, 0.5]]
    found = finding(two, cosines, (0.5, 0.5), (0.5, 0.5))
    assert least(found) == "pair 2 agrees least, 0.250"


def test_more_than_five_limited_dimensions_are_counted():
    report = found_in_words(finding(concept(), [[torch.nan]], limited=(9, 7, 5, 3, 2, 1, 0)))
    assert report.split("\n")[5] == (
        "limited, as they vary over 3 times as much as the median dimension: 9, 7, 5, 3, 2 and 2 "
        "more"
    )


def test_a_difference_that_only_rmsnorm_shows_has_no_ratio():
    found = finding(concept(), [[torch.nan]], raw=(0.0,))
    assert cells(found_in_words(found))[3] == [
        *("layer -2", "0.0000", "0.4500", "-", "0.4082", "-", "-")
    ]


def test_every_tap_has_a_row_of_its_own():
    # Sizes: 0.5 / 2 ** 0.5 of layer 9's (0.3, 0.4) and of layer 18's (0.05, 0), 0.05 / 2 ** 0.5.
    two = concept((0.3, 0.4, 0.05, 0.0), (0.1, 0.1, 0.1, 0.1), taps=Taps((9, 18), 2, blocks=36))
    found = finding(two, [[0.9, 0.4], [0.7, 0.2]], (0.5, 0.02), (0.4, 0.03))
    assert cells(found_in_words(found)) == [
        "strength 1 changes a token by 3.54 to 35.4 % of its length",
        "qwen_3_4b at layers 9, 18 side by side: 2 pairs, 20 content tokens, 2 sink tokens among "
        "them left out",
        HEADER,
        ["layer 9", "0.5000", "0.4000", "0.80", "0.3536", "0.800", "0.700"],
        ["layer 18", "0.0200", "0.0300", "1.50", "0.0354", "0.300", "0.200"],
        "consistency: cosine of each pair's difference with the mean of the other pairs'; pair 2 "
        "agrees least, 0.450",
        ["leading dimension", "share", "difference", "in its own std"],
        ["layer 9: 1", "63.4%", "+0.4000", "+4.00"],
        ["layer 9: 0", "35.6%", "+0.3000", "+3.00"],
        ["layer 18: 0", "1.0%", "+0.0500", "+0.50"],
        ["layer 18: 1", "0.0%", "+0.0000", "+0.00"],
    ]


def test_a_leading_dimension_is_counted_within_its_tap():
    two = concept((0.0, 0.1, 0.2, 0.9), (1.0,) * 4, taps=Taps((9, None), 2, INTERLEAVED))
    rows = [line[0] for line in cells(leading_table(two))[1:]]
    assert rows == ["tap 2: 1", "layer 9: 1", "tap 2: 0", "layer 9: 0"]


def test_a_concept_says_what_it_was_made_from():
    made = {**KNOWN, "pairs": "6", "consistency": "0.812", "tokens": "95"}
    more = {"date": "2026-05-01", "note": "made at night"}
    assert concept_in_words(concept(provenance={**made, **more})).split("\n") == [
        "strength 1 changes a token by 40.8 % of its length",
        "qwen_3_4b at layer -2",
        "6 dimensions, 6 pairs, consistency 0.812, 95 tokens",
        "of the model with fingerprint ab12",
        "2026-05-01",
        "made at night",
    ]


@pytest.mark.parametrize(
    ("pairs", "says"), [("1", "6 dimensions, 1 pair"), ("2", "6 dimensions, 2 pairs")]
)
def test_one_pair_is_no_pairs(pairs, says):
    assert concept_in_words(concept(provenance={"pairs": pairs})).split("\n")[2] == says


def test_a_concept_of_which_nothing_is_known_says_so():
    assert concept_in_words(concept(provenance={})).split("\n") == [
        "strength 1 changes a token by 40.8 % of its length",
        "an unnamed model at unknown layer",
        "6 dimensions",
        "without a fingerprint: no report can tell whether it is of another model",
    ]
