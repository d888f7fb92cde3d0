"""Layer Profile in a real ComfyUI: its figures, its files, what stops it and what it refuses."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from .stock import output, run, states

PROMPTS = ["a red fox", "雪中的竹林", 'A sign that reads "OPEN", $5 only, at dusk in the rain']


@pytest.fixture(scope="module")
def profile_node(host):
    from zimage_layer_lab.nodes.profile import LayerProfileNode

    return LayerProfileNode


@pytest.fixture(scope="module")
def naive(clip, pack):
    """layer index -> each prompt's states, one pass per layer, in float64; not all, for time."""
    with torch.inference_mode():
        return {
            index: [
                states(run(pack.Qwen3Encode, clip=clip, text=text, layer=index)[0])[0]
                .double()
                .numpy()
                for text in PROMPTS
            ]
            for index in (0, 1, 4, 7, 8)
        }


def written(folders: Path) -> list[Path]:
    return sorted(path for path in (folders / "output").rglob("*") if path.is_file())


def test_every_figure_of_profile_json_equals_numpy(profile_node, clip, folders, naive):
    image, report = run(profile_node, clip=clip, prompts="\n".join(PROMPTS), threshold=1.2)
    [path] = written(folders)
    assert path.name == "layerlab_profile_00001.json" and path.name in report
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["schema_version"] == 1
    assert document["model"]["blocks"] == 8 and document["model"]["width"] == 2560
    assert "qwen_3_4b.safetensors" in document["model"]["name"]
    assert document["prompts"] == 3
    assert document["tokens"] == sum(len(x) for x in naive[0])
    assert [entry["index"] for entry in document["layers"]] == list(range(9))
    assert [entry["layer"] for entry in document["layers"]] == list(range(-9, 0))
    for index in naive:
        entry = document["layers"][index]
        x = np.concatenate(naive[index])
        assert entry["max_abs"] == pytest.approx(np.abs(x).max(), rel=1e-5)
        assert entry["median_abs"] == pytest.approx(np.median(np.abs(x)), rel=3e-3)
        assert entry["std"] == pytest.approx(x.std(ddof=1), rel=1e-5)
        std = x.std(axis=0, ddof=1)
        ratio = std / np.median(std)
        flagged = {outlier["dimension"]: outlier for outlier in entry["outliers"]}
        assert set(flagged) == set(np.flatnonzero((ratio > 1.2) | (ratio < 1 / 1.2)))
        assert flagged or entry["index"] == 0
        for dimension, outlier in flagged.items():
            assert outlier["ratio"] == pytest.approx(ratio[dimension], rel=1e-5)
    peaks = [entry["max_abs"] for entry in document["layers"]][:-1]
    steps = np.diff(np.log(peaks))
    assert document["emergence_layer"] == steps.argmax() + 1
    assert image.shape[0] == 1 and image.shape[3] == 3 and float(image.std()) > 0.05


def test_the_report_has_a_line_for_every_layer(profile_node, clip, folders, naive):
    _, report = run(profile_node, clip=clip, prompts="\n".join(PROMPTS), threshold=1.2)
    lines = [re.search(rf"^{i}  +{i - 9}\b.*", report, re.MULTILINE)[0] for i in range(9)]
    for index in naive:
        x = np.abs(np.concatenate(naive[index]))
        line = lines[index]
        cells = re.split(r"\s{2,}", line)
        assert float(cells[2]) == pytest.approx(np.median(x), rel=3e-3)
        assert float(cells[3]) == pytest.approx(x.max(), rel=1e-3)
        assert float(cells[4]) == pytest.approx(x.max() / np.median(x), rel=4e-3)
        massive = (x.max(axis=0) > 100) & (x.max(axis=0) > 1000 * np.median(x))
        assert int(cells[7]) == massive.sum()
    assert "emergence: hidden state" in report
    assert "no layer has a massive activation" in report


def test_a_massive_activation_is_found_where_it_emerges(profile_node, clip, folders):
    """One value of 1e5 is written into token 0 after block 3 and taken out after block 6."""
    from zimage_layer_lab.core.encoder.capture import find_decoder

    layers = find_decoder(clip.cond_stage_model.qwen3_4b.transformer).layers

    def put(value: float):
        def hook(module, args, kwargs):
            (args[0] if args else kwargs["x"])[:, 0, 396] = value

        return hook

    handles = [
        layers[4].register_forward_pre_hook(put(1e5), with_kwargs=True, prepend=True),
        layers[7].register_forward_pre_hook(put(0.5), with_kwargs=True, prepend=True),
    ]
    try:
        _, report = run(profile_node, clip=clip, prompts="\n".join(PROMPTS))
    finally:
        for handle in handles:
            handle.remove()
    [path] = written(folders)
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["emergence_layer"] == 4 and document["fall_layer"] == 7
    assert document["sink_positions"] == [[0], [0], [0]]
    for entry in document["layers"]:
        assert (396 in entry["massive"]) is (4 <= entry["index"] < 7)
    outlier = document["layers"][5]["outliers"][0]
    assert outlier["dimension"] == 396 and outlier["class"] == "sink-borne"
    assert outlier["top_token"]["text"] == "<|im_start|>"
    assert outlier["positions"][0]["text"] == "<|im_start|>"
    assert outlier["positions"][0]["share"] == pytest.approx(outlier["sink_share"], rel=1e-6)
    said = "sink tokens at hidden state 5: position 0 in 3 of 3 prompts; 0 at other positions"
    assert said in report
    assert "sink-borne; carried by position 0 ('<|im_start|>'): 9" in report


