"""Save Caption Cache in a real ComfyUI, read by readers made from the trainers' formats alone."""

import numpy as np
import pytest
import torch
from rich.console import Console
from zimage_layer_lab.cli.encode.check import run_check

from ..oracles import caption_caches
from .stock import output, run, states, text_encode

TEXT = "a red fox, in deep snow"
FOLDER = "layer_lab/captions"


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-3)[0]


def save(pack, conditioning, **inputs) -> str:
    """What the node says."""
    [said] = output(pack.SaveCaptionCache, conditioning=conditioning, **inputs).ui["text"]
    return said


def files(folders) -> list[str]:
    output = folders / "output"
    return sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file())


def test_musubi_finds_the_states_of_its_image(pack, folders, fox):
    said = save(pack, fox, name=f"{FOLDER}/my fox.png", dtype="f32")
    folder = folders / "output" / FOLDER
    found, caption = caption_caches.musubi(folder, "my fox_0512x0512_zi.safetensors", 2560)
    assert np.array_equal(found, states(fox)[0].numpy()) and caption == TEXT
    _, metadata = caption_caches.parse(folder / "my fox_zi_te.safetensors")
    assert '"layer": "-3"' in metadata["layer_lab"]
    assert f"saved: {FOLDER}/my fox_zi_te.safetensors" in said
    assert f"{len(found)} tokens x 2560 dimensions, float32" in said and "must use the same" in said


def test_ai_toolkit_finds_it_by_the_caption_that_it_makes_of_the_text(pack, folders, fox):
    said = save(pack, fox, name="x", format="ai-toolkit", trigger="sks")
    caption = caption_caches.ai_toolkit_caption(TEXT, "sks")
    [name] = files(folders)
    cache = folders / "output" / "_t_e_cache" / name
    cache.parent.mkdir()
    (folders / "output" / name).rename(cache)
    found = caption_caches.ai_toolkit(folders / "output" / "x.png", caption, 2560)
    assert np.array_equal(found, states(fox)[0].bfloat16().float().numpy())
    assert f"caption: {caption}\nanother text was encoded: {TEXT}" in said


def test_plain_is_what_load_embedding_gives(pack, folders, fox):
    save(pack, fox, name="x", format="plain", dtype="f32")
    loaded = run(pack.LoadEmbedding, name="x.safetensors [output]")[0]
    assert torch.equal(states(loaded), states(fox))


def test_padding_and_masked_tokens_are_left_out(pack, folders, fox, padded):
    said = save(pack, padded, name="typed")
    [[hidden, options]] = padded
    seen = int(options["attention_mask"].sum())
    assert 0 < seen < hidden.shape[1] and f"{seen} tokens x" in said
    mask = torch.ones(1, states(fox).shape[1])
    mask[0, 2] = 0
    save(pack, [[states(fox), {"attention_mask": mask}]], name="masked", caption=TEXT, dtype="f32")
    found, _ = caption_caches.musubi(folders / "output", "masked_1x1_zi", 2560)
    assert np.array_equal(found, np.delete(states(fox)[0].numpy(), 2, axis=0))


def test_other_states_are_overwritten_only_when_told(pack, folders, clip, fox):
    other = run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)[0]
    save(pack, fox, name="x")
    path = folders / "output" / "x_zi_te.safetensors"
    before = path.read_bytes()
    assert "was there already, with the same states: x_zi_te" in save(pack, fox, name="x")
    with pytest.raises(ValueError, match="holds other states, of layer -3: choose another name"):
        save(pack, other, name="x")
    path.write_bytes(before[:-1])
    with pytest.raises(ValueError, match="is no cache of musubi: choose another name"):
        save(pack, fox, name="x")
    assert path.read_bytes() == before[:-1] and files(folders) == ["x_zi_te.safetensors"]
    save(pack, other, name="x", overwrite=True)
    found, _ = caption_caches.musubi(folders / "output", "x_1x1_zi", 2560)
    assert np.array_equal(found, states(other)[0].bfloat16().float().numpy())


def test_check_takes_edited_captions_of_one_kind_for_one(pack, folders, clip):
    for number, text in enumerate(("a red fox in deep snow", "two owls on a wall")):
        encoded = run(pack.Qwen3Encode, clip=clip, text=text, layer=-3)[0]
        masked = run(pack.OutlierMask, conditioning=encoded, threshold=1.5)[0]
        save(pack, run(pack.Normalize, conditioning=masked)[0], name=f"{number}.png")
    console = Console(record=True, width=300)
    assert run_check(folders / "output", console) == 0
    said = console.export_text()
    assert (
        "2 x layer -3; outlier mask: zero, threshold 1.5, loud, tokens all; normalize: rms" in said
    )


def test_what_no_cache_holds_is_named(pack, folders, clip, fox):
    [[hidden, options]] = fox
    said = save(pack, [[hidden, {**options, "start_percent": 0.5}]], name="x", caption="an owl")
    assert f"another text was encoded: {TEXT}\ntrainers do not read: start_percent" in said
    long = torch.zeros(1, 513, 2560)
    said = save(pack, [[long, {}]], name="long", caption="long")
    assert "at unknown layer" in said and "themselves cut a caption at 512 tokens" in said
    with pytest.raises(ValueError, match="caption is empty, .* type the text"):
        save(pack, text_encode(clip, TEXT), name="y")


def test_what_is_no_caption_is_refused_before_anything_is_written(pack, folders, fox):
    [[hidden, options]] = fox
    refused = {
        "has 2 entries": [*fox, *fox],
        "has no entries": [],
        "is a batch of 2": [[torch.cat([hidden, hidden]), {}]],
        "holds layers 9, 18, 27 side by side, .* one layer": [[torch.zeros(1, 4, 7680), {}]],
        "padding only": [[hidden, {"attention_mask": torch.zeros(1, hidden.shape[1])}]],
    }
    for says, conditioning in refused.items():
        with pytest.raises(ValueError, match=says):
            save(pack, conditioning, caption=TEXT)
    for inputs, says in (
        ({"name": "../x"}, "name '../x' does not name a file inside ComfyUI's output"),
        ({"name": "a/"}, "name 'a/' is a folder: put a file's name"),
        ({"trigger": "sks"}, "trigger is about ai-toolkit: choose"),
    ):
        with pytest.raises(ValueError, match=says):
            save(pack, fox, **inputs)
    assert files(folders) == []
