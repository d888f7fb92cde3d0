"""CONDITIONING: what no encoder gives is refused, what is odd but legal comes out whole."""

from __future__ import annotations

from .rows import Odd, Row, first_over_http, odd

SHAPE = "it must be .*with at least one token"

BROKEN = {
    "states with NaN": "non-finite values: token 3 dimension 5 is nan.* encode again",
    "float16 states with -Inf": "non-finite values: token 3 dimension 5 is -inf.* encode again",
    "states of a whole number type": "is of torch.int64, .*float dtype: look at the node",
    "states on the meta device": "tensor on the meta device, which holds no values.* encode again",
    "states without a token": rf"has shape \(1, 0, 2560\); {SHAPE}",
    "states with four axes": rf"has shape \(1, 1, 8, 2560\); {SHAPE}",
    "a text for states": "holds no tensor: connect a text encoder's output",
    "an entry without a dictionary": "entry 1 of .* is not states and their options: look at",
    "a tensor for a conditioning": "is Tensor, not a list of entries: connect",
    "the text 'seven'": "is str, not a list of entries: connect",
}
"""For every input of that type, whatever the node."""

MORE_BROKEN = {
    "states with Inf": "non-finite values: token 3 dimension 5 is inf.* encode again",
    "complex states": "is of torch.complex64, .*float dtype",
    "sparse states": "tensor of layout torch.sparse_coo, which holds no values",
    "states without a width": rf"has shape \(1, 8, 0\); {SHAPE}",
    "states with one axis": rf"has shape \(2560,\); {SHAPE}",
    "None for states": "holds no tensor: connect",
    "an entry with None for its dictionary": "entry 1 of .* is not states and their options",
    "an entry that is a tensor": "entry 1 of .* is not states and their options",
    "a number": "is int, not a list of entries: connect",
    "None": "is NoneType, not a list of entries: connect",
}
"""Their like, for one node: all nodes read through one function."""

SIDES = {
    ("OutlierMask", "conditioning"): "the conditioning",
    ("Normalize", "conditioning"): "the conditioning",
    ("FitTokens", "conditioning"): "the conditioning",
    ("OutlierReport", "conditioning"): "the conditioning",
    ("SaveEmbedding", "conditioning"): "the conditioning",
    ("SaveCaptionCache", "conditioning"): "the conditioning",
    ("Blend", "text"): "text",
    ("Blend", "vision"): "vision",
    ("ScheduledBlend", "text"): "text",
    ("ScheduledBlend", "vision"): "vision",
    ("StyleDelta", "text"): "text",
    ("StyleDelta", "styled"): "styled",
    ("StyleDelta", "neutral"): "neutral",
    ("Ablations", "conditioning"): "the conditioning",
    ("DitGain", "conditioning"): "the conditioning",
    ("TapWeights", "conditioning"): "the conditioning",
    ("ApplyConcept", "conditioning"): "the conditioning",
    ("DitResponse", "base"): "base",
    ("DitResponse", "variants"): "variant 'variant 1'",
    ("ZImageSampler", "positive"): "positive",
    ("ZImageSampler", "negative"): "negative",
}
"""Every such input that must be finite, and how messages call it."""

LEGAL = {
    "states of 1 token": (1, 2560),
    "states of 5,000 tokens": (5000, 2560),
    "denormal states": (8, 2560),
    "huge states": (8, 2560),
    "states of zeros": (8, 2560),
    "float16 states at their limit": (8, 2560),
    "states of a batch of 3": (8, 2560),
    "three entries": (8, 2560),
}
EDITORS = ["OutlierMask", "Normalize"]
"""Nodes that keep the tokens of any conditioning."""


def _broken(node: str, name: str, called: str, cases: dict[str, str]) -> list[Row]:
    says = {value: f"{called}.*{message}" for value, message in cases.items()}
    says = {
        value: message.replace(f"{called}.*entry 1", "entry 1") for value, message in says.items()
    }
    return first_over_http(odd(node, name, says), 4)