def test_prompts_from_a_file_are_the_same_as_typed_ones(profile_node, clip, folders):
    (folders / "input" / "sub").mkdir()
    file = folders / "input" / "sub" / "my prompts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(PROMPTS[:2]).encode() + b"\r\n")
    assert profile_node.validate_inputs(prompts="sub/my prompts.txt") is True
    typed = run(profile_node, clip=clip, prompts="\n".join(PROMPTS[:2]))[1].splitlines()
    named = run(profile_node, clip=clip, prompts=" sub/my prompts.txt\n")[1].splitlines()
    assert typed[:-1] == named[:-1]
    assert [path.name for path in written(folders)] == [
        "layerlab_profile_00001.json",
        "layerlab_profile_00002.json",
    ]
    before = profile_node.fingerprint_inputs(prompts="sub/my prompts.txt", clip=None)
    file.write_text("another", encoding="utf-8")
    assert profile_node.fingerprint_inputs(prompts="sub/my prompts.txt", clip=None) != before
    assert profile_node.fingerprint_inputs(prompts="a fox", threshold=10.0) == ""


def test_a_prompt_that_ends_in_txt_is_a_prompt(profile_node, folders):
    for prompt in ("a sign that says readme.txt", "a fox and " * 50 + "a readme.txt"):
        assert profile_node.validate_inputs(prompts=prompt) is True


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("", "empty"),
        (" \n\n ", "empty"),
        ("missing.txt", "not in ComfyUI's input folder"),
        ("../secret.txt", "outside"),
        ("/etc/secret.txt", "outside"),
        ("link.txt", "outside"),
        ("blank.txt", "blank.txt holds no prompt"),
        ("latin.txt", "latin.txt is not UTF-8 .byte 3 is 0xe9"),
    ],
)
def test_bad_prompts_are_refused_before_and_while_running(
    profile_node, clip, folders, prompts, message
):
    (folders / "secret.txt").write_text("do not read", encoding="utf-8")
    (folders / "input" / "link.txt").symlink_to(folders / "secret.txt")
    (folders / "input" / "blank.txt").write_text("\n  \n", encoding="utf-8")
    (folders / "input" / "latin.txt").write_bytes("café".encode("latin-1"))
    said = profile_node.validate_inputs(prompts=prompts)
    assert isinstance(said, str) and re.search(message, said)
    with pytest.raises(ValueError, match=message):
        run(profile_node, clip=clip, prompts=prompts)
    assert not written(folders)


def test_an_interrupted_run_leaves_no_file(profile_node, clip, folders, monkeypatch):
    import comfy.model_management
    import comfy.utils

    seen = []

    def after_two(self, value):
        seen.append(value)
        if len(seen) == 2:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils.ProgressBar, "update", after_two)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run(profile_node, clip=clip, prompts="\n".join(PROMPTS))
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert len(seen) == 2 and not written(folders)


def test_a_full_disk_leaves_no_file(profile_node, clip, folders, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run(profile_node, clip=clip, prompts="a fox")
    assert not written(folders)


def test_progress_counts_prompts_and_each_prompt_is_one_pass(
    profile_node, clip, folders, monkeypatch
):
    import comfy.utils
    from zimage_layer_lab.core.encoder.capture import find_decoder

    decoder = find_decoder(clip.cond_stage_model.qwen3_4b.transformer)
    steps, passes = [], []
    monkeypatch.setattr(
        comfy.utils.ProgressBar, "update", lambda self, value: steps.append((value, self.total))
    )
    handle = decoder.layers[7].register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        run(profile_node, clip=clip, prompts="\n".join(PROMPTS))
    finally:
        handle.remove()
    assert steps == [(1, 3)] * 3 and len(passes) == 3


def test_it_shows_the_picture_and_logs_nothing(profile_node, clip, folders, caplog):
    with caplog.at_level(logging.WARNING):
        shown = output(profile_node, clip=clip, prompts="中文 🦊 $x$").ui
    assert shown["images"][0]["type"] == "temp"
    assert not [entry for entry in caplog.records if "Glyph" in entry.message]


def test_bad_thresholds_and_wrong_clips_are_refused(profile_node, clip, folders):
    from types import SimpleNamespace

    for threshold in (float("nan"), 0.0):
        assert "threshold" in profile_node.validate_inputs(prompts="a", threshold=threshold)
        with pytest.raises(ValueError, match="threshold"):
            run(profile_node, clip=clip, prompts="a", threshold=threshold)
    other = SimpleNamespace(cond_stage_model=None, tokenizer=None)
    with pytest.raises(ValueError, match="cannot be used"):
        run(profile_node, clip=other, prompts="a")
    assert not written(folders)
