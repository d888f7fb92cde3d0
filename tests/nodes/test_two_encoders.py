"""Two encoders and an image model in turn, all unloaded by the host before each turn."""

import pytest
import torch

from .stock import output, run, states, text_encode
from .test_capture_refusals import modules_state

TEXTS = ["a red fox", "雪地里的狐狸"]
LAYER = -8


def free_everything():
    """As if another model needed all of the memory; the host must have let go of every model."""
    import comfy.model_management as management

    management.free_memory(1e15, management.text_encoder_device())
    management.free_memory(1e15, management.get_torch_device())
    assert management.current_loaded_models == []


def unload_everything():
    """What the host does after running out of memory, and what the frontend's button asks for."""
    import comfy.model_management as management

    management.unload_all_models()


@pytest.fixture(scope="module")
def turns(clip, vl_clip, pack):
    """By name: a function that encodes, one of them with ComfyUI's own node."""
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(3))

    def see(text):
        words = {"clip": [vl_clip], "image": [image], "text": [text], "layer": [LAYER]}
        return states(output(pack.VLEncode, **words).args[0][0])

    def sweep(text):
        [listed, _] = output(pack.LayerSweep, clip=clip, text=text, layers="-8, -9").args
        return torch.cat([states(one) for one in listed])

    return {
        "qwen": lambda text: states(run(pack.Qwen3Encode, clip=clip, text=text, layer=LAYER)[0]),
        "vl as text": lambda t: states(run(pack.Qwen3Encode, clip=vl_clip, text=t, layer=LAYER)[0]),
        "vl": see,
        "sweep": sweep,
        "stock": lambda text: states(text_encode(clip, text)),
    }


@pytest.fixture(scope="module")
def first(turns):
    """What each gives for each text while nothing is unloaded."""
    with torch.inference_mode():
        return {(name, text): turn(text) for name, turn in turns.items() for text in TEXTS}


@pytest.mark.parametrize("forget", [free_everything, unload_everything])
def test_results_are_bitwise_the_same_whichever_model_was_unloaded_before(
    forget, turns, first, clip, vl_clip
):
    modules = [modules_state(clip), modules_state(vl_clip)]
    for text in reversed(TEXTS):
        for name, turn in turns.items():
            forget()
            assert torch.equal(turn(text), first[name, text]), name
    assert [modules_state(clip), modules_state(vl_clip)] == modules
    assert not torch.equal(first["qwen", TEXTS[0]], first["vl as text", TEXTS[0]])


def test_sampling_in_between_changes_nothing(turns, first, clip, pack, model):
    conditioning = run(pack.Qwen3Encode, clip=clip, text=TEXTS[0], layer=LAYER)[0]
    words = {"model": model, "positive": conditioning, "width": 64, "height": 64, "steps": 1}
    picture = run(pack.ZImageSampler, **words)[1]["samples"]
    free_everything()
    assert torch.equal(turns["sweep"](TEXTS[0]), first["sweep", TEXTS[0]])
    free_everything()
    assert torch.equal(run(pack.ZImageSampler, **words)[1]["samples"], picture)
