"""Every sentence and every row on a dimension, word by word."""

import pytest
from zimage_layer_lab.core.dimension.loss import Cost
from zimage_layer_lab.core.dimension.where import Part
from zimage_layer_lab.core.dimension.words import (
    COST_COLUMNS,
    DIRECT_PATH,
    KNOWN_COLUMNS,
    PART_COLUMNS,
    RECEIVED_COLUMNS,
    cost_rows,
    gain_sentence,
    headline,
    known_rows,
    known_sentence,
    nats,
    part_rows,
    received_rows,
    sink_sentence,
    token_rows,
    writing_sentences,
)
from zimage_layer_lab.core.dimension.writing import Writing

from ...oracles.hand_made_probe import WHERE, cost, hand_made_probe

ZEROED = " Zeroed at the sinks it costs +2 nats (+1.5 to +2.5), elsewhere +3 nats (+2.5 to +3.5)."


def test_the_headline_is_the_verdict_with_its_reasons():
    assert headline(hand_made_probe()) == (
        "Dimension 7 at layer -2 (hidden state 3): mixed. Because of this. It would be another if "
        "that."
    )
    assert headline(hand_made_probe(verdict=None)) == (
        "Dimension 7 at layer -2 (hidden state 3): no verdict, which takes all three replacements."
    )


def test_what_the_sinks_carry_and_what_either_side_costs():
    assert sink_sentence(hand_made_probe()) == (
        "At layer -2 4 sink tokens carry 90.0% of its variance (mean 1000, coefficient of "
        "variation 0.0005; 4 of these stand in the beginning that all prompts share), 12 others "
        f"the rest (mean -2, 1.5).{ZEROED}"
    )


def test_no_sink_of_the_shared_beginning_is_not_mentioned():
    assert "(mean 1000, coefficient of variation 0.0005), 12 others" in sink_sentence(
        hand_made_probe(kept=0)
    )


def test_without_sinks_or_without_zeros_the_sentence_says_what_there_is():
    none = WHERE._replace(sides=(Part("sinks", 0, 0.0, 0.0, 0.0), WHERE.sides[1]))
    assert sink_sentence(hand_made_probe(where=none)) == (
        f"At layer -2 no token is a sink.{ZEROED}"
    )
    costs = {pair: one for pair, one in hand_made_probe().costs.items() if pair[0] == "mean"}
    assert sink_sentence(hand_made_probe(where=none, costs=costs)) == (
        "At layer -2 no token is a sink."
    )
    assert sink_sentence(hand_made_probe(costs=costs)).endswith(
        "12 others the rest (mean -2, 1.5)."
    )


def test_a_mean_of_zero_has_no_coefficient_of_variation():
    sides = WHERE.sides[0], Part("others", 12, 0.1, 0.0, 3.0)
    where = WHERE._replace(sides=sides)
    assert "12 others the rest (mean 0, -)." in sink_sentence(hand_made_probe(where=where))


def test_each_replacement_has_a_row_and_the_decisive_ones_their_controls():
    """Of 0.01, -0.03, 0.02 at random the median is 0.01; of 0.5, -0.25 matched half their sum."""
    against = ("+0.0100, +0.0200", "+0.1250, +0.5000")
    nothing = ("-", "-")
    assert cost_rows(hand_made_probe()) == [
        ("zero", "all", "+1.0000", "+0.5000 to +1.5000", *against),
        ("zero", "sinks", "+2.0000", "+1.5000 to +2.5000", *nothing),
        ("zero", "others", "+3.0000", "+2.5000 to +3.5000", *nothing),
        ("its mean", "all", "+4.0000", "+3.5000 to +4.5000", *against),
        ("its mean", "sinks", "+5.0000", "+4.5000 to +5.5000", *nothing),
        ("its mean", "others", "+6.0000", "+5.5000 to +6.5000", *nothing),
        ("shuffled", "all", "+7.0000", "+6.5000 to +7.5000", *nothing),
        ("shuffled", "sinks", "+8.0000", "+7.5000 to +8.5000", *nothing),
        ("shuffled", "others", "+9.0000", "+8.5000 to +9.5000", *against),
    ]
    assert {len(row) for row in cost_rows(hand_made_probe())} == {len(COST_COLUMNS)}


