"""What saved workflows rely on: ids, inputs in order, defaults, options, outputs."""

THINK_BLOCKS = ["none", "empty"]
MATCHES = ["none", "global", "per dimension", "hybrid", "rms per token"]
BLEND_METHODS = [
    "interpolate",
    "interpolate (llm-dit)",
    "linear",
    "append",
    "adain",
    "adain per dimension",
    "style dims",
    "graduated",
    "attention weighted",
    "slerp",
]

# Per input: (name, default); None where there is none. A trailing ? marks an optional socket.
CONTRACT = {
    "LayerLabQwen3Encode": (
        [
            ("clip", None),
            ("text", None),
            ("layer", -2),
            ("system_prompt", ""),
            ("think_block", "none"),
        ],
        [("conditioning", "CONDITIONING"), ("prompt", "STRING")],
    ),
    "LayerLabVLEncode": (
        [
            ("clip", None),
            ("image", None),
            ("text", ""),
            ("layer", -6),
            ("tokens", "all"),
            ("max_image_tokens", 1024),
            ("think_block", "none"),
            ("system_prompt", ""),
            ("text_place?", "after the images"),
            ("two_layers?", False),
            ("image_layer?", -6),
            ("text_layer?", -2),
            ("preprocessing?", "exact"),
            ("several_images?", "one prompt"),
        ],
        [("conditioning", "CONDITIONING"), ("prompt", "STRING")],
    ),
    "LayerLabOutlierMask": (
        [
            ("conditioning", None),
            ("mode", "zero"),
            ("threshold", 10.0),
            ("direction", "loud"),
            ("tokens", "auto"),
            ("exclude_sinks", False),
            ("reference?", None),
        ],
        [("conditioning", "CONDITIONING"), ("report", "STRING")],
    ),
    "LayerLabBlend": (
        [
            ("text", None),
            ("vision", None),
            ("alpha", 0.3),
            ("method", "interpolate"),
            ("match", "rms per token"),
            ("start_alpha?", 0.0),
            ("curve?", "linear"),
            ("keep_sinks?", True),
            ("max_tokens?", 1504),
        ],
        [("conditioning", "CONDITIONING"), ("report", "STRING")],
    ),
    "LayerLabLayerSweep": (
        [
            ("clip", None),
            ("text", None),
            ("layers", "-2, -6"),
            ("system_prompt", ""),
            ("think_block", "none"),
        ],
        [("conditioning", "CONDITIONING"), ("label", "STRING")],
    ),
    "LayerLabLayerMix": (
        [
            ("clip", None),
            ("text", None),
            ("weights", "-2: 0.5, -6: 0.5"),
            ("method", "rms matched"),
            ("system_prompt?", ""),
            ("think_block?", "none"),
        ],
        [("conditioning", "CONDITIONING")],
    ),
    "LayerLabNormalize": (
        [
            ("conditioning", None),
            ("method", "rms per token"),
            ("reference?", None),
            ("keep_sinks", True),
        ],
        [("conditioning", "CONDITIONING")],
    ),
    "LayerLabFitTokens": (
        [("conditioning", None), ("max_tokens", 512), ("method", "truncate")],
        [("conditioning", "CONDITIONING")],
    ),
    "LayerLabStyleDelta": (
        [
            ("text", None),
            ("styled", None),
            ("neutral?", None),
            ("alpha", 0.3),
            ("clip?", None),
        ],
        [("conditioning", "CONDITIONING")],
    ),
    "LayerLabScheduledBlend": (
        [
            ("text", None),
            ("vision", None),
            ("curve", "linear"),
            ("start_alpha", 0.5),
            ("end_alpha", 0.0),
            ("steps", 4),
            ("method?", "interpolate"),
            ("match?", "rms per token"),
        ],
        [("conditioning", "CONDITIONING")],
    ),
    "LayerLabCompareGrid": (
        [
            ("images", None),
            ("labels", ""),
            ("columns", 0),
            ("baseline", 0),
            ("row_titles?", ""),
            ("column_titles?", ""),
            ("difference?", "none"),
            ("more_images?", None),
        ],
        [("image", "IMAGE"), ("report", "STRING")],
    ),
    "LayerLabSaveEmbedding": (
        [("conditioning", None), ("filename_prefix", "layer_lab/embedding")],
        [],
    ),
    "LayerLabLoadEmbedding": ([("name", None)], [("conditioning", "CONDITIONING")]),
    "LayerLabDescribe": ([("conditioning", None)], [("text", "STRING")]),
    "LayerLabZImageSampler": (
        [
            ("model", None),
            ("positive", None),
            ("negative?", None),
            ("vae?", None),
            ("latent?", None),
            ("width", 1024),
            ("height", 1024),
            ("batch_size", 1),
            ("seed", 0),
            ("steps", 8),
            ("cfg", 1.0),
            ("sampler_name", "res_multistep"),
            ("scheduler", "simple"),
            ("shift", 3.0),
            ("denoise", 1.0),
        ],
        [("image", "IMAGE"), ("latent", "LATENT")],
    ),
    "LayerLabOutlierReport": (
        [("conditioning", None), ("threshold", 10.0), ("reference?", None), ("model?", None)],
        [("image", "IMAGE"), ("report", "STRING")],
    ),
    "LayerLabLayerProfile": (
        [("clip", None), ("prompts", None), ("threshold", 10.0), ("images?", None)],
        [("image", "IMAGE"), ("report", "STRING")],
    ),
    "LayerLabBuildReference": (
        [("clip", None), ("prompts", ""), ("layer", -2), ("images?", None)],
        [("reference", "LAYERLAB_REFERENCE")],
    ),
    "LayerLabSaveReference": (
        [("reference", None), ("filename_prefix", "layer_lab/reference")],
        [],
    ),
    "LayerLabLoadReference": (
        [("name", None), ("any_model?", False)],
        [("reference", "LAYERLAB_REFERENCE")],
    ),
}

