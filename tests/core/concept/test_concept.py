"""What a concept says of itself, of what it fits, and of what it does not."""

import pytest
import torch
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps

PROVENANCE = {"model": "qwen", "fingerprint": "ab12", "layer": "-2"}


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def concept(direction=(3.0, 4.0), baseline=None, taps=None, **more):
    more.setdefault("provenance", PROVENANCE)
    vector = double(*direction)
    origin = 0 * vector if baseline is None else double(*baseline)
    return Concept(vector, origin, 0 * vector, taps, **more)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"direction": torch.ones(1, 2)}, "direction has shape (1, 2), not (dimensions,)"),
        ({"direction": torch.ones(0)}, "direction has shape (0,), not (dimensions,)"),
        ({"baseline": torch.ones(3)}, "baseline has shape (3,), not (dimensions,)"),
        ({"spread": torch.ones(1, 2)}, "spread has shape (1, 2), not (dimensions,)"),
        ({"spread": torch.tensor([1.0, torch.inf])}, "spread holds NaN or infinity"),
        ({"direction": torch.zeros(2)}, "direction is all zeros"),
        ({"spread": torch.tensor([0.0, -1e-9])}, "spread holds a negative value"),
        (
            {"taps": Taps((9, 18), 2)},
            "direction has 2 dimensions, and its taps have 4",
        ),
        (
            {"taps": Taps((9,), 1)},
            "direction has 2 dimensions, and its taps have 1",
        ),
    ],
)
def test_what_is_no_concept_cannot_be_made(given, says):
    vectors = dict.fromkeys(("direction", "baseline", "spread"), torch.tensor([0.0, 1.0]))
    with pytest.raises(ValueError) as refused:
        Concept(**{**vectors, **given})
    assert str(refused.value) == says


def test_a_single_dimension_is_enough_and_a_wide_concept_has_as_many_taps_as_it_says():
    assert concept((0.0, -2.0)[1:]).dimensions == 1
    wide = concept((1.0,) * 600, taps=Taps((9, 18), 300))
    assert wide.dimensions == 600 and len(wide.parts) == 2


def test_what_is_known_of_a_concept_cannot_be_changed_from_outside():
    given = {"layer": "-2"}
    made = concept(provenance=given)
    given["layer"] = "-3"
    assert made.provenance["layer"] == "-2"
    with pytest.raises(TypeError):
        made.provenance["layer"] = "-3"


def test_a_part_is_a_unit_vector_its_size_and_where_the_mean_token_lies():
    # (3, 4) has length 5; over that of a token after RMSNorm, 2 ** 0.5.
    [part] = concept(baseline=(1.0, 0.5)).parts
    assert part.unit.tolist() == pytest.approx([0.6, 0.8])
    assert part.size == pytest.approx(5 / 2**0.5)
    assert part.baseline == pytest.approx((0.6 * 1.0 + 0.8 * 0.5) / 2**0.5)


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
def test_a_layer_without_the_concept_has_a_part_of_size_0(order):
    taps = Taps((9, 18), 2, order)
    direction = taps.join([double(3.0, 4.0)[None, None], double(0.0, 0.0)[None, None]])[0, 0]
    one, none = concept(direction.tolist(), (1.0,) * 4, taps).parts
    assert one.size == pytest.approx(5 / 2**0.5) and one.baseline == pytest.approx(1.4 / 2**0.5)
    assert none.unit.tolist() == [0.0, 0.0] and (none.size, none.baseline) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "qwen at layer -2"),
        ({"provenance": {}}, "an unnamed model at unknown layer"),
        ({"provenance": {"layer": ""}}, "an unnamed model at unknown layer"),
        ({"taps": Taps((9, 18), 1)}, "qwen at layers 9, 18 side by side"),
        ({"prompts": (("a", "b"), ("c", "d"))}, "'a' against 'b', qwen at layer -2"),
        ({"prompts": (("", ""), ("", "d"))}, "'' against 'd', qwen at layer -2"),
        ({"prompts": (("", ""),)}, "qwen at layer -2"),
        (
            {"prompts": (("a" * 100, "b"),)},
            f"'{'a' * 59}... against 'b', qwen at layer -2",
        ),
    ],
)
def test_a_concept_is_named_by_its_first_pair_model_and_layer(given, name):
    assert concept(**given).name == name


def moves(one, dimensions, taps, layers):
    return [part is not None for part in one.parts_for(dimensions, taps, layers)]


