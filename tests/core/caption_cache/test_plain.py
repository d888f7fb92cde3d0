"""A plain cache: an embedding file of one conditioning."""

import pytest
import torch
from zimage_layer_lab.core.caption_cache.cached import CacheFileError
from zimage_layer_lab.core.caption_cache.plain import Plain
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding
from zimage_layer_lab.core.record.record import plain_record

STATES = torch.tensor([[1.5, -2.0, 0.25], [1024.0, 0.0, 3.0]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fox.safetensors"


def test_plain_says_what_the_record_says(path):
    states = STATES[None]
    known = plain_record(2, "qwen").with_layers((-2, -2)).sealed(states)
    save_embedding(path, [Entry(states, known, {})])
    read = Plain().read(path)
    assert torch.equal(read.states, STATES) and read.caption == ""
    assert read.settings == {"model": "qwen", "fingerprint": "", "layer": "-2"}
    save_embedding(path, [Entry(states, plain_record(2, "qwen"), {})])
    assert Plain().read(path).settings == {"model": "qwen", "fingerprint": ""}
    save_embedding(path, [Entry(states, None, {})])
    read = Plain().read(path)
    assert torch.equal(read.states, STATES) and (read.caption, read.settings) == (None, None)


@pytest.mark.parametrize(
    "entries",
    [[Entry(STATES[None], None, {})] * 2, [Entry(torch.stack([STATES] * 2), None, {})]],
)
def test_plain_holds_one_conditioning_of_one_picture(path, entries):
    save_embedding(path, entries)
    with pytest.raises(CacheFileError) as refused:
        Plain().read(path)
    assert str(refused.value) == (
        "fox.safetensors holds more than one conditioning: a cache has one for its caption"
    )
