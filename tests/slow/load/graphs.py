"""Graphs in API format, good and bad, for a server with the tiny weights and the test's nodes."""

TEXTS = [
    "a red fox in deep snow",
    "雪地里的狐狸，清晨",
    "a tin robot watering tulips, " * 2,
    "one",
    "A heron at dawn, mist over the river.",
]

SHALLOW = -8
"""The tiny encoders have 8 blocks; of those only the first is run for this layer."""


def node(kind, /, **inputs):
    return {"class_type": kind, "inputs": inputs}


def loaders():
    """Both encoders and an image."""
    return {
        "qwen": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2"),
        "vl": node("CLIPLoader", clip_name="qwen3vl_4b_bf16.safetensors", type="lumina2"),
        "image": node("LoadImage", image="example.png"),
    }


def encode(text, clip="qwen", layer=-2):
    return node(
        "LayerLabQwen3Encode",
        clip=[clip, 0],
        text=text,
        layer=layer,
        system_prompt="",
        think_block="none",
    )


def vision(text):
    return node(
        "LayerLabVLEncode",
        clip=["vl", 0],
        image=["image", 0],
        text=text,
        layer=SHALLOW,
        tokens="all",
        max_image_tokens=16,
        think_block="none",
        system_prompt="",
    )


def state(conditioning, clip, number):
    """Ends a graph. The number is another one every time, or the host would answer from memory."""
    return node("LayerLabTestState", conditioning=[conditioning, 0], clip=[clip, 0], nonce=number)


def fault(kind, number, at=1):
    return node("LayerLabTestFault", clip=["qwen", 0], kind=kind, at=at, nonce=number)


def plain(text, number):
    return {"a": encode(text), "end": state("a", "qwen", number)}


def shallow(text, number):
    return {"a": encode(text, layer=SHALLOW), "end": state("a", "qwen", number)}


def stock(text, number):
    """ComfyUI's own encoding."""
    return {
        "a": node("CLIPTextEncode", clip=["qwen", 0], text=text),
        "end": state("a", "qwen", number),
    }


def masked(text, number):
    mask = node(
        "LayerLabOutlierMask",
        conditioning=["a", 0],
        mode="clamp",
        threshold=1.5,
        direction="both",
        tokens="all",
        exclude_sinks=False,
    )
    return {"a": encode(text, layer=SHALLOW), "b": mask, "end": state("b", "qwen", number)}


def swept(text, number):
    sweep = node(
        "LayerLabLayerSweep",
        clip=["qwen", 0],
        text=text,
        layers="-2, -8, -9",
        system_prompt="",
        think_block="none",
    )
    return {"a": sweep, "end": state("a", "qwen", number)}


def blended(text, number):
    blend = node(
        "LayerLabBlend",
        text=["a", 0],
        vision=["b", 0],
        alpha=0.4,
        method="interpolate",
        match="rms per token",
    )
    return {
        # Another layer than those of its neighbours in the queue, whose states the host still has.
        "a": encode(text, layer=SHALLOW + 1),
        "b": vision(text),
        "c": blend,
        "end": state("c", "vl", number),
    }


COMMON = {"shallow": shallow, "masked": masked}
RARE = {"plain": plain, "stock": stock, "swept": swept, "blended": blended}
"""These run every block, or both encoders, and cost more."""


def failing(kind):
    def graph(text, number):
        graph = plain(text, number)
        graph["a"]["inputs"]["clip"] = ["fault", 0]
        return {"fault": fault(kind, number), **graph}

    return graph


def no_such_layer(text, number):
    """One that Qwen3-4B has and the tiny one has not: only running it tells."""
    return {"a": encode(text, layer=-30), "end": state("a", "qwen", number)}


def impossible_layer(text, number):
    return {"a": encode(text, layer=-99), "end": state("a", "qwen", number)}


def missing_file(text, number):
    load = node("LayerLabLoadEmbedding", name=f"none_{number}.safetensors [output]")
    return {"a": load, "end": state("a", "qwen", number)}


# How each ends: the type of the exception, "interrupted", or None for refused before it runs.
BAD = {
    "out of memory": (failing("out of memory"), "OutOfMemoryError"),
    "error": (failing("error"), "RuntimeError"),
    "stop": (failing("stop"), "interrupted"),
    "no such layer": (no_such_layer, "ValueError"),
    "impossible layer": (impossible_layer, None),
    "missing file": (missing_file, None),
}


def whole(parts):
    """The graph with the loaders that it uses."""
    used = {link[0] for part in parts.values() for link in part["inputs"].values() if is_link(link)}
    return {**{name: made for name, made in loaders().items() if name in used}, **parts}


def is_link(value):
    return isinstance(value, list)
