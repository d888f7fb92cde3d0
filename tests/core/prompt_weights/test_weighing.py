"""Weights on tokens and states, against plain arithmetic in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.dit.view import dit_change
from zimage_layer_lab.core.prompt_weights.parsing import Stretch, parse_weights
from zimage_layer_lab.core.prompt_weights.weighing import (
    WeightedWords,
    fill,
    place_weights,
    visible,
    weigh_words,
)

BEFORE = "<user>"


def placed(text, pieces):
    """The words of ``text`` behind BEFORE, where the tokens are ``pieces`` (bytes)."""
    tokens = [BEFORE.encode(), *pieces, b"<end>"]

    def decode(ids):
        return b"".join(tokens[k] for k in ids).decode("utf-8", "replace")

    words = place_weights(parse_weights(text), len(BEFORE), list(range(len(tokens))), decode)
    return [(one.text, one.weight, one.tokens) for one in words]


@pytest.mark.parametrize(
    ("text", "pieces", "words"),
    [
        ("a (red:1.4) fox", [b"a", b" red", b" fox"], [("red", 1.4, (2,))]),
        ("a( red:1.4) fox", [b"a", b" re", b"d", b" fox"], [(" red", 1.4, (2, 3))]),
        ("(a:2) b (c:0)", [b"a", b" b", b" ", b"c"], [("a", 2.0, (1,)), ("c", 0.0, (4,))]),
        ("a (red:1) fox", [b"a", b" red", b" fox"], []),
        # A fox of four bytes in two tokens, and a token of one and a half characters.
        ("(🦊:2) x", ["🦊".encode()[:2], "🦊".encode()[2:], b" x"], [("🦊", 2.0, (1, 2))]),
        ("é(狐:2)", ["é狐".encode()[:3], "é狐".encode()[3:]], [("狐", 2.0, (2,))]),
        ("cafe\u0301 (b:2)", ["café".encode(), b" b"], [("b", 2.0, (2,))]),
    ],
)
def test_a_token_belongs_to_the_words_of_its_first_letter(text, pieces, words):
    assert placed(text, pieces) == words


def test_a_part_of_a_token_has_no_weight_of_its_own():
    with pytest.raises(ValueError, match="'d' in text has the weight 1.4 and no token of its own"):
        placed("re(d:1.4) fox", [b"red", b" fox"])


def test_a_text_that_its_tokens_do_not_spell_is_refused():
    with pytest.raises(ValueError, match="weights cannot be placed: .* 'A fox'.* 'a fox'"):
        place_weights([Stretch("a fox", 2.0)], 0, [0], lambda ids: "A fox" if ids else "")


def test_the_filler_keeps_every_position():
    words = WeightedWords("red big", 2.0, (2, 3, 4))
    assert fill([5, 6, 7, 8, 9, 10], words, [1, 2]) == [5, 6, 1, 2, 1, 10]


def test_only_tokens_behind_masked_words_stop_seeing_them():
    words = [WeightedWords("b", 2.0, (1,)), WeightedWords("c d", 2.0, (2, 3))]
    assert bool(visible(words, 5, "replaced").all())
    whole, first, second = visible(words, 5, "masked")
    assert bool(whole.all())
    assert [tuple(place) for place in (~first).nonzero().tolist()] == [(2, 1), (3, 1), (4, 1)]
    assert [tuple(place) for place in (~second).nonzero().tolist()] == [(4, 2), (4, 3)]


WORDS = [WeightedWords("b", 1.7, (1,)), WeightedWords("d", -0.5, (3,))]


def test_weighted_states_are_the_formula_in_float64():
    draw = torch.Generator().manual_seed(3)
    states = torch.randn(1, 6, 8, generator=draw)
    without = torch.randn(2, 6, 8, generator=draw)
    got = weigh_words(states, without, WORDS)
    full, lacking = states.double().numpy()[0], without.double().numpy()
    want = full.copy()
    want[1:] += lacking[0, 1:] + 1.7 * (full - lacking[0])[1:] - full[1:]
    want[3:] += lacking[1, 3:] - 0.5 * (full - lacking[1])[3:] - full[3:]
    np.testing.assert_allclose(got[0].numpy(), want, rtol=1e-6, atol=1e-6)
    assert torch.equal(got[:, :1], states[:, :1])


def test_weight_0_is_the_prompt_without_the_words():
    draw = torch.Generator().manual_seed(4)
    states, without = torch.randn(2, 1, 6, 8, generator=draw)
    got = weigh_words(states, without, [WeightedWords("b", 0.0, (2,))])
    torch.testing.assert_close(got[0, 2:], without[0, 2:])
    assert torch.equal(got[0, :2], states[0, :2])


def test_the_further_a_weight_is_from_1_the_more_of_it_the_dit_sees():
    draw = torch.Generator().manual_seed(5)
    states, without = torch.randn(2, 1, 6, 64, generator=draw)
    for weights in ((1.2, 1.6, 3.0, 10.0), (0.9, 0.5, 0.0, -1.0)):
        changes = [
            dit_change(states, weigh_words(states, without, [WeightedWords("b", w, (1,))]))
            for w in weights
        ]
        seen = torch.stack([change.relative_l2[0, 1:] for change in changes])
        assert bool((seen.diff(dim=0) > 0).all())


def test_what_cannot_be_placed_is_refused_in_a_whole_sentence():
    with pytest.raises(ValueError) as refused:
        placed("re(d:1.25) fox", [b"red", b" fox"])
    assert str(refused.value) == (
        "'d' in text has the weight 1.25 and no token of its own, for it is a part of a word: put "
        "the whole word between the marks"
    )
    with pytest.raises(ValueError) as refused:
        place_weights([Stretch("a fox", 2.0)], 1, [0, 1], lambda ids: "<A fox>"[: 4 * len(ids)])
    assert str(refused.value) == (
        "the text's weights cannot be placed: the encoder reads 'A fox' where the text is 'a fox'. "
        "Remove its weights, or its unusual characters"
    )


def test_words_of_several_weights_and_places_keep_their_own_tokens():
    pieces = [b"a", b" red", b" fox", b" in", b" snow"]
    words = placed("a (red:2) (fox in:0.5) (snow:1)", pieces)
    assert words == [("red", 2.0, (2,)), ("fox in", 0.5, (3, 4))]
    # A blank with a weight is no words: it has no token, and needs none.
    assert placed("([a] :2)fox", [b"a", b" fox"]) == [("a", 2 * (1 / 1.1), (1,))]


def test_what_stands_before_and_behind_the_text_is_of_no_words():
    tokens = ["fox ", "a", " fox", " fox"]

    def decode(ids):
        return "".join(tokens[k] for k in ids)

    [words] = place_weights([Stretch("a", 1.0), Stretch(" fox", 3.0)], 4, [0, 1, 2, 3], decode)
    assert (words.text, words.weight, words.tokens, words.first) == (" fox", 3.0, (2,), 2)


def test_a_long_filler_is_cut_and_the_ids_given_stay():
    ids = [5, 6, 7]
    assert fill(ids, WeightedWords("b", 2.0, (1,)), [1, 2, 3]) == [5, 1, 7] and ids == [5, 6, 7]
