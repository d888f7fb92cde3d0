"""What is there already: gone on with, said, and never overwritten unasked."""

import json

import numpy as np
from zimage_layer_lab.cli import main

from ...oracles import caption_caches

CAPTIONS = {f"{n}.png": f"caption {n} " * (n + 1) for n in range(4)}
SNOW = "a fox in the snow"


def caches(folder):
    """name -> (bytes of its tensor, time of its last change)."""
    return {
        path.name: (caption_caches.parse(path)[0], path.stat().st_mtime_ns)
        for path in folder.glob("*.safetensors")
    }


def times(folder):
    return {name: changed for name, (_, changed) in caches(folder).items()}


def same_states(a, b):
    [(name, (dtype, array))], [(other, (kind, values))] = a.items(), b.items()
    return (name, dtype) == (other, kind) and np.array_equal(array, values)


def test_a_run_goes_on_with_what_is_missing_or_has_another_caption(
    layerlab, tiny_qwen3, write_dataset, tmp_path
):
    folder, out = write_dataset(CAPTIONS), tmp_path / "out"
    words = ("encode", folder, "--model", tiny_qwen3, "--out")
    for kind in ("plain", "musubi", "ai-toolkit"):
        here = out / kind
        assert layerlab(*words, here, "--format", kind)[0] == 0
        before = caches(here)
        gone = sorted(before)[1]
        (here / gone).unlink()
        report = json.loads((here / "layerlab-encode.json").read_text(encoding="utf-8"))
        # As a run leaves it that is killed: files are there that it could not list.
        unlisted = {**report, "files": {}, "finished": False}
        (here / "layerlab-encode.json").write_text(json.dumps(unlisted))
        (here / ".writing-killed").mkdir()
        (folder / "3.txt").write_text(SNOW)
        status, text, _ = layerlab(*words, here, "--format", kind)
        (folder / "3.txt").write_text(CAPTIONS["3.png"])
        assert status == 0 and "2 of them are there already" in text and "Wrote 2 caches" in text
        after = caches(here)
        kept = [name for name in before if after[name][1] == before[name][1]]
        assert len(kept) == (3 if kind == "ai-toolkit" else 2) and gone not in kept
        assert same_states(after[gone][0], before[gone][0])
        assert not (here / ".writing-killed").exists()
        again = json.loads((here / "layerlab-encode.json").read_text(encoding="utf-8"))
        # For ai-toolkit that of the old caption stays, and is no longer asked for.
        made = set(after) - ({max(before)} if kind == "ai-toolkit" else set())
        assert again["finished"] and set(again["files"]) == made


def test_caches_of_another_layer_are_overwritten_only_when_asked(
    layerlab, tiny_qwen3, write_dataset, tmp_path
):
    folder, out = write_dataset(CAPTIONS), tmp_path / "out"
    words = ("encode", folder, "--model", tiny_qwen3, "--out", out, "--format=musubi", "--layer")
    assert layerlab(*words, "-2")[0] == 0
    before, times_before = caches(out), times(out)
    status, _, said = layerlab(*words, "-3")
    assert status == 1 and "layer '-2' there, '-3' here" in said and "--overwrite" in said
    assert times(out) == times_before
    # Without the report a file says itself how it was made.
    (out / "layerlab-encode.json").unlink()
    status, _, said = layerlab(*words, "-3")
    assert status == 1 and "holds 4 files that this command would overwrite" in said
    assert layerlab(*words, "-3", "--overwrite")[0] == 0
    after = caches(out)
    assert not any(same_states(after[name][0], before[name][0]) for name in before)
    # A trainer's own, in the place of ours.
    states = np.zeros((3, 32), np.float32)
    metadata = {"architecture": "z_image", "caption1": CAPTIONS["0.png"].strip()}
    whole = caption_caches.safetensors_bytes(
        {"varlen_llm_embed_bfloat16": ("BF16", states)}, {**metadata, "format_version": "1.0.1"}
    )
    (out / "0_zi_te.safetensors").write_bytes(whole)
    status, _, said = layerlab(*words, "-3")
    assert status == 1 and "for example 0_zi_te.safetensors" in said
    assert (out / "0_zi_te.safetensors").read_bytes() == whole


def test_what_ai_toolkit_has_encoded_by_itself_is_not_taken_for_ours(
    layerlab, tiny_qwen3, write_dataset
):
    folder = write_dataset({"0.png": "a fox"})
    words = ("encode", folder, "--model", tiny_qwen3, "--format=ai-toolkit")
    assert layerlab(*words)[0] == 0
    [made] = (folder / "_t_e_cache").glob("*.safetensors")
    # A new image of the same caption: the trainer has met it first, and encoded it at its layer.
    write_dataset({"1.png": "a fox"})
    own = made.with_name(made.name.replace("0_", "1_", 1))
    states = {"text_embed_0": ("BF16", np.ones((4, 32), np.float32))}
    own.write_bytes(caption_caches.safetensors_bytes(states))
    status, _, said = layerlab(*words)
    assert status == 1 and f"for example {own.name}" in said
    status, text, _ = layerlab("encode", "--check", folder / "_t_e_cache")
    assert status == 3 and "a mix of layers, edits or models" in text
    assert layerlab(*words, "--overwrite")[0] == 0
    assert same_states(caption_caches.parse(own)[0], caption_caches.parse(made)[0])


def test_check_says_what_is_wrong_with_a_folder(
    layerlab, tiny_qwen3, write_dataset, tmp_path, capsys
):
    folder, out = write_dataset({**CAPTIONS, "twin.png": CAPTIONS["0.png"]}), tmp_path / "out"
    words = ("--model", tiny_qwen3, "--out", out, "--format=musubi")
    assert layerlab("encode", folder, *words, "--layer", "-3")[0] == 0
    status, text, _ = layerlab("encode", "--check", out)
    assert status == 0 and "No problem was found" in text
    assert "5 caches: musubi" in text and "5 x layer -3; tiny-qwen3, fingerprint" in text
    assert "1 file holds the same states as another one" in text and "width 32" in text
    good = (out / "1_zi_te.safetensors").read_bytes()
    (out / "2_zi_te.safetensors").write_bytes(good[:-1])
    states = np.full((3, 32), np.nan, np.float32)
    tensors = {"varlen_llm_embed_float32": ("F32", states)}
    (out / "3_zi_te.safetensors").write_bytes(caption_caches.safetensors_bytes(tensors))
    (out / "1_zi_te.safetensors").unlink()
    (out / "a_0064x0064_zi.safetensors").write_bytes(
        caption_caches.safetensors_bytes({"latents_1x8x8_float32": ("F32", states)})
    )
    status, text, _ = layerlab("encode", "--check", out)
    assert status == 3
    for sentence in (
        "(and 1 file that is no caption cache)",
        "2_zi_te.safetensors cannot be read",
        "3_zi_te.safetensors holds 96 values that are NaN or infinite",
        "a mix of layers, edits or models",
        "1 x unknown layer and model",
        "of 2 dtypes: 2 x bfloat16, 1 x float32",
        "1 file that layerlab-encode.json lists is gone: 1_zi_te.safetensors",
    ):
        assert sentence in text, sentence
    assert main(["encode", "--check", str(tmp_path)]) == 1
    assert "holds no caption cache" in capsys.readouterr().err