def _legal(node: str, name: str, **changed: tuple[int, int] | str) -> list[Row]:
    cases = {**LEGAL, **changed}
    return [Row(node, name, Odd(value), gives=gives) for value, gives in cases.items()]


DESCRIBED = {
    "states with NaN": "8 tokens x 2560 dimensions.*NaN",
    "a conditioning without entries": "no entry: this conditioning is empty",
    "states of 1 token": "1 tokens? x 2560",
    "states of 5,000 tokens": "5000 tokens x 2560",
    "denormal states": "8 tokens x 2560",
    "narrow states": "8 tokens x 64",
}
"""Describe Conditioning is there to be asked about anything."""

NOT_FINITE = ("states with NaN", "float16 states with -Inf")

ROWS = [
    *(row for place, called in SIDES.items() for row in _broken(*place, called, BROKEN)),
    *_broken("OutlierMask", "conditioning", "the conditioning", MORE_BROKEN),
    *_broken(
        *("Describe", "conditioning", "the conditioning"),
        {value: message for value, message in BROKEN.items() if value not in NOT_FINITE},
    ),
    *(Row("Describe", "conditioning", Odd(v), gives=says) for v, says in DESCRIBED.items()),
    *(row for node in EDITORS for row in _legal(node, "conditioning")),
    *_legal("FitTokens", "conditioning", **{"states of 5,000 tokens": (512, 2560)}),
    *_legal("Blend", "text"),
    *(
        Row("Blend", "vision", Odd(value), gives=(8, 2560))
        for value in LEGAL
        if value not in ("states of a batch of 3", "three entries")
    ),
    *odd(
        *("Blend", "vision"),
        {
            "narrow states": "the text side has 2560 dimensions and the vision side 64",
            "states of a batch of 3": "the vision side of 3: give one vision side, or one for each",
            "three entries": "vision has 3: give at least one text entry, and one vision entry",
            "a conditioning without entries": "vision has 0: give at least one text entry",
        },
    ),
    *odd(
        *("Blend", "text"),
        {"a conditioning without entries": "the text side has 0 conditioning entries"},
    ),
    *odd("StyleDelta", "styled", {"narrow states": "64"}),
    *odd("Ablations", "conditioning", {"a conditioning without entries": "has no entries"}),
    *odd(
        *("DitGain", "conditioning"),
        {"narrow states": "has 64 dimensions, and this model .* takes 2560: encode"},
    ),
    *odd(
        *("DitResponse", "variants"),
        {"narrow states": "has 64 dimensions and the base 2560: encode both"},
    ),
    *odd("OutlierReport", "conditioning", {"a conditioning without entries": "has no entries"}),
    *odd(
        "SaveEmbedding",
        "conditioning",
        {"a conditioning without entries": "has no entries: connect"},
    ),
    *odd(
        *("SaveCaptionCache", "conditioning"),
        {
            "a conditioning without entries": "has no entries and a cache holds one.*connect",
            "three entries": "has 3 entries and a cache holds one caption: connect",
            "states of a batch of 3": "is a batch of 3 and a cache holds one caption: encode",
        },
    ),
    *odd(
        *("ZImageSampler", "positive"),
        {
            "narrow states": "positive .* has 64 dimensions, and this model takes 2560: encode",
            "a conditioning without entries": "positive has no entries: connect",
        },
    ),
    *(
        Row(node, "conditioning", Odd("narrow states"), gives=(8, 64))
        for node in ("OutlierMask", "Normalize", "FitTokens")
    ),
    *(
        Row("OutlierReport", "conditioning", Odd(value), gives="image", where="process")
        for value in LEGAL
    ),
    *(
        Row("ZImageSampler", "positive", Odd(value), gives="latent")
        for value in ("states of 1 token", "denormal states", "huge states", "states of zeros")
    ),
    Row("StyleDelta", "text", Odd("states of 1 token"), gives=(1, 2560)),
    Row(
        *("ScheduledBlend", "text", Odd("states of 5,000 tokens")),
        gives=(5000, 2560),
        where="process",
    ),
    Row("SaveEmbedding", "conditioning", Odd("states of 5,000 tokens"), gives="saved"),
]
