"""CLIP, MODEL, VAE, IMAGE, LATENT and reference statistics."""

from __future__ import annotations

from .rows import Good, Odd, Row, first_over_http, odd

ENCODERS = [
    "Qwen3Encode",
    "LayerSweep",
    "LayerMix",
    "WeightedEncode",
    "VLEncode",
    "LayerProfile",
    "BuildReference",
    "DimensionProbe",
]

CLIP = "This CLIP .*cannot be used: it is not one decoder language model. Connect a CLIPLoader"
NOT_A_DECODER = "This CLIP cannot be used: .*decoder.* Connect a CLIPLoader .type lumina2"
NO_REFERENCE = "reference is .*, not reference statistics: connect Build or Load Reference Stats"
NO_MODEL = "model is .*, not a MODEL: connect Load Diffusion Model"
NO_VAE = "vae is .*, not a VAE: connect Load VAE with ae.safetensors"

IMAGES = {
    "an image with NaN": "holds NaN or infinity: look at the node that made it",
    "an image with Inf": "holds NaN or infinity: look at the node that made it",
    "an image with 2 channels": "2 channels: it must be 1, 3 or 4",
    "an image with three axes": r"\(32, 32, 3\); it must be \(batch, height, width, channels\)",
    "an image without pixels": r"\(1, 0, 32, 3\); it must be",
    "a batch of no image": r"\(0, 32, 32, 3\); it must be",
    "an image on the meta device": "holds no values.*: look at the node",
    "the text 'seven'": "is str",
    "a dictionary": "is dict",
}

ONLY_IMAGES = {"prompts": ""}

LATENTS = {
    "a latent without samples": "latent holds no samples: connect Empty Latent Image",
    "a latent that is a tensor": "latent holds no samples: connect",
    "a latent with a text for samples": "latent holds no samples: connect",
    "a latent with two axes": r"latent has shape \(8, 8\); it must be",
    "a latent of no image": r"latent has shape \(0, 16, 8, 8\); it must be",
    "a latent with NaN": "latent holds NaN or infinity: look at the node",
    "a latent with 5 channels": "latent has 5 channels, and this model takes 16: encode",
    "the text 'seven'": "latent holds no samples: connect",
}

ROWS = [
    *(
        row
        for node in ENCODERS
        for row in odd(node, "clip", {"None": CLIP, "the text 'seven'": CLIP})
    ),
    *(
        Row(node, "clip", Good(wrong), NOT_A_DECODER, where="process")
        for node in ENCODERS
        for wrong in ("CLIP-L", "T5")
    ),
    Row(
        *("VLEncode", "clip", Good("clip")),
        "has no vision tower and cannot read images. Connect",
        where="process",
    ),
    Row(
        *("StyleDelta", "clip", Good("clip"), "says of no image how it was read"),
        others={"neutral": Odd("None")},
    ),
    Row(
        *("StyleDelta", "clip", Odd("None"), "connect `neutral`, or `clip`"),
        others={"neutral": Odd("None")},
    ),
    *odd("VLEncode", "image", IMAGES),
    *odd(
        *("VLEncode", "image"),
        {"an image of 1 x 500 pixels": "500x1 pixels: Qwen3-VL takes no aspect ratio over 200"},
    ),
    *(
        Row("VLEncode", "image", Odd(value), gives=(74, 2560))
        for value in ("an image of 1 x 1 pixel", "a huge finite image")
    ),
    *odd("LayerSweep", "image", IMAGES, others={"clip": Good("vl_clip")}, where="process"),
    *first_over_http(odd("LayerProfile", "images", IMAGES, others=ONLY_IMAGES), 2),
    *odd("BuildReference", "images", IMAGES, others=ONLY_IMAGES, where="process"),
    *(
        Row(
            *(node, "images", Odd("an image of 1 x 500 pixels")),
            "500x1 pixels: Qwen3-VL takes no aspect ratio over 200",
            others=ONLY_IMAGES,
            where="process",
        )
        for node in ("LayerProfile", "BuildReference")
    ),
    *(
        Row(
            *(node, "images", Odd("a huge finite image")),
            "has no vision tower and cannot read images. Connect",
            where="process",
        )
        for node in ("LayerProfile", "BuildReference")
    ),
    Row(
        *("BuildReference", "images", Odd("an image of 1 x 1 pixel")),
        gives="1 images, 64 image tokens",
        others={"clip": Good("vl_clip"), "prompts": ""},
    ),
    *odd("CompareGrid", "images", IMAGES),
    *odd("CompareGrid", "images", {"None": "images is empty: connect at least one image"}),
    *(
        Row("CompareGrid", "images", Odd(value), gives="image")
        for value in ("an image of 1 x 500 pixels", "an image of 1 x 1 pixel")
    ),
    *odd("ZImageSampler", "latent", LATENTS),
    *first_over_http(odd("DitResponse", "latent", LATENTS), 2),
    *odd("DitResponse", "model", {"the text 'seven'": NO_MODEL, "None": NO_MODEL}),
    Row("ZImageSampler", "latent", Odd("a good latent"), gives="latent"),
    *odd("ZImageSampler", "vae", {"a number": NO_VAE, "the text 'seven'": NO_VAE}),
    Row(
        *("ZImageSampler", "vae", Good("a VAE of 4 channels")),
        "vae decodes latents of 4 channels, and this model makes 16: connect",
        where="process",
    ),
    *(
        row
        for node in ("ZImageSampler", "OutlierReport", "DitGain", "TapWeights")
        for row in odd(
            *(node, "model"),
            {
                "the text 'seven'": "The model .* is not Z-Image: .*Connect Load Diffusion Model",
                "a dictionary": "The model .* is not Z-Image",
            },
        )
    ),
    *odd("ZImageSampler", "model", {"None": "The model .* is not Z-Image"}),
    *(
        row
        for node in ("OutlierMask", "OutlierReport", "Normalize", "SaveReference", "Ablations")
        for row in odd(
            node, "reference", {"the text 'seven'": NO_REFERENCE, "a dictionary": NO_REFERENCE}
        )
    ),
    *odd("SaveReference", "reference", {"None": NO_REFERENCE}),
    *(
        Row(
            *(node, "reference", Good("a reference of width 6")),
            "reference .* has 6 dimensions and the states have 2560",
            others=others,
        )
        for node, others in (
            ("OutlierMask", {}),
            ("OutlierReport", {}),
            ("Normalize", {"method": "per dimension"}),
        )
    ),
]
