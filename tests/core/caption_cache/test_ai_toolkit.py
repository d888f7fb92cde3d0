"""Ai-toolkit's captions, names and files."""

import base64
import hashlib

import pytest
import torch
from safetensors.torch import save_file
from zimage_layer_lab.core.caption_cache.ai_toolkit import FOLDER, AiToolkit
from zimage_layer_lab.core.caption_cache.cached import CacheFileError

STATES = torch.tensor([[1.5, -2.0, 0.25], [1024.0, 0.0, 3.0]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fox.safetensors"


def test_ai_toolkit_says_which_tensor_it_looks_for(path):
    save_file({"text_embed_1": STATES}, path)
    with pytest.raises(CacheFileError) as refused:
        AiToolkit().read(path)
    assert str(refused.value) == (
        "fox.safetensors cannot be read as a cache of ai-toolkit: its tensor is called "
        "text_embed_1, not text_embed_0; make it again"
    )


@pytest.mark.parametrize(
    ("trigger", "text", "caption"),
    [
        ("sks", "a fox", "sks a fox"),
        ("sks", "a sks fox", "a sks fox"),
        ("sks", "[name] [trigger]", "sks sks"),
        (" ", "a fox", "a fox"),
        ("", "a [trigger] fox", "a  fox"),
    ],
)
def test_a_trigger_word_is_put_in_or_in_front_once(trigger, text, caption):
    assert AiToolkit(trigger).caption(text) == caption


@pytest.mark.parametrize("caption", ["", "a fox", 'a "fox"'])
def test_a_name_is_the_hash_of_the_caption_and_of_its_space(caption):
    escaped = caption.replace('"', '\\"')
    text = (
        f'{{"caption": "{escaped}", "text_embedding_space_version": "zimage", '
        '"text_embedding_version": 1}'
    )
    digest = base64.urlsafe_b64encode(hashlib.md5(text.encode()).digest()).decode().rstrip("=")
    assert AiToolkit().file_name("x.y", caption) == f"x.y_{digest}.safetensors"
    assert FOLDER == "_t_e_cache"


def test_a_dropped_caption_is_the_trigger_word_alone():
    assert (AiToolkit("sks").dropped_caption, AiToolkit().dropped_caption) == ("sks ", "")
