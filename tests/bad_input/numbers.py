"""Numbers, switches and choices: typed out of range, and connected from a node that gives others.

ComfyUI checks what is typed (and lets NaN through); what is connected only the pack can check.
"""

from __future__ import annotations

from .rows import Odd, Row, first_over_http, odd, typed

NAN, INFINITY = float("nan"), float("inf")

DECIMALS = {
    ("OutlierMask", "threshold"): (0.5, 20000),
    ("OutlierReport", "threshold"): (0, 20000),
    ("LayerProfile", "threshold"): (-1, 20000),
    ("Blend", "alpha"): (-0.1, 1.5),
    ("Blend", "start_alpha"): (-1, 2),
    ("ScheduledBlend", "start_alpha"): (-1, 1.01),
    ("ScheduledBlend", "end_alpha"): (-1e-9, 2),
    ("StyleDelta", "alpha"): (-4.5, 5),
    ("ApplyConcept", "strength"): (-21, 20.5),
    ("Ablations", "threshold"): (0.5, 20000),
    ("DitGain", "threshold"): (0.5, 20000),
    ("DitResponse", "shift"): (-1, 101),
    ("ZImageSampler", "cfg"): (-1, 101),
    ("ZImageSampler", "shift"): (-1, 101),
    ("ZImageSampler", "denoise"): (-1, 1.5),
}
"""Inputs that take decimals -> a number under their range, and one over it."""

WHOLE = [
    ("Blend", "max_tokens"),
    ("FitTokens", "max_tokens"),
    ("ScheduledBlend", "steps"),
    ("CompareGrid", "columns"),
    ("CompareGrid", "baseline"),
    ("DimensionProbe", "dimension"),
    ("DimensionProbe", "controls"),
    ("Ablations", "controls"),
    ("Ablations", "most"),
    ("DitResponse", "width"),
    ("DitResponse", "height"),
    ("DitResponse", "seed"),
    ("DitResponse", "steps"),
    ("ZImageSampler", "width"),
    ("ZImageSampler", "height"),
    ("ZImageSampler", "batch_size"),
    ("ZImageSampler", "seed"),
    ("ZImageSampler", "steps"),
]

LAYERS = [
    ("Qwen3Encode", "layer"),
    ("WeightedEncode", "layer"),
    ("BuildReference", "layer"),
    ("DimensionProbe", "layer"),
    ("ConceptDirection", "layer"),
    ("VLEncode", "layer"),
    ("VLEncode", "image_layer"),
    ("VLEncode", "text_layer"),
]
TWO_LAYERS = {"two_layers": True}

SWITCHES = [
    ("VLEncode", "two_layers"),
    ("OutlierMask", "exclude_sinks"),
    ("Ablations", "with_base"),
    ("Blend", "keep_sinks"),
    ("Normalize", "keep_sinks"),
    ("TapWeights", "keep_rms"),
    ("LoadReference", "any_model"),
    ("SaveCaptionCache", "overwrite"),
    ("ApplyConcept", "keep_sinks"),
]

CHOICES = {
    ("ConceptDirection", "taps"): "auto, single layer",
    ("ApplyConcept", "mode"): "add, amplify, remove",
    ("ApplyConcept", "tokens"): "auto, all, image, text",
    ("DimensionProbe", "replace"): "all three, zero, mean, shuffle",
    ("Qwen3Encode", "think_block"): "none, empty, open",
    ("LayerSweep", "think_block"): "none, empty, open",
    ("LayerMix", "think_block"): "none, empty",
    ("LayerMix", "method"): "raw, rms matched",
    ("WeightedEncode", "method"): "masked, replaced",
    ("LayerSweep", "taps"): "single layers, leave one out, solo",
    ("LayerSweep", "tokens"): "all, image",
    **{
        (node, "taps"): "auto, 1, 2, 3"
        for node in ("OutlierMask", "OutlierReport", "Normalize", "Describe", "TapWeights")
    },
    **{
        (node, "theme"): "light, dark"
        for node in ("OutlierReport", "LayerProfile", "DitGain", "DitResponse", "DimensionProbe")
    },
    ("VLEncode", "tokens"): "all, image",
    ("VLEncode", "think_block"): "none, empty, open",
    ("VLEncode", "text_place"): "after the images, before the images",
    ("VLEncode", "preprocessing"): "exact, host",
    ("VLEncode", "several_images"): "one prompt, one prompt each",
    ("OutlierMask", "mode"): "zero, clamp",
    ("OutlierMask", "direction"): "loud, quiet, both",
    ("OutlierMask", "tokens"): "auto, all, image, text",
    ("Blend", "method"): "interpolate, ",
    ("Blend", "match"): "none, global",
    ("Blend", "curve"): "linear, ease in, ease out",
    ("ScheduledBlend", "curve"): "linear, cosine, step",
    ("ScheduledBlend", "method"): "interpolate, ",
    ("ScheduledBlend", "match"): "none, global",
    ("Normalize", "method"): "global, per dimension",
    ("SaveCaptionCache", "format"): "musubi, ai-toolkit, plain",
    ("SaveCaptionCache", "dtype"): "bf16, f32",
    ("FitTokens", "method"): "truncate, interpolate",
    ("CompareGrid", "difference"): "none, absolute, heat map",
    ("Ablations", "what"): "outliers and sinks, outliers, sinks, single tokens",
    ("Ablations", "replace"): "mean, zero, drop",
    ("DitResponse", "sampler_name"): "euler, .*res_multistep",
    ("DitResponse", "scheduler"): "simple, ",
    ("ZImageSampler", "sampler_name"): "euler, .*res_multistep",
    ("ZImageSampler", "scheduler"): "simple, ",
}


