"""What users' saved workflows hold of each node: these names never change."""

# Required inputs, optional inputs, outputs.
CONTRACT: dict[str, tuple[list[str], list[str], list[str]]] = {
    "LayerLabQwen3Encode": (
        ["clip", "text", "layer", "system_prompt", "think_block"],
        [],
        ["conditioning", "prompt"],
    ),
    "LayerLabVLEncode": (
        [
            "clip",
            "image",
            "text",
            "layer",
            "tokens",
            "max_image_tokens",
            "think_block",
            "system_prompt",
        ],
        [
            "text_place",
            "two_layers",
            "image_layer",
            "text_layer",
            "preprocessing",
            "several_images",
        ],
        ["conditioning", "prompt"],
    ),
    "LayerLabLayerSweep": (
        ["clip", "text", "layers", "system_prompt", "think_block"],
        ["taps"],
        ["conditioning", "label"],
    ),
    "LayerLabLayerMix": (
        ["clip", "text", "weights", "method"],
        ["system_prompt", "think_block"],
        ["conditioning"],
    ),
    "LayerLabStyleDelta": (
        ["text", "styled", "alpha"],
        ["neutral", "clip"],
        ["conditioning"],
    ),
    "LayerLabConceptDirection": (
        ["clip", "with_concept", "without_concept", "layer"],
        ["with_image", "without_image", "taps"],
        ["concept", "report"],
    ),
    "LayerLabApplyConcept": (
        ["conditioning", "concept", "mode", "strength", "tokens", "keep_sinks"],
        [],
        ["conditioning", "report"],
    ),
    "LayerLabDescribe": (["conditioning"], ["taps"], ["text"]),
    "LayerLabOutlierReport": (
        ["conditioning", "threshold"],
        ["reference", "model", "theme", "taps"],
        ["image", "report"],
    ),
    "LayerLabTapEncode": (
        ["clip", "text", "layers", "system_prompt", "think_block"],
        [],
        ["conditioning", "prompt"],
    ),
    "LayerLabTapWeights": (
        ["conditioning", "weights", "solo", "keep_rms"],
        ["model", "taps"],
        ["conditioning", "report"],
    ),
    "LayerLabOutlierMask": (
        ["conditioning", "mode", "threshold", "direction", "tokens", "exclude_sinks"],
        ["reference", "taps"],
        ["conditioning", "report"],
    ),
    "LayerLabBlend": (
        ["text", "vision", "alpha", "method", "match"],
        ["start_alpha", "curve", "keep_sinks", "max_tokens", "alphas"],
        ["conditioning", "report"],
    ),
    "LayerLabCompareGrid": (
        ["images", "labels", "columns", "baseline"],
        ["row_titles", "column_titles", "difference"],
        ["image", "report"],
    ),
    "LayerLabAblations": (
        ["conditioning", "what", "replace", "threshold", "controls"],
        ["reference", "most", "with_base"],
        ["conditioning", "label"],
    ),
    "LayerLabDitResponse": (
        [
            "model",
            "base",
            "variants",
            "labels",
            "width",
            "height",
            "seed",
            "steps",
            "at",
            "sampler_name",
            "scheduler",
            "shift",
        ],
        ["latent", "theme"],
        ["image", "report", "latent"],
    ),
    "LayerLabZImageSampler": (
        [
            "model",
            "positive",
            "width",
            "height",
            "batch_size",
            "seed",
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "shift",
            "denoise",
        ],
        ["negative", "vae", "latent"],
        ["image", "latent"],
    ),
    "LayerLabWeightedEncode": (
        ["clip", "text", "layer", "method"],
        [],
        ["conditioning", "prompt", "report"],
    ),
}
