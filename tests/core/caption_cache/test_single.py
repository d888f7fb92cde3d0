"""A cache made of one conditioning: what is there is overwritten when told, and only then."""

import pytest
import torch
from zimage_layer_lab.core.caption_cache.ai_toolkit import AiToolkit
from zimage_layer_lab.core.caption_cache.cached import Cached, CacheFileError
from zimage_layer_lab.core.caption_cache.musubi import Musubi
from zimage_layer_lab.core.caption_cache.single import stem_of, to_cache, write_if_new
from zimage_layer_lab.core.record.record import plain_record

STATES = torch.tensor([[1.5, -2.0, 0.25], [1024.0, 0.0, 3.0]]).bfloat16()


def write(path, states, settings, overwrite=False):
    cached = Cached(states, "a fox", settings)
    return write_if_new(Musubi(), path, cached, plain_record(len(states)), overwrite)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"layer": "-3"}, "holds other states, of layer -3: choose"),
        (None, "holds other states: choose"),
    ],
)
def test_other_states_are_told_by_their_layer(tmp_path, settings, says):
    path = tmp_path / "fox_zi_te.safetensors"
    assert write(path, STATES, settings)
    before = path.read_bytes()
    assert not write(path, STATES, {"layer": "-2"}) and path.read_bytes() == before
    with pytest.raises(CacheFileError, match=says):
        write(path, STATES + 1, {"layer": "-2"})
    with pytest.raises(CacheFileError, match=says):  # Of the same values, in another precision.
        write(path, STATES.float(), {"layer": "-2"})
    assert path.read_bytes() == before
    assert write(path, STATES + 1, {"layer": "-2"}, overwrite=True)
    assert torch.equal(Musubi().read(path).states, STATES + 1)


def test_what_is_no_cache_is_not_overwritten_either(tmp_path):
    path = tmp_path / "fox_zi_te.safetensors"
    path.write_bytes(b"no cache")
    with pytest.raises(CacheFileError, match="is no cache of musubi: choose another name"):
        write(path, STATES, {})
    assert path.read_bytes() == b"no cache"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("fox.png", "fox"),
        ("fox.v2.JPEG", "fox.v2"),
        ("fox.v2", "fox.v2"),
        ("fox", "fox"),
        *((f"a.{ending}", "a") for ending in "avif bmp gif jpg jxl tif tiff webp".split()),
    ],
)
def test_an_images_ending_is_no_part_of_its_name(name, stem):
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("source", "layers", "says"),
    [
        ("qwen", (-2, -6, -2), "-2, -6"),
        ("qwen", (-3, -3, -3), "-3"),
        ("qwen", (None, None, -2), "mix, -2"),
        ("unknown encoder", (None,) * 3, "unknown"),
    ],
)
def test_a_cache_says_how_its_states_were_made(source, layers, says):
    record = plain_record(3, source).with_layers(layers).with_edit("masked")
    hidden = torch.full((3, 2), 1.0009765625)
    cached = to_cache(hidden, record, "a fox", torch.bfloat16, Musubi())
    assert cached.states.dtype == torch.bfloat16 and cached.states.tolist() == [[1.0, 1.0]] * 3
    assert cached.caption == "a fox" and cached.settings == {
        "model": source,
        "fingerprint": "",
        "layer": says,
        "edits": ["masked"],
        "dtype": "bfloat16",
        "format": "musubi",
    }


def test_a_cache_that_cannot_be_overwritten_says_what_it_is_and_what_to_do(tmp_path):
    path = tmp_path / "fox.safetensors"
    cached = Cached(STATES, "a", {"layer": "-2"})
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=False) is True
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=False) is False
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=True) is True
    for kind, what in ((Musubi(), "holds other states, of layer -2"), (AiToolkit(), None)):
        with pytest.raises(CacheFileError) as refused:
            other = Cached(STATES[:1], "a", {})
            write_if_new(kind, path, other, plain_record(1), overwrite=False)
        assert str(refused.value) == (
            f"fox.safetensors is there already and {what or 'is no cache of ai-toolkit'}: choose "
            "another name, or turn overwrite on"
        )
