"""A cache made of one conditioning: what is there is overwritten when told, and only then."""

import pytest
import torch
from zimage_layer_lab.core.caption_cache.cached import Cached, CacheFileError
from zimage_layer_lab.core.caption_cache.musubi import Musubi
from zimage_layer_lab.core.caption_cache.single import write_if_new
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