def test_a_fall_of_the_loss_has_its_sign():
    [row] = cost_rows(hand_made_probe(costs={("zero", "all"): cost(-0.25, 0.125)}, trials={}))
    assert row == ("zero", "all", "-0.2500", "-0.3750 to -0.1250", "-", "-")


def test_positions_sides_and_classes_have_a_row_where_they_have_a_token():
    assert part_rows(hand_made_probe()) == [
        ("position 0", "4", "90.0%", "1000", "0.5", "0.0005"),
        ("sinks", "4", "90.0%", "1000", "0.5", "0.0005"),
        ("others", "12", "10.0%", "-2", "3", "1.5"),
        ("special", "4", "90.0%", "1000", "0.5", "0.0005"),
        ("word start", "12", "10.0%", "0", "3", "-"),
    ]
    assert len(PART_COLUMNS) == 6


def test_a_driving_token_stands_in_brackets_in_its_context():
    assert token_rows(hand_made_probe()) == [
        ("0%", "-7.25", "a red[ fox\\n] runs"),
        ("99%", "1234.6", "[<s>] a"),
    ]


def test_each_class_has_its_auc_and_rank():
    assert known_rows(hand_made_probe()) == [
        ("digit", "9", "0.876", "2 of 32", "0.900"),
        ("CJK", "8", "0.500", "20 of 32", "0.750"),
    ]
    assert len(KNOWN_COLUMNS) == 5


def test_the_first_class_is_the_one_that_it_tells_best():
    assert known_sentence(hand_made_probe()) == (
        "By itself it tells best the class 'digit': AUC 0.876 on the half of the prompts that was "
        "held out, rank 2 of 32 dimensions."
    )
    assert known_sentence(hand_made_probe(knows=())) == (
        "No class has enough tokens in both halves of the prompts."
    )


def test_what_the_image_model_receives():
    assert received_rows(hand_made_probe()) == [
        ("sinks", "4", "0.9877", "0.0000"),
        ("others", "12", "0.2500", "0.1250"),
    ]
    assert len(RECEIVED_COLUMNS) == 4


def test_what_it_writes_and_whether_it_goes_with_frequency():
    raised = "A rise of the dimension raises ' red' (+0.5), 'x' (+0.25)."
    assert writing_sentences(hand_made_probe()) == [
        raised,
        "It lowers 'y' (-0.75).",
        "Correlation with the log frequency of the prompts' 11 different tokens: -0.26.",
        DIRECT_PATH,
    ]
    writes = hand_made_probe().writes._replace(frequency=0.0)
    assert "different tokens: +0.00." in writing_sentences(hand_made_probe(writes=writes))[2]
    unknown = Writing(writes.top, writes.bottom, 0.1, None, 2)
    assert writing_sentences(hand_made_probe(writes=unknown)) == [
        raised,
        "It lowers 'y' (-0.75).",
        DIRECT_PATH,
    ]


def test_the_gain_in_the_image_model():
    assert gain_sentence(hand_made_probe()) == (
        "The image model's first layer takes it with a gain of 0.01235, 0.25 times the median "
        "dimension's: rank 30 of 32."
    )
    assert gain_sentence(hand_made_probe(gain=None)) == ""


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (Cost(1.23456, -0.5, 2.0, ()), "+1.23 nats (-0.5 to +2)"),
        (Cost(0.0, 0.0, 0.0, ()), "+0 nats (+0 to +0)"),
    ],
)
def test_a_cost_in_words(one, text):
    assert nats(one) == text
