"""Caption caches byte by byte: files made by hand are read, and ours by a reader made by hand."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.caption_cache.ai_toolkit import AiToolkit
from zimage_layer_lab.core.caption_cache.cached import Cached, CacheFileError
from zimage_layer_lab.core.caption_cache.musubi import Musubi
from zimage_layer_lab.core.caption_cache.plain import Plain
from zimage_layer_lab.core.record.embedding_file import load_embedding
from zimage_layer_lab.core.record.record import plain_record

from ...oracles import caption_caches

VALUES = np.array([[1.5, -2.0, 0.25], [1024.0, -0.0078125, 3.0]], np.float32)
"""Two tokens; bfloat16 holds each of them exactly."""
SETTINGS = {"layer": "-6", "model": "tiny", "edits": []}
MUSUBI = {"architecture": "z_image", "caption1": "一只狐狸", "format_version": "1.0.1"}


@pytest.mark.parametrize("dtype, torch_dtype", [("BF16", "bfloat16"), ("F32", "float32")])
def test_musubi_reads_and_writes_the_format_made_by_hand(tmp_path, dtype, torch_dtype):
    by_hand = tmp_path / "by hand.safetensors"
    name = f"varlen_llm_embed_{torch_dtype}"
    by_hand.write_bytes(caption_caches.safetensors_bytes({name: (dtype, VALUES)}, MUSUBI))
    cached = Musubi().read(by_hand)
    assert cached.states.dtype is getattr(torch, torch_dtype)
    assert np.array_equal(cached.states.float().numpy(), VALUES)
    assert cached.caption == "一只狐狸" and cached.settings is None

    path = tmp_path / Musubi().file_name("a_b", "")
    states = torch.tensor(VALUES).to(getattr(torch, torch_dtype))
    Musubi().write(path, Cached(states, "一只狐狸", SETTINGS), plain_record(2))
    found, caption = caption_caches.musubi(tmp_path, "a_b_1024x0768_zi.safetensors", 3)
    assert np.array_equal(found, VALUES) and caption == "一只狐狸"
    assert Musubi().read(path).settings == SETTINGS
    # The data are those of the file made by hand, to the byte.
    size = VALUES.size * (2 if dtype == "BF16" else 4)
    assert path.read_bytes()[-size:] == by_hand.read_bytes()[-size:]
    assert Musubi().caption(" a fox\n") == "a fox"


@pytest.mark.parametrize("trigger", ["", "sks"])
@pytest.mark.parametrize(
    "text", ["a, b,c", "a fox\n", "[trigger] in the snow, [name]", "红狐狸，雪", "sks fox", ""]
)
def test_ai_toolkit_names_and_contents_are_what_its_reader_looks_for(tmp_path, text, trigger):
    kind = AiToolkit(trigger)
    caption = caption_caches.ai_toolkit_caption(text, trigger)
    assert kind.caption(text) == caption
    folder = tmp_path / "_t_e_cache"
    path = folder / kind.file_name("a b", kind.caption(text))
    states = torch.tensor(VALUES).bfloat16()
    kind.write(path, Cached(states, caption, SETTINGS), plain_record(2))
    assert np.array_equal(caption_caches.ai_toolkit(tmp_path / "a b.png", caption, 3), VALUES)
    whole = caption_caches.safetensors_bytes({"text_embed_0": ("BF16", VALUES)})
    path.write_bytes(whole)
    assert np.array_equal(kind.read(path).states.float().numpy(), VALUES)
    assert kind.read(path).settings is None


def test_ai_toolkits_hash_and_double_blank_are_the_known_ones():
    # Worked out once with Python's json, hashlib and base64, and written down here.
    assert AiToolkit().caption("a, b") == "a,  b"
    assert AiToolkit().file_name("x", "a,  b") == "x_4S8AygHgzzB1r4PjouXqPQ.safetensors"
    assert AiToolkit("sks").dropped_caption == "sks " and AiToolkit().dropped_caption == ""


def test_plain_is_what_load_embedding_reads(tmp_path):
    path = tmp_path / Plain().file_name("fox", "")
    record = plain_record(2, "tiny").with_edit("normalize: rms per token")
    Plain().write(path, Cached(torch.tensor(VALUES).bfloat16(), "a fox", SETTINGS), record)
    [entry] = load_embedding(path)
    assert np.array_equal(entry.hidden[0].float().numpy(), VALUES)
    assert entry.record.edits == ("normalize: rms per token",) and entry.record.source == "tiny"
    assert Plain().read(path).settings["model"] == "tiny"


@pytest.mark.parametrize(
    "kind, tensors, metadata, says",
    [
        (
            Musubi(),
            {"varlen_llm_embed_float32": ("BF16", VALUES)},
            None,
            "float32, not varlen_llm_embed_bf",
        ),
        (
            Musubi(),
            {f"varlen_llm_embed_{d}": ("F32", VALUES) for d in ("float32", "bfloat16")},
            None,
            "it must hold one tensor",
        ),
        (Musubi(), {"varlen_llm_embed_float32": ("F32", VALUES[0])}, None, "not .tokens, width."),
        (Musubi(), {"x": ("F32", VALUES)}, {"architecture": "flux"}, "its architecture is 'flux'"),
        (AiToolkit(), {"text_embed": ("F32", VALUES)}, None, "is called text_embed, not"),
        (Plain(), {"hidden": ("F32", VALUES)}, None, "it is of another kind"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_a_sentence(tmp_path, kind, tensors, metadata, says):
    path = tmp_path / "x.safetensors"
    path.write_bytes(caption_caches.safetensors_bytes(tensors, metadata))
    with pytest.raises(CacheFileError, match=says):
        kind.read(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CacheFileError, match="x.safetensors cannot be read"):
        kind.read(path)
