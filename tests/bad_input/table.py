"""All rows about nodes, what a good run of each node needs, and the inputs without a row."""

from __future__ import annotations

from typing import Any

from . import concepts, conditionings, models, numbers, taps, texts
from .rows import Good, Odd, Row

ROWS: list[Row] = [
    *numbers.ROWS,
    *conditionings.ROWS,
    *models.ROWS,
    *texts.ROWS,
    *taps.ROWS,
    *concepts.ROWS,
]

STATES = Odd("good states")
BOTH_SIDES = {"text": STATES, "vision": STATES}
PROMPT = {"clip": Good("clip"), "text": "a fox"}

GOOD_INPUTS: dict[str, dict[str, Any]] = {
    "Qwen3Encode": PROMPT,
    "LayerSweep": PROMPT,
    "LayerMix": PROMPT,
    "WeightedEncode": PROMPT,
    "VLEncode": {"clip": Good("vl_clip"), "image": Good("image")},
    "OutlierMask": {"conditioning": STATES},
    "OutlierReport": {"conditioning": STATES},
    "Normalize": {"conditioning": STATES},
    "FitTokens": {"conditioning": STATES},
    "Describe": {"conditioning": STATES},
    "SaveEmbedding": {"conditioning": STATES},
    "SaveCaptionCache": {"conditioning": STATES, "caption": "a fox", "overwrite": True},
    "Blend": BOTH_SIDES,
    "ScheduledBlend": BOTH_SIDES,
    "StyleDelta": {"text": STATES, "styled": STATES, "neutral": STATES},
    "LayerProfile": {"clip": Good("clip"), "prompts": "a fox"},
    "BuildReference": {"clip": Good("clip"), "prompts": "a fox"},
    "SaveReference": {"reference": Good("reference")},
    "LoadReference": {"name": "good reference.safetensors [input]"},
    "LoadEmbedding": {"name": "good.safetensors [input]"},
    "CompareGrid": {"images": Good("image")},
    "DimensionProbe": {"clip": Good("clip"), "prompts": "a fox\ntwo owls"},
    "Ablations": {"conditioning": STATES},
    "TapEncode": {"clip": Good("tapped clip"), "text": "a fox"},
    "TapWeights": {"conditioning": STATES, "weights": "", "taps": "2"},
    "ConceptDirection": {
        "clip": Good("clip"),
        "with_concept": "a smiling fox",
        "without_concept": "a fox",
    },
    "ApplyConcept": {"conditioning": STATES, "concept": Good("concept")},
    "SaveConcept": {"concept": Good("concept")},
    "LoadConcept": {"name": "good concept.safetensors [input]"},
    "DitGain": {"model": Good("model"), "conditioning": STATES},
    "DitResponse": {
        "model": Good("model"),
        "base": STATES,
        "variants": STATES,
        "width": 64,
        "height": 64,
        "steps": 1,
        "at": "1",
    },
    "ZImageSampler": {
        "model": Good("model"),
        "positive": STATES,
        "width": 64,
        "height": 64,
        "steps": 1,
    },
}
"""Node -> inputs; those that are not named have their defaults."""

NO_BAD_VALUE: dict[tuple[str, str], str] = {
    ("CompareGrid", "more_images"): "its sockets are checked as images is; test_compare_grid.py",
    **{
        (name, "more_references"): "its sockets are checked as reference is; test_tap_nodes.py"
        for name in ("OutlierMask", "OutlierReport", "Normalize")
    },
}
"""(node, input) -> why no value of it can be bad."""
