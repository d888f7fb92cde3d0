"""Weighted words on the states of real language models."""

import pytest
import torch
from zimage_layer_lab.core.dit.view import dit_change
from zimage_layer_lab.core.measure.sinks import find_sinks
from zimage_layer_lab.core.prompt_weights.parsing import Stretch
from zimage_layer_lab.core.prompt_weights.weighing import (
    FILLER,
    WeightedWords,
    fill,
    place_weights,
    weigh_words,
)

STRETCHES = [Stretch("a ", 1.0), Stretch("red", 1.4), Stretch(" fox sleeps in the deep snow", 1.0)]


@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_the_further_from_1_the_more_changes_from_the_word_on(name, request):
    model = request.getfixturevalue(name)
    plain = "".join(one.text for one in STRETCHES)
    ids = model.chat_ids(plain)
    start = model.tokenizer.decode(ids).index(plain)
    [placed] = place_weights(STRETCHES, start, ids, model.tokenizer.decode)
    assert [model.tokenizer.decode(ids[k]).strip() for k in placed.tokens] == ["red"]
    filler = model.tokenizer.encode(FILLER, add_special_tokens=False)
    lacking = fill(ids, placed, filler)
    with_word, without = (model.hidden_states(one, [-2]) for one in (ids, lacking))
    states, other = (next(iter(found.values()))[None] for found in (with_word, without))
    # A filler that is a sink would bring its massive activations into the words' tokens.
    assert not bool(find_sinks(other)[0, list(placed.tokens)].any())
    torch.testing.assert_close(other[:, : placed.first], states[:, : placed.first])
    for weights in ((1.2, 1.6, 2.4), (0.8, 0.4, 0.0)):
        seen = [
            dit_change(
                states, weigh_words(states, other, [WeightedWords("red", weight, placed.tokens)])
            ).relative_l2[0]
            for weight in weights
        ]
        assert bool((torch.stack(seen).diff(dim=0)[:, placed.first :] > 0).all())
        assert not bool(seen[-1][: placed.first].any())
