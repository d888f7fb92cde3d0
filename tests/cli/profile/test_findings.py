"""The sentences of a profile, word for word, of profiles made by hand."""

from collections import Counter

import pytest
from zimage_layer_lab.cli.profile.findings import layer_finding, sink_finding
from zimage_layer_lab.core.measure.carriers import Carried, TokenShare
from zimage_layer_lab.core.measure.dimension_stats import Place
from zimage_layer_lab.core.outliers.detection import Outlier
from zimage_layer_lab.core.outliers.table import OUTLIER_HEADER, carriers_in_words, outlier_row
from zimage_layer_lab.core.profile.profile import Course, LayerProfile, Profile

TEXTS = {Place(0, 0): "<bos>", Place(2, 9): ",", Place(3, 4): "\n"}
NOWHERE = (0.01,) * 8
BOS_FIRST = (Place(0, 0),) + (None,) * 7


def outlier(**changes):
    figures = {
        "dimension": 163,
        "std": 9909.0,
        "std_without_sinks": 4116.0,
        "reference_std": 331.0,
        "ratio": 29.93,
        "ratio_without_sinks": 13.0,
        "judged_ratio": 29.93,
        "direction": "loud",
        "sink_share": 0.8061,
        "kind": "sink-borne",
        "top": Place(0, 0),
        "top_share": 0.0062,
        "mean_without_sinks": 100.0,
    }
    return Outlier(**{**figures, **changes})


def carried(positions=(0.806,) + (0.01,) * 7, tokens=(), places=BOS_FIRST):
    return Carried(positions, 1 - sum(positions), places, tokens)


def layer(outliers, carriers):
    return LayerProfile(-2, 17, False, 2.0, 102014.0, 400.0, 200.0, outliers, (), 0, carriers)


def profile(sinks=((0,), (0, 5), ()), emergence=12, fall=29, courses=(), prompts=3, threshold=10.0):
    counts = tuple(sorted(Counter(position for each in sinks for position in each).items()))
    told = {"sink_prompts": sum(map(bool, sinks)), "sink_counts": counts}
    facts = (prompts, 99, threshold, emergence, fall, sinks, (), courses, 13)
    return Profile("m", 30, 576, *facts, **told)


def words(of, carriers, prompts=130):
    of = layer((of, outlier(dimension=7, ratio=11.0)), (carriers, carried(NOWHERE)))
    return layer_finding(profile(prompts=prompts), of, TEXTS.__getitem__)


def test_the_position_that_carries_a_dimension_is_named_with_its_share_over_all_prompts():
    assert words(outlier(), carried()) == (
        "Layer -2: dimension 163 has a std of 9909, 29.9x the layer's median. Position 0 ('<bos>') "
        "carries 80.6% of its variance over 130 prompts; sink tokens carry 80.6% (sink-borne). "
        "Without sink tokens its std is 4116: 2.41x less."
    )


def test_tokens_that_carry_it_elsewhere_are_named_too():
    tokens = (
        TokenShare(Place(0, 0), 0.63, 130),
        TokenShare(Place(2, 9), 0.171, 66),
        TokenShare(Place(3, 4), 0.049, 7),
    )
    found = words(outlier(), carried((0.628,) + (0.01,) * 7, tokens), 1)
    sentence = "Position 0 ('<bos>') carries 62.8% of its variance over 1 prompt, token ',' 17.1%; "
    assert sentence in found
    assert "token '<bos>'" not in found and r"'\n'" not in found


def test_a_token_alone_is_named():
    found = words(
        outlier(sink_share=0.0, kind="channel-wide"),
        carried(NOWHERE, (TokenShare(Place(2, 9), 0.449, 69),), (None,) * 8),
    )
    assert found.endswith(
        "Token ',' carries 44.9% of its variance over 130 prompts; sink tokens carry 0.0% "
        "(channel-wide, varying)."
    )


def test_where_nothing_carries_it_that_is_said():
    of = outlier(sink_share=0.0, kind="channel-wide", mean_without_sinks=-16464.0)
    assert words(of, carried(NOWHERE)) == (
        "Layer -2: dimension 163 has a std of 9909, 29.9x the layer's median. No position "
        "carries 5% of its variance over 130 prompts, nor do the far values of any token; sink "
        "tokens carry 0.0% (channel-wide, constant). The tokens that are no sinks have much the "
        "same value there: mean -1.646e+04, std 4116."
    )


def test_a_mean_of_less_than_four_stds_is_no_constant():
    assert outlier(mean_without_sinks=4 * 4116.0).constant
    assert not outlier(mean_without_sinks=3.99 * 4116.0).constant
    assert not outlier(mean_without_sinks=0.0, std_without_sinks=0.0).constant


def test_what_only_sinks_have_is_not_divided_by_nothing():
    found = words(outlier(std_without_sinks=0.0, mean_without_sinks=0.0, sink_share=1.0), carried())
    assert found.endswith("sink tokens carry 100.0% (sink-borne).")


def test_no_outlier_is_said_with_the_threshold_in_force():
    assert layer_finding(profile(threshold=6.5), layer((), ()), TEXTS.__getitem__) == (
        "Layer -2: no dimension is 6.5x out of line."
    )


@pytest.mark.parametrize(
    ("made", "sentences"),
    [
        (
            profile(),
            "At hidden state 13 position 0 is a sink token in 2 of 3 prompts, and 1 token "
            "elsewhere. Of the hidden states 0 to 30, max|x| rises most at 12 and falls most at "
            "29.",
        ),
        (
            profile(((0,), (0,)), 1, None, (Course(163, 4, None), Course(7, 3, 9)), 2),
            "At hidden state 13 position 0 is a sink token in 2 of 2 prompts, and no token "
            "elsewhere. Of the hidden states 0 to 30, max|x| rises most at 1 and does not fall to "
            "half in one step. The largest |x| of dimension 163 rises most at 4 and does not fall "
            "to half in one step. The largest |x| of dimension 7 rises most at 3 and falls most at "
            "9.",
        ),
        (
            profile(((), (3, 4)), None, None, (), 2),
            "At hidden state 13 position 0 is a sink token in 0 of 2 prompts, and 2 tokens "
            "elsewhere. Emergence and fall need every layer to be measured.",
        ),
        (
            profile(((0, 5),), None, None, (), 1),
            "At hidden state 13 position 0 is a sink token in 1 of 1 prompt, and 1 token "
            "elsewhere. Emergence and fall need every layer to be measured.",
        ),
        (
            profile(((),), None, None, (), 1),
            "At hidden state 13 no token of 1 prompt is a sink. Emergence and fall need every "
            "layer to be measured.",
        ),
    ],
)
def test_sinks_emergence_and_fall(made, sentences):
    assert sink_finding(made) == sentences


def test_a_row_of_the_outlier_table():
    row = outlier_row(outlier(), carriers_in_words(carried(), TEXTS.__getitem__))
    assert dict(zip(OUTLIER_HEADER, row, strict=True)) == {
        "dim": "163",
        "std (no sinks)": "9909 (4116)",
        "reference": "331",
        "ratio (no sinks)": "29.93 (13)",
        "inverse (no sinks)": "0.03341 (0.0769)",
        "sinks carry": "80.6%",
        "class": "loud, sink-borne",
        "carried by": "position 0 ('<bos>'): 80.6%",
    }
    assert carriers_in_words(carried(NOWHERE), TEXTS.__getitem__) == "no position, no token alone"
