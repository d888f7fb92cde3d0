"""Which captions a model cannot take."""

from types import SimpleNamespace

from zimage_layer_lab.cli.encode.captions import Caption
from zimage_layer_lab.cli.encode.targets import Targets
from zimage_layer_lab.cli.profile.batches import TokenLimits
from zimage_layer_lab.core.caption_cache.musubi import Musubi


def problems(ids, **limits):
    tokenizer = SimpleNamespace(ids=lambda caption: ids, prompt=lambda ids: "a prompt")
    limits = TokenLimits(**{"context": None, "vocabulary": None, **limits})
    targets = Targets(Musubi(), tokenizer, limits, max_tokens=4)
    targets.add_all([Caption("fox", "a fox", "fox.txt")], lambda *done: None)
    return targets.problems


def test_a_token_is_known_up_to_the_vocabularys_last():
    assert problems([1, 7], vocabulary=8) == []
    assert problems([1, 8], vocabulary=8) == [
        "fox.txt: the tokenizer gives token 8 and the model knows 8: it is another model's "
        "tokenizer"
    ]


def test_as_many_tokens_as_the_limits_say_fit():
    assert problems([1] * 4, context=4) == []
    assert "it has 5 tokens" in problems([1] * 5)[0]
    assert "the model's context is 3" in problems([1] * 4, context=3)[0]
    assert "makes no token of it" in problems([])[0]
