"""Musubi-tuner's files: what they hold, and which are none of them."""

import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.core.caption_cache.cached import Cached, CacheFileError
from zimage_layer_lab.core.caption_cache.musubi import Musubi
from zimage_layer_lab.core.record.record import plain_record

from ...oracles import caption_caches

STATES = torch.tensor([[1.5, -2.0, 0.25], [1024.0, 0.0, 3.0]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fox.safetensors"


def test_musubi_keeps_neither_caption_nor_settings_that_are_not_given(path):
    Musubi().write(path, Cached(STATES, None, None), plain_record(2))
    assert Musubi().read(path).caption == "" and Musubi().read(path).settings == {}
    _, metadata = caption_caches.parse(path)
    assert metadata == {
        "architecture": "z_image",
        "caption1": "",
        "format_version": "1.0.1",
        "layer_lab": "{}",
    }


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        (
            {"varlen_llm_embed_float32": STATES},
            {"architecture": "f" * 50},
            f"its architecture is '{'f' * 40}', not 'z_image'",
        ),
        (
            {"varlen_llm_embed_bfloat16": STATES},
            None,
            "its tensor is called varlen_llm_embed_bfloat16, not varlen_llm_embed_float32",
        ),
        ({"varlen_llm_embed_float32": STATES}, {"layer_lab": "7"}, "its settings are no object"),
    ],
)
def test_a_file_that_is_not_quite_musubis_is_refused(path, tensors, metadata, says):
    save_file(tensors, path, metadata)
    with pytest.raises(CacheFileError) as refused:
        Musubi().read(path)
    assert str(refused.value) == (
        f"fox.safetensors cannot be read as a cache of musubi-tuner: {says}; make it again"
    )
