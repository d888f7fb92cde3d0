"""``layerlab profile``: what it writes is true, and what it says is what it did."""

import json

import numpy as np
import pytest
from zimage_layer_lab import __version__
from zimage_layer_lab.cli.model.language_model import find_smollm2
from zimage_layer_lab.cli.profile import meter as profile_meter
from zimage_layer_lab.core.measure.reference import load_reference

PROMPTS = """\
a red bicycle leaning against a blue wall

水墨画，一只猫坐在窗台上看雨
A wide shot of a harbour at dawn: fishing boats, gulls, fog rolling in between the masts, and a \
lighthouse whose beam is the only warm light in the picture; 35 mm film, muted colours
cat
portrait of an old clockmaker, rembrandt lighting
a sign that says "OPEN 24/7", neon, rain-soaked street, reflections
"""


@pytest.fixture(scope="module")
def smollm2_profile(smollm2, tmp_path_factory, naive_states):
    """(folder written, states of every layer of every prompt by transformers alone)."""
    from zimage_layer_lab.cli import main

    base = tmp_path_factory.mktemp("smollm2")
    (base / "prompts.txt").write_text(PROMPTS, encoding="utf-8")
    arguments = [find_smollm2(), "--prompts", base / "prompts.txt", "--out", base / "out"]
    with pytest.MonkeyPatch.context() as patch:
        # The same weights, already in memory.
        patch.setattr(profile_meter, "load_decoder", lambda files, *options: smollm2)
        status = main(["profile", *map(str, arguments), "--batch-tokens", "150"])
    assert status == 0
    prompts = [line for line in PROMPTS.split("\n") if line]
    texts = [
        smollm2.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        for prompt in prompts
    ]
    ids = [smollm2.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return base / "out", naive_states(smollm2.model, ids), ids


def test_smollm2_equals_the_naive_computation_at_every_layer(smollm2_profile, naive_sinks):
    """Every figure of profile.json and every reference, from transformers and NumPy alone."""
    out, states, ids = smollm2_profile
    profile = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    assert profile["prompts"] == 6 and profile["tokens"] == sum(map(len, ids))
    assert len(profile["layers"]) == len(states) == 31
    for index, (of_prompts, layer) in enumerate(zip(states, profile["layers"], strict=True)):
        rows = np.concatenate(of_prompts)
        assert (layer["index"], layer["layer"]) == (index, index - 31)
        assert layer["max_abs"] == pytest.approx(np.abs(rows).max(), rel=1e-5)
        assert layer["median_abs"] == pytest.approx(np.median(np.abs(rows)), rel=2e-3)
        assert layer["std"] == pytest.approx(rows.std(ddof=1), rel=1e-5)
        bare = np.concatenate([np.delete(x, naive_sinks(x), axis=0) for x in of_prompts])
        assert layer["std_without_sinks"] == pytest.approx(bare.std(ddof=1), rel=1e-5)
        reference = load_reference(out / f"reference_{layer['layer']}.safetensors")
        np.testing.assert_allclose(reference.std, rows.std(0, ddof=1), rtol=2e-5)
        np.testing.assert_allclose(reference.mean, rows.mean(0), rtol=2e-4, atol=2e-4)
        np.testing.assert_allclose(reference.std_without_sinks, bare.std(0, ddof=1), rtol=2e-5)
        ratios = rows.std(0, ddof=1) / np.median(rows.std(0, ddof=1))
        found = {entry["dimension"] for entry in layer["outliers"]}
        assert found == set(np.flatnonzero((ratios > 10) | (ratios < 0.1)).tolist())


def test_smollm2s_massive_activation_is_found_and_named(smollm2_profile, naive_sinks, smollm2):
    out, states, ids = smollm2_profile
    profile = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    peaks = [max(np.abs(x).max() for x in of_prompts) for of_prompts in states[:-1]]
    assert profile["emergence_layer"] == int(np.argmax(np.diff(np.log(peaks)))) + 1
    settled = states[profile["emergence_layer"] + 1]
    assert profile["sink_positions"] == [naive_sinks(x) for x in settled] == [[0]] * 6
    layer = profile["layers"][-2]
    top = layer["outliers"][0]
    rows = np.concatenate(states[-2])
    assert top["dimension"] == int(rows.std(0).argmax()) == 507
    assert top["class"] == "sink-borne"
    token = top["top_token"]
    assert token["position"] == 0
    assert token["text"] == smollm2.tokenizer.decode([ids[token["prompt"]][0]])


def test_references_know_where_they_are_from(smollm2_profile, smollm2):
    from zimage_layer_lab.core.encoder.fingerprint import fingerprint

    out, _, ids = smollm2_profile
    known = load_reference(out / "reference_-6.safetensors").provenance
    assert known["model"] == smollm2.name and known["layer"] == "-6"
    assert known["fingerprint"] == fingerprint(smollm2.decoder)
    assert (known["prompts"], known["tokens"]) == ("6", str(sum(map(len, ids))))
    assert (known["dtype"], known["device"], known["blocks"]) == ("float32", "cpu", "30")
    assert known["chat_template"] == "model's own"
    assert known["prompt_file"].endswith("prompts.txt")


def test_the_folder_holds_every_file_and_nothing_else(smollm2_profile):
    out, _, _ = smollm2_profile
    names = {path.name for path in out.iterdir()}
    assert {"profile.json", "report.html"} <= names
    assert len([name for name in names if name.startswith("reference_")]) == 31
    assert {name.rpartition(".")[2] for name in names} == {"json", "html", "safetensors", "png"}


def test_what_it_is_doing_is_said(tiny_model, prompt_file, tmp_path, layerlab):
    model = tiny_model()
    status, out, err = layerlab(
        "profile", model, "--prompts", prompt_file, "--layers=-2,-3", "--out", tmp_path / "out"
    )
    assert (status, err) == (0, "")
    assert "tiny-llama: 4 blocks, width 32, fingerprint " in out and "; cpu, float32" in out
    assert "10 prompts, 162 tokens, in the model's own chat template" in out
    assert "10/10 prompts," in out and "tokens/s" in out and "report.html" in out
    profile = json.loads((tmp_path / "out" / "profile.json").read_text())
    assert [layer["layer"] for layer in profile["layers"]] == [-3, -2]
    assert sorted(p.name for p in (tmp_path / "out").glob("reference_*")) == [
        "reference_-2.safetensors",
        "reference_-3.safetensors",
    ]


def test_a_model_without_a_chat_template_gets_plain_text_and_says_so(
    tiny_model, prompt_file, tmp_path, layerlab
):
    status, out, _ = layerlab(
        "profile",
        tiny_model(template=False),
        *("--prompts", prompt_file, "--layers=-2", "--out", tmp_path, "--dtype", "bfloat16"),
    )
    assert status == 0
    assert out.count("no chat template") == 1 and "plain text" in out
    known = load_reference(tmp_path / "reference_-2.safetensors").provenance
    assert known["chat_template"] == "none" and known["dtype"] == "bfloat16"
    assert __version__ in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_same_arguments_give_the_same_profile(tiny_model, prompt_file, tmp_path, layerlab):
    for name in ("a", "b"):
        arguments = ["--prompts", prompt_file, "--batch-tokens", 50, "--out", tmp_path / name]
        assert layerlab("profile", tiny_model("qwen3"), *arguments)[0] == 0
    assert (tmp_path / "a/profile.json").read_bytes() == (tmp_path / "b/profile.json").read_bytes()
