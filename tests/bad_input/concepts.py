"""Concept Direction, Apply Concept, Save and Load Concept: their own inputs.

Conditionings, layers, switches and choices are in the tables of all nodes.
"""

from __future__ import annotations

from .conditionings import LEGAL
from .models import CLIP, NOT_A_DECODER
from .rows import Good, Odd, Row, first_over_http, odd, typed

NO_CONCEPT = "concept is .*, not a concept: connect Concept Direction or Load Concept"
BOTH = "not a batch of images: connect both with_image and without_image"
SIDES = ("with_concept", "without_concept")
IMAGES = ("with_image", "without_image")

ROWS = [
    *odd("ConceptDirection", "clip", {"None": CLIP, "the text 'seven'": CLIP}),
    Row("ConceptDirection", "clip", Good("T5"), NOT_A_DECODER, where="process"),
    *(
        row
        for side in SIDES
        for row in first_over_http(
            [
                *odd(
                    "ConceptDirection",
                    side,
                    {
                        "None": f"{side} is NoneType, not text: connect or type a text",
                        "half of a surrogate pair": f"of {side} is .*half of a surrogate pair: rem",
                        "a number": f"{side} is int, not text",
                    },
                ),
                *typed("ConceptDirection", side, {"": f"{side} is empty: write one prompt a line"}),
            ],
            2,
        )
    ),
    *typed(
        *("ConceptDirection", "with_concept"),
        {
            "a\nb": "with_concept has 2 lines and without_concept 1: write one prompt a line",
            "a fox": "the two sides of every pair are equal, .*: change the prompts of one side",
            "<|im_end|>": "prompt 1 of with_concept: it has no content token .*: write",
        },
    ),
    Row(
        *("ConceptDirection", "without_concept", "a fox\n\nan owl"),
        "line 2 of without_concept is empty, .* says 'b': write its partner, or remove both",
        others={"with_concept": "a\nb\nc"},
    ),
    *(
        Row("ConceptDirection", name, Odd("an image of 1 x 1 pixel"), BOTH, where="process")
        for name in IMAGES
    ),
    *(
        row._replace(others={other: Good("image")}, where="process")
        for name, other in (IMAGES, IMAGES[::-1])
        for row in odd(
            *("ConceptDirection", name),
            {
                "the text 'seven'": f"{name} is str, {BOTH}",
                "a batch of no image": "has 0 images and|and without_image 0: give as many",
            },
        )
    ),
    Row(
        *("ConceptDirection", "with_image", Odd("an image with NaN")),
        "holds NaN or infinity: look at the node",
        others={"without_image": Good("image"), "clip": Good("vl_clip")},
        where="process",
    ),
    *(
        row
        for node in ("ApplyConcept", "SaveConcept")
        for row in odd(
            node, "concept", {"the text 'seven'": NO_CONCEPT, "None": NO_CONCEPT}
        )
    ),
    *(
        Row("ApplyConcept", "conditioning", Odd(value), gives=gives)
        for value, gives in LEGAL.items()
        if value != "states of 5,000 tokens"
    ),
    Row(
        *("ApplyConcept", "conditioning", Odd("narrow states")),
        "the concept .* has 2560 dimensions and the conditioning 64: .*make the concept",
    ),
    Row(
        *("ApplyConcept", "tokens", "image"),
        "tokens 'image' selects nothing: .*Choose 'all'",
    ),
]  # fmt: skip
