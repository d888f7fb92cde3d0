"""Readers of trainers' caption caches, from what is known of the formats, with NumPy alone.

Nothing here uses the pack or safetensors: the bytes are taken apart by hand.
"""

import base64
import hashlib
import json
from pathlib import Path

import numpy as np

BYTES = {"BF16": 2, "F32": 4}
SUFFIXES = {"BF16": "bfloat16", "F32": "float32"}


def safetensors_bytes(tensors, metadata=None):
    """A file's bytes; ``tensors``: name -> (dtype, array of float32)."""
    header, data = {} if metadata is None else {"__metadata__": metadata}, b""
    for name, (dtype, array) in tensors.items():
        raw = array.astype("<f4")
        if dtype == "BF16":
            raw = (raw.view("<u4") >> 16).astype("<u2")
        raw = raw.tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def parse(path):
    """(name -> (dtype, float32 array), metadata or None) of a safetensors file."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    data, tensors = content[8 + length :], {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert end - begin == BYTES[entry["dtype"]] * int(np.prod(entry["shape"]))
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(raw, "<f4")
        tensors[name] = entry["dtype"], values.reshape(entry["shape"])
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(data)
    return tensors, metadata


def musubi(folder, latents, width):
    """(states, caption) for the file of latents ``{stem}_{WWWW}x{HHHH}_zi.safetensors``."""
    stem = "_".join(latents.split("_")[:-2])
    tensors, metadata = parse(Path(folder) / f"{stem}_zi_te.safetensors")
    [(name, (dtype, states))] = tensors.items()
    assert name == f"varlen_llm_embed_{SUFFIXES[dtype]}"
    assert states.ndim == 2 and states.shape[1] == width
    assert metadata["architecture"] == "z_image" and metadata["format_version"] == "1.0.1"
    assert all(isinstance(value, str) for value in metadata.values())
    return states, metadata["caption1"]


def ai_toolkit_caption(text, trigger=None):
    """The caption that the trainer makes of what a caption file holds."""
    caption = ", ".join(text.split(","))
    for placeholder in ("[trigger]", "[name]"):
        caption = caption.replace(placeholder, trigger or "")
    if trigger and caption.count(trigger) == 0:
        caption = trigger + " " + caption
    return caption


def ai_toolkit(image, caption, width):
    """The states for the path of an image and its processed caption."""
    hashed = {"caption": caption, "text_embedding_space_version": "zimage"}
    hashed["text_embedding_version"] = 1
    digest = hashlib.md5(json.dumps(hashed, sort_keys=True).encode()).digest()
    name = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    image = Path(image)
    tensors, metadata = parse(image.parent / "_t_e_cache" / f"{image.stem}_{name}.safetensors")
    [(name, (_, states))] = tensors.items()
    assert name == "text_embed_0" and metadata is None
    assert states.ndim == 2 and states.shape[1] == width
    return states
