"""Tap Encode and Tap Weights, and lists for several layers elsewhere.

Tap Encode's rows are run in process alone: a server of tiny weights has no encoder with as many
blocks as the models that it is for take layers of.
"""

from __future__ import annotations

from .rows import Good, Odd, Row, odd, typed

TEXTS = {
    "None": "is NoneType, not text: connect or type a text",
    "half of a surrogate pair": "half of a surrogate pair: remove",
    "a number": "is int, not text: connect",
}
NO_CLIP = "This CLIP .*cannot be used: it is not one decoder language model. Connect a CLIPLoader"
PROCESS = {"where": "process"}

ROWS = [
    *odd("TapEncode", "clip", {"None": NO_CLIP, "the text 'seven'": NO_CLIP}, **PROCESS),
    *(
        Row("TapEncode", "clip", Good(name), "one layer, not several. Connect .*krea2", **PROCESS)
        for name in ("clip", "CLIP-L")
    ),
    *odd("TapEncode", "text", TEXTS, **PROCESS),
    *odd("TapEncode", "system_prompt", TEXTS, **PROCESS),
    *odd("TapEncode", "layers", {"None": "layers is None: write", "a number": "is 7"}, **PROCESS),
    *typed(
        *("TapEncode", "layers"),
        {
            "2, 5": "2 layers are listed, and .* takes 12: give 12, or leave layers empty",
            "9, x": "'x' in the list of layers is no layer: write",
            "99": "layer 99 does not exist: .*layers run from",
            "37": "layer 37 does not exist: this encoder has 36 blocks",
        },
        **PROCESS,
    ),
    *odd(
        *("TapEncode", "think_block"),
        {"the text 'seven'": "think_block 'seven' is not one of the model's own, none, empty"},
        **PROCESS,
    ),
    *typed(
        *("TapWeights", "weights"),
        {
            "23: 2.5": "23 is none of the taps .*it has taps 1 to 2: name one",
            "2": "'2' in weights is no weight of a tap: write",
            "2: x": "'x' in weights is no weight: write",
            "1: 1, 1: 2": "weights names tap 1 twice: give it one weight",
        },
    ),
    *odd("TapWeights", "weights", {"None": "weights is None: write", "a number": "is 7: write"}),
    *typed(
        *("TapWeights", "solo"),
        {
            "3": "3 is none of the taps .*taps 1 to 2: name one of them",
            "not 1, 2": "leaves no tap: name fewer, or use",
            "one": "'one' in solo is no number of a tap: write",
        },
    ),
    *odd("TapWeights", "solo", {"None": "solo is None: write"}),
    *typed(
        *("Describe", "taps"),
        {"13": "has 2560 dimensions, which are not 13 taps of equal width: set taps to auto"},
    ),
    Row("TapWeights", "conditioning", Odd("states of a batch of 3"), gives=(8, 2560)),
]