def test_a_concept_of_one_layer_moves_the_taps_of_its_layer_or_all():
    three = Taps((9, 35, 35), 2, LAYER_MAJOR, 36)
    assert moves(concept(), 6, three, [-28, -2, -2]) == [False, True, True]
    assert moves(concept(), 6, three, [-28, -3, -3]) == [True] * 3
    assert moves(concept(), 6, three, [None] * 3) == [True] * 3
    assert moves(concept(provenance={}), 6, three, [-28, None, -2]) == [True] * 3
    assert moves(concept(), 2, None, [-6]) == [True]
    assert concept().parts_for(6, three, [-28, -2, -2])[1].size == pytest.approx(5 / 2**0.5)


@pytest.mark.parametrize("width", [2, 300])
def test_a_conditioning_of_the_concepts_own_layout_is_moved_whatever_its_layers(width):
    """Also above 256, from where Python holds equal numbers as several objects."""
    stack = concept((1.0,) * 2 * width, taps=Taps((9, 18), width))
    other = Taps((1, 2), width)
    assert moves(stack, int(f"{2 * width}"), other, [-36, -35]) == [True, True]
    assert moves(concept((1.0,) * width), int(f"{width}"), None, [-2]) == [True]
    assert moves(concept((1.0,) * width), width, Taps((9,), width), [-28]) == [True]


@pytest.mark.parametrize(
    ("own", "dimensions", "taps", "says"),
    [
        (None, 3, None, "2 dimensions and the conditioning 3"),
        (None, 1, None, "2 dimensions and the conditioning 1"),
        (None, 6, Taps((9, 18), 3), "2 dimensions and the conditioning 2 layers of 3"),
        (Taps((9, 18), 1), 4, Taps((9, 18), 2), "2 layers of 1 dimensions and the conditioning 2"),
        (Taps((9, 18), 1), 1, None, "2 layers of 1 dimensions and the conditioning 1"),
        (Taps((9, 18), 1), 2, Taps((9,), 2), "2 layers of 1 dimensions and the conditioning 1 lay"),
        (Taps((9,), 2), 2, Taps((9, 18), 1), "1 layers of 2 dimensions and the conditioning 2 lay"),
        (None, 2, Taps((9, 18), 1), "2 dimensions and the conditioning 2 layers of 1"),
    ],
)
def test_a_concept_of_another_width_is_refused_with_both_and_what_to_do(
    own, dimensions, taps, says
):
    one = concept(taps=own)
    with pytest.raises(ValueError) as refused:
        one.parts_for(dimensions, taps, [-2])
    message = str(refused.value)
    assert message.startswith(f"the concept ({one.name}) has {says}")
    assert message.endswith(
        ": they do not fit; make the concept with the text encoder that the conditioning is of"
    )


def test_another_model_is_said_by_its_fingerprint():
    assert concept().remarks(None, [-2], "cd34", "gemma") == [
        "the concept is of another model, qwen (fingerprint ab12; these states are of gemma, "
        "fingerprint cd34)"
    ]
    unnamed = concept(provenance={"fingerprint": "ab12"})
    assert unnamed.remarks(None, [-2], "AB12", "gemma") == [
        "the concept is of another model, an unnamed model (fingerprint ab12; these states are of "
        "gemma, fingerprint AB12)"
    ]
    for same in (concept().remarks(None, [-2], "".join(["ab", "12"]), "gemma"),
                 concept().remarks(None, [-2], "", "gemma"),
                 concept(provenance={}).remarks(None, [-2], "cd34", "gemma")):  # fmt: skip
        assert same == []


def test_another_layer_is_said_where_both_are_known():
    assert concept().remarks(None, [-6], "", "x") == [
        "the concept is of layer -2 and the states of layer -6"
    ]
    two = Taps((9, 18), 2, LAYER_MAJOR, 36)
    assert concept().remarks(two, [-28, -19], "", "x") == [
        "the concept is of layer -2 and the states of layers 9, 18"
    ]
    assert concept().remarks(two, [-28, -2], "", "x") == []
    assert concept().remarks(two, [-28, None], "", "x") == []
    assert concept(provenance={}).remarks(None, [-6], "", "x") == []
    stack = concept((1.0,) * 4, taps=two)
    assert stack.remarks(Taps((9, 18), 2), [-28, -19], "", "x") == []
    assert stack.remarks(Taps((9, 20), 2), [-28, -17], "", "x") == [
        "the concept is of layers 9, 18, the states layers 9, 20"
    ]
    assert stack.remarks(Taps((9, None), 2), [-28, None], "", "x") == []
    assert stack.remarks(None, [-6], "", "x") == []