def _decimals(node: str, name: str, low: float, high: float) -> list[Row]:
    wanted = f"{name} is .*: it must be a number (between|at least)"
    return [
        *typed(node, name, {NAN: wanted, INFINITY: wanted, low: wanted, high: wanted}),
        *odd(node, name, {"NaN": wanted, "None": wanted, "the text 'seven'": wanted}),
    ]


def _whole(node: str, name: str) -> list[Row]:
    wanted = f"{name} is .*: it must be a number (between|at least)"
    rows = odd(
        node,
        name,
        {
            "NaN": wanted,
            "2.5": f"{name} is 2.5: it must be a (whole number|number between 16)",
            "the text 'seven'": wanted,
            "a list of two numbers": wanted,
        },
    )
    return first_over_http(rows, 2)


def _layer(node: str, name: str) -> list[Row]:
    others = TWO_LAYERS if name != "layer" else {}
    none = "is not a whole number: give one such as -2"
    return [
        Row(node, name, 37, r"layer 37 does not exist: .* layers -37 to -1 \(or 0 to 36\)"),
        Row(node, name, -10, "layer -10 does not exist: this encoder has 8", others=others),
        *odd(
            node,
            name,
            {
                "NaN": f"layer nan {none}",
                "2.5": f"layer 2.5 {none}",
                "None": f"layer None {none}",
                "10**400": r"layer 10+\.\.\. does not exist: this encoder has 8 blocks",
            },
            others=others,
        ),
    ]


def _switch(node: str, name: str) -> list[Row]:
    wanted = f"{name} is .*: it must be true or false"
    return odd(node, name, {"the text 'seven'": wanted, "a tensor of two numbers": wanted})


def _choice(node: str, name: str, known: str) -> list[Row]:
    rows = odd(
        node,
        name,
        {
            "the text 'seven'": f"{name} 'seven' is not one of {known}",
            "a dictionary": rf"{name} {{}} is not one of {known}",
            "None": f"{name} None is not one of {known}",
        },
    )
    return first_over_http(rows, 1)


OF_THE_HOST = [
    Row(
        *("FitTokens", "max_tokens", "seven", "max_tokens is 'seven'"),
        http="Failed to convert an input value to a INT value",
    ),
    Row(
        *("Blend", "alpha", "seven", "alpha is 'seven'"),
        http="Failed to convert an input value to a FLOAT value",
    ),
    Row("ZImageSampler", "steps", 0, "steps is 0", http="Value 0 smaller than min of 1"),
    Row("ZImageSampler", "width", 10**9, "width is 1", http="Value 1000000000 bigger than max"),
    Row("Blend", "method", "seven", "method 'seven' is not"),
]
"""What ComfyUI refuses in its own words: one row a kind."""

ROWS = [
    *(row for place, limits in DECIMALS.items() for row in _decimals(*place, *limits)),
    *(row for place in WHOLE for row in _whole(*place)),
    *(row for place in LAYERS for row in _layer(*place)),
    *(row for place in SWITCHES for row in _switch(*place)),
    *(row for place, known in CHOICES.items() for row in _choice(*place, known)),
    *(
        Row("ZImageSampler", name, Odd("10**400"), f"{name} is too large: it must be a number")
        for name in ("width", "batch_size", "seed", "steps")
    ),
    Row("FitTokens", "max_tokens", Odd("10**400"), gives=(8, 2560)),
    Row("CompareGrid", "baseline", Odd("10**400"), r"baseline is 10+\.\.\., but there are"),
    *typed("FitTokens", "max_tokens", {0: "max_tokens is 0: it must be", 16385: "max_tokens is"}),
    *typed("Blend", "max_tokens", {1: "max_tokens is 1: it must be", 65537: "max_tokens is"}),
    *typed("ScheduledBlend", "steps", {0: "steps is 0: it must be", 101: "steps is 101"}),
    *typed("CompareGrid", "columns", {-1: "columns is -1: it must be", 1001: "columns is 1001"}),
    Row("CompareGrid", "columns", 500, "1 rows x 500 columns .* do not fit .*: set columns to 0"),
    Row("CompareGrid", "baseline", 1, "baseline is 1, but there are 1 images"),
    *odd(
        *("VLEncode", "max_image_tokens"),
        {
            "NaN": "max_image_tokens is nan: ComfyUI gives an image between 4 and 12544",
            "2.5": "max_image_tokens is 2.5: ComfyUI gives",
            "0": "max_image_tokens is 0: ComfyUI gives",
            "10**400": r"max_image_tokens is 10+\.\.\.: ComfyUI gives",
        },
    ),
    *odd("LayerSweep", "max_image_tokens", {"0": "max_image_tokens is 0: ComfyUI gives"}),
    Row("ScheduledBlend", "method", "append", "append has no share to schedule", where="process"),
    Row("ZImageSampler", "seed", Odd("-1"), gives="latent"),
    Row("ZImageSampler", "denoise", Odd("0"), gives="latent"),
    *OF_THE_HOST,
]
