"""Where taps lie in a token's state, against NumPy's own reshaping."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.taps.known import KNOWN, model_of_width, models_of_encoder
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps, parse_taps

STACK = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
"""(batch, tokens, taps, width)."""
WHOLE = {
    LAYER_MAJOR: STACK.reshape(2, 5, 12),
    INTERLEAVED: STACK.transpose(0, 1, 3, 2).reshape(2, 5, 12),
}


@pytest.mark.parametrize("order", WHOLE)
def test_splitting_and_joining_are_numpys_reshape(order):
    taps, hidden = Taps((9, 18, 27), 4, order), torch.from_numpy(WHOLE[order])
    parts = taps.split(hidden)
    assert [np.array_equal(part, STACK[:, :, tap]) for tap, part in enumerate(parts)] == [True] * 3
    assert torch.equal(taps.join(parts), hidden)
    for tap, own in ((0, 0), (1, 3), (2, 1)):
        dimension = taps.dimension(tap, own)
        assert np.array_equal(WHOLE[order][..., dimension], STACK[:, :, tap, own])
        assert taps.place(dimension) == (tap, own)


def test_another_width_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="2560 dimensions, and 12 taps of 2560 are 30720"):
        Taps(tuple(range(12)), 2560).split(torch.zeros(1, 2, 2560))


def test_a_number_means_the_taps_of_that_layer_or_without_layers_that_tap():
    known, unknown = Taps((9, 18, 9), 4, blocks=36), Taps((None,) * 3, 4)
    assert (known.find(9), known.find(18), known.find(-19)) == ([0, 2], [1], [1])
    assert unknown.find(3) == [2]
    with pytest.raises(ValueError, match=r"27 is none of the taps.*layers 9, 18, 9"):
        known.find(27)
    with pytest.raises(ValueError, match="0 is none of the taps.*taps 1 to 3"):
        unknown.find(0)
    assert (known.name(0), known.name(1), unknown.name(1)) == (
        "layer 9 (tap 1)",
        "layer 18",
        "tap 2",
    )


@pytest.mark.parametrize(
    ("text", "layers"),
    [("9, 18, 27", (9, 18, 27)), ("27,9,9", (27, 9, 9)), ("3..1, -1", (3, 2, 1, 36))],
)
def test_lists_of_taps_keep_their_order_and_repetitions(text, layers):
    assert parse_taps(text, 36) == layers


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("9, x", "'x'.*no layer"),
        ("9,,18", "''"),
        ("37", "0 to 36"),
        (None, "layers is None"),
    ],
)
def test_what_is_no_list_of_taps_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        parse_taps(text, 36)


def test_models_are_told_apart_by_the_width_of_all_their_taps():
    assert len({model.taps.total for model in KNOWN}) == len(KNOWN)
    assert {model.taps.total: model.name for model in KNOWN}[53248] == "Ideogram 4"
    assert model_of_width(7680).taps.layers == (9, 18, 27)
    assert model_of_width(2560) is None
    assert [model.name for model in models_of_encoder(40, 5120)] == ["Flux.2 dev"]
    assert models_of_encoder(30, 576) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"layers": ()}, "there are 0 taps: give 1 to 256"),
        ({"layers": (1,) * 257}, "there are 257 taps: give 1 to 256"),
        ({"width": 0}, "a tap has 0 dimensions: give at least 1"),
        ({"width": -1}, "a tap has -1 dimensions: give at least 1"),
        ({"order": "any"}, "the order is 'any': give layer-major or interleaved"),
    ],
)
def test_an_impossible_layout_is_refused(wrong, says):
    with pytest.raises(ValueError) as refused:
        Taps(**{"layers": (9, 18), "width": 4, **wrong})
    assert str(refused.value) == says


def test_the_smallest_and_the_largest_layout_are_possible():
    assert (Taps((9,), 1).total, Taps((1,) * 256, 2).total) == (1, 512)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ((9,), "layer 9"),
        ((9, 18, 9), "layers 9, 18, 9"),
        ((None,), "1 tap of unknown layers"),
        ((None, 9), "2 taps of unknown layers"),
    ],
)
def test_a_layout_in_words(layers, words):
    assert Taps(layers, 4).in_words == words


def test_layers_apart_from_the_last_count_from_the_end_where_the_blocks_are_known():
    known = Taps((0, 35, 36), 4, blocks=36)
    assert (known.find(-1), known.find(-2), known.find(-37), known.find(0)) == ([2], [1], [0], [0])
    unknown = Taps((None, None), 4, blocks=36)
    assert (unknown.find(1), unknown.find(2)) == ([0], [1])
    for taps, number, there in (
        (Taps((9, 35), 4), -2, "layers 9, 35"),
        (known, 37, "layers 0, 35, 36"),
        (unknown, 3, "taps 1 to 2"),
        (unknown, 0, "taps 1 to 2"),
        (unknown, -1, "taps 1 to 2"),
    ):
        with pytest.raises(ValueError) as refused:
            taps.find(number)
        assert str(refused.value) == (
            f"{number} is none of the taps of this conditioning, it has {there}: name one of "
            "them, or use Describe Conditioning to see them"
        )


def test_ranges_run_up_and_down_and_may_be_of_one():
    assert parse_taps("1..3", 36) == (1, 2, 3)
    assert parse_taps("+4 .. 4", 36) == (4,)
    assert parse_taps("-3..-1, 2..1", 36) == (34, 35, 36, 2, 1)


def test_a_bad_part_of_a_list_is_shown_and_cut():
    with pytest.raises(ValueError) as refused:
        parse_taps("9, " + "x" * 50, 36)
    assert str(refused.value) == (
        f"'{'x' * 40}' in the list of layers is no layer: write whole numbers such as 9, 18, 27, "
        "with commas between them"
    )
    for text, says in ((" ", "the list of layers is empty"), (9, "layers is 9")):
        with pytest.raises(ValueError) as refused:
            parse_taps(text, 36)
        assert str(refused.value) == f"{says}: write for example 9, 18, 27"


def test_an_order_read_from_a_file_is_the_same_order():
    order = "".join(list(INTERLEAVED))
    taps = Taps((9, 18, 27), 4, order)
    parts = taps.split(torch.from_numpy(WHOLE[INTERLEAVED]))
    assert [np.array_equal(part, STACK[:, :, tap]) for tap, part in enumerate(parts)] == [True] * 3
    assert np.array_equal(taps.join(parts), WHOLE[INTERLEAVED])
    assert (taps.place(4), taps.dimension(1, 1)) == ((1, 1), 4)


def test_layers_over_256_are_compared_by_their_number():
    taps = Taps((300, 301, 300), 4, blocks=1000)
    assert taps.find(int("300")) == [0, 2] and taps.find(-700) == [1]
    assert taps.name(2) == "layer 300 (tap 3)" and taps.name(1) == "layer 301"


def test_a_width_over_256_is_compared_by_its_number():
    wide = Taps((9, 18), 300)
    assert len(wide.split(torch.zeros(1, 1, 600))) == 2
    for total in (599, 601):
        with pytest.raises(ValueError) as refused:
            wide.split(torch.zeros(1, 1, total))
        assert str(refused.value) == (
            f"the conditioning has {total} dimensions, and 2 taps of 300 are 600: encode with the "
            "text encoder that belongs to them"
        )