TYPES = {
    ("LayerLabQwen3Encode", "clip"): "CLIP",
    ("LayerLabQwen3Encode", "text"): "STRING",
    ("LayerLabQwen3Encode", "layer"): "INT",
    ("LayerLabVLEncode", "image"): "IMAGE",
    ("LayerLabVLEncode", "max_image_tokens"): "INT",
    ("LayerLabOutlierMask", "conditioning"): "CONDITIONING",
    ("LayerLabOutlierMask", "exclude_sinks"): "BOOLEAN",
    ("LayerLabOutlierMask", "reference"): "LAYERLAB_REFERENCE",
    ("LayerLabBlend", "vision"): "CONDITIONING",
    ("LayerLabBlend", "alpha"): "FLOAT",
    ("LayerLabLayerProfile", "images"): "IMAGE",
    ("LayerLabBuildReference", "images"): "IMAGE",
    ("LayerLabZImageSampler", "model"): "MODEL",
    ("LayerLabZImageSampler", "negative"): "CONDITIONING",
    ("LayerLabZImageSampler", "vae"): "VAE",
    ("LayerLabZImageSampler", "latent"): "LATENT",
}

OPTIONS = {
    ("LayerLabQwen3Encode", "think_block"): THINK_BLOCKS,
    ("LayerLabVLEncode", "think_block"): [*THINK_BLOCKS, "open"],
    ("LayerLabVLEncode", "tokens"): ["all", "image", "image + markers", "text"],
    ("LayerLabOutlierMask", "mode"): [
        "zero",
        "clamp",
        "scale",
        "mean",
        "drop sinks",
        "sink to mean",
    ],
    ("LayerLabOutlierMask", "direction"): ["loud", "quiet", "both"],
    ("LayerLabOutlierMask", "tokens"): ["auto", "all", "image", "text"],
    ("LayerLabBlend", "method"): BLEND_METHODS,
    ("LayerLabBlend", "match"): MATCHES,
    ("LayerLabBlend", "curve"): ["linear", "ease in", "ease out"],
    ("LayerLabVLEncode", "text_place"): ["after the images", "before the images"],
    ("LayerLabVLEncode", "preprocessing"): ["exact", "host"],
    ("LayerLabVLEncode", "several_images"): ["one prompt", "one prompt each"],
    ("LayerLabLayerSweep", "think_block"): THINK_BLOCKS,
    ("LayerLabLayerMix", "method"): ["raw", "rms matched", "mean of normalised layers"],
    ("LayerLabNormalize", "method"): ["global", "per dimension", "hybrid", "rms per token"],
    ("LayerLabFitTokens", "method"): ["truncate", "interpolate", "pool", "attention pool"],
    ("LayerLabScheduledBlend", "curve"): ["linear", "cosine", "step"],
    ("LayerLabScheduledBlend", "method"): [m for m in BLEND_METHODS if m != "append"],
    ("LayerLabScheduledBlend", "match"): MATCHES,
    ("LayerLabCompareGrid", "difference"): ["none", "absolute", "heat map"],
}

LIST_OUTPUTS = {"LayerLabLayerSweep", "LayerLabVLEncode"}
LIST_INPUTS = {"LayerLabVLEncode", "LayerLabCompareGrid"}
