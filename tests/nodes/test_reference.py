"""Build, Save and Load Reference Stats in a real ComfyUI, and their use by the other nodes."""

import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from zimage_layer_lab.core.shipped import PUBLISHED_REFERENCE

from .stock import output, record, run, states

PROMPTS = ["a red fox", "雪中的竹林", "three wooden boats at dusk in the rain"]
LAYER = -4
SHIPPED = "Qwen3-4B at layer -2, published figures [shipped]"


@pytest.fixture(scope="module")
def lab(host):
    from zimage_layer_lab.nodes import outliers, reference

    return reference, outliers.OutlierReport


@pytest.fixture(scope="module")
def built(clip, lab):
    with torch.inference_mode():
        inputs = {"clip": clip, "prompts": "\n".join(PROMPTS), "layer": LAYER}
        return run(lab[0].BuildReference, **inputs)[0]


@contextmanager
def another_encoder(clip):
    """The same encoder with other norm weights for a while: another fine-tune."""
    from zimage_layer_lab.core.encoder.capture import find_decoder

    norm = find_decoder(clip.cond_stage_model.qwen3_4b.transformer).norm
    kept = norm.weight
    norm.weight = torch.nn.Parameter(kept * 1.5, requires_grad=False)
    try:
        yield clip
    finally:
        norm.weight = kept


def test_a_built_reference_equals_numpy(clip, pack, built):
    encodings = [run(pack.Qwen3Encode, clip=clip, text=text, layer=LAYER)[0] for text in PROMPTS]
    x = np.concatenate([states(encoding)[0].double().numpy() for encoding in encodings])
    assert np.allclose(built.mean.numpy(), x.mean(axis=0), rtol=1e-9, atol=1e-9)
    assert np.allclose(built.std.numpy(), x.std(axis=0, ddof=1), rtol=1e-9)
    assert built.global_std == pytest.approx(x.std(ddof=1), rel=1e-9)
    known = built.provenance
    assert known["fingerprint"] == record(encodings[0]).fingerprint != ""
    assert known["model"] == record(encodings[0]).source
    assert (known["layer"], known["prompts"]) == ("-4", "3")
    assert known["tokens"] == str(len(x)) and known["dtype"] == "float32"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", known["date"])
    assert known["command"] == "Build Reference Stats"


def test_sink_tokens_are_told_apart(clip, lab):
    from zimage_layer_lab.core.encoder.capture import find_decoder

    layers = find_decoder(clip.cond_stage_model.qwen3_4b.transformer).layers

    def put(module, args, kwargs):
        (args[0] if args else kwargs["x"])[:, 0, 396] = 1e5

    place = layers[4].register_forward_pre_hook(put, with_kwargs=True, prepend=True)
    try:
        prompts = "\n".join(PROMPTS)
        [reference] = run(lab[0].BuildReference, clip=clip, prompts=prompts, layer=5)
    finally:
        place.remove()
    assert float(reference.std[396]) > 1e4 > 100 > float(reference.std_without_sinks[396])
    assert reference.provenance["sink_tokens"] == "3"


def test_build_save_load_and_use(clip, pack, lab, folders, built):
    nodes, report_node = lab
    shown = output(nodes.SaveReference, reference=built).ui["text"][0]
    path = folders / "output" / "layer_lab" / "reference_00001_.safetensors"
    assert path.is_file() and "layer_lab/reference_00001_.safetensors" in shown
    with safe_open(path, framework="pt") as file:
        assert "Build Reference Stats" in file.metadata()["provenance"]
    run(nodes.SaveReference, reference=built)
    [first, second] = nodes.reference_names()
    assert first == "layer_lab/reference_00001_.safetensors [output]"
    assert second == "layer_lab/reference_00002_.safetensors [output]"
    assert nodes.LoadReference.define_schema().inputs[0].options == [SHIPPED, first, second]
    [loaded] = run(nodes.LoadReference, name=first)
    for name in ("mean", "std", "mean_without_sinks", "std_without_sinks"):
        assert torch.equal(getattr(loaded, name), getattr(built, name))
    assert dict(loaded.provenance) == dict(built.provenance)

    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=LAYER)
    masked, said = run(pack.OutlierMask, conditioning=encoding, reference=loaded, threshold=1.2)
    assert f"against {built.name}" in said and "qwen_3_4b" in built.name
    x = states(encoding)[0].double().numpy()
    loud = x.std(axis=0, ddof=1) > 1.2 * built.std.numpy()
    assert 0 < loud.sum() < 2560
    assert np.array_equal((states(masked)[0] == 0).all(0).numpy(), loud)
    _, said = run(report_node, conditioning=encoding, reference=loaded)
    assert f"measured against {built.name}" in said


def test_without_any_file_the_shipped_figures_are_what_is_chosen(lab, folders):
    nodes, report_node = lab
    [name, any_model] = nodes.LoadReference.define_schema().inputs
    assert name.options == [SHIPPED] and not name.default and any_model.advanced
    assert nodes.LoadReference.validate_inputs(name=SHIPPED) is True
    answer = output(nodes.LoadReference, name=SHIPPED)
    facts = json.loads(PUBLISHED_REFERENCE.read_text(encoding="utf-8"))
    [reference] = answer.args
    assert {int(d): float(reference.std[int(d)]) for d in facts["std"]} == {
        int(d): value for d, value in facts["std"].items()
    }
    assert answer.ui["text"][0].startswith("Qwen3-4B at layer -2 (published figures")
    known = nodes.LoadReference.fingerprint_inputs(name=SHIPPED)
    assert known == hashlib.sha256(PUBLISHED_REFERENCE.read_bytes()).hexdigest()
    hidden = torch.randn(1, 20, 2560, generator=torch.Generator().manual_seed(3))
    _, said = run(report_node, conditioning=[[hidden, {}]], reference=reference)
    assert "measured against Qwen3-4B at layer -2" in said


@pytest.mark.parametrize("any_model", [False, True])
def test_a_reference_of_another_model_is_accepted_and_said(
    clip, pack, lab, folders, built, any_model
):
    """In every report, whichever way ``any_model`` stands in an old workflow."""
    nodes, report_node = lab
    run(nodes.SaveReference, reference=built, filename_prefix="mine")
    [name] = nodes.reference_names()
    with another_encoder(clip):
        encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=LAYER)
    other = record(encoding)
    assert other.fingerprint != built.provenance["fingerprint"]
    own = built.provenance["fingerprint"]
    assert other.source == built.provenance["model"], "a file that was replaced by another"
    [loaded] = run(nodes.LoadReference, name=name, any_model=any_model)
    for node in (pack.OutlierMask, report_node):
        header, remark, *_ = run(node, conditioning=encoding, reference=loaded)[-1].split("\n")
        assert header.endswith(f"against {built.name}")
        assert remark == (
            f"measured against {other.source} at {LAYER}: another model (fingerprint {own}; these "
            f"states are of {other.source}, fingerprint {other.fingerprint})"
        )


@pytest.mark.parametrize("foreign", [False, True])
def test_the_picture_says_whose_reference_it_is(clip, pack, lab, built, monkeypatch, foreign):
    from zimage_layer_lab.core.draw import outlier_picture

    figures, to_pixels = [], outlier_picture.to_pixels
    monkeypatch.setattr(
        outlier_picture, "to_pixels", lambda figure: figures.append(figure) or to_pixels(figure)
    )
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=LAYER)
    known = {**built.provenance, **({"fingerprint": "0123abcd"} if foreign else {})}
    run(lab[1], conditioning=encoding, reference=replace(built, provenance=known))
    title = " ".join(figures[0].axes[0].get_title("left").split())
    ending = ": another model" if foreign else ""
    assert title == f"Std of every dimension, against {built.name}{ending}"


def test_a_reference_of_the_states_own_model_is_not_remarked_on(clip, pack, lab, built):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=LAYER)
    for node in (pack.OutlierMask, lab[1]):
        assert "another model" not in run(node, conditioning=encoding, reference=built)[-1]


def test_only_a_width_that_cannot_fit_is_refused(pack, lab, built):
    for node in (pack.OutlierMask, lab[1]):
        with pytest.raises(ValueError, match="2560 dimensions and the states have 64: .* or none"):
            run(node, conditioning=[[torch.randn(1, 9, 64), {}]], reference=built)


def test_the_shipped_corpus_is_used_where_no_prompt_is_given(lab, clip, monkeypatch):
    nodes, _ = lab
    seen = []
    encode_each = nodes.encode_each

    def first_three(clip, prompts, layers):
        seen.extend(prompts)
        return encode_each(clip, prompts[:3], layers)

    monkeypatch.setattr(nodes, "encode_each", first_three)
    [reference] = run(nodes.BuildReference, clip=clip, prompts=" \n", layer=2)
    assert len(seen) >= 120 and all(seen)
    assert reference.provenance["prompts"] == str(len(seen))
    assert "corpus" in reference.provenance["note"]
    assert reference.provenance["layer"] == "-7"


def test_prompts_may_come_from_a_file(lab, clip, folders, built):
    nodes, _ = lab
    (folders / "input" / "mine.txt").write_text("\n".join(PROMPTS), encoding="utf-8")
    [reference] = run(nodes.BuildReference, clip=clip, prompts="mine.txt", layer=LAYER)
    assert torch.equal(reference.std, built.std)
    assert "mine.txt" in reference.provenance["note"]


def test_building_is_interruptible_and_counts_prompts(lab, clip, monkeypatch):
    import comfy.model_management
    import comfy.utils

    steps = []

    def stop_after_one(self, value):
        steps.append(self.total)
        comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils.ProgressBar, "update", stop_after_one)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            run(lab[0].BuildReference, clip=clip, prompts="\n".join(PROMPTS), layer=1)
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert steps == [3]


def test_bad_inputs_of_build_are_refused(lab, clip, folders):
    node = lab[0].BuildReference
    assert node.validate_inputs(prompts="", layer=-2) is True
    assert "layer 99" in node.validate_inputs(prompts="", layer=99)
    assert "missing.txt" in node.validate_inputs(prompts="missing.txt", layer=-2)
    with pytest.raises(ValueError, match="layer 30 does not exist.*8 blocks"):
        run(node, clip=clip, prompts="a fox", layer=30)


@pytest.mark.parametrize(
    "prefix", ["../escape", "/tmp/escape", "a/../../escape", "", ".", "link/x"]
)
def test_saving_outside_the_output_folder_is_refused(lab, folders, built, prefix):
    (folders / "elsewhere").mkdir()
    (folders / "output" / "link").symlink_to(folders / "elsewhere")
    with pytest.raises(ValueError, match="output folder"):
        run(lab[0].SaveReference, reference=built, filename_prefix=prefix)
    assert not [path for path in folders.rglob("*") if path.is_file()]


def test_a_failed_save_leaves_no_file(lab, folders, built, monkeypatch):
    import zimage_layer_lab.core.measure.reference as core

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(core, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        run(lab[0].SaveReference, reference=built)
    assert not [path for path in folders.rglob("*") if path.is_file()]


def npz(path: Path, width: int = 2560) -> None:
    """A reference as llm-dit writes it."""
    np.savez(
        path,
        per_dim_mean=np.zeros(width, dtype=np.float32),
        per_dim_std=np.ones(width, dtype=np.float32),
        global_mean=np.float32(0.0),
        global_std=np.float32(1.0),
    )


def test_only_references_are_offered_and_llm_dits_files_load(lab, folders, built):
    from safetensors.torch import save_file

    nodes, _ = lab
    (folders / "input" / "deep" / "er").mkdir(parents=True)
    npz(folders / "input" / "deep" / "er" / "stats.npz")
    np.savez(folders / "input" / "other.npz", x=np.zeros(3))
    (folders / "input" / "broken.safetensors").write_bytes(b"no header")
    (folders / "input" / "broken.npz").write_bytes(b"no zip")
    save_file({"x": torch.zeros(2)}, folders / "output" / "lora.safetensors")
    npz(folders / "outside.npz")
    (folders / "input" / "link.npz").symlink_to(folders / "outside.npz")
    run(nodes.SaveReference, reference=built, filename_prefix="a/b")
    assert nodes.reference_names() == [
        "a/b_00001_.safetensors [output]",
        "deep/er/stats.npz [input]",
    ]
    [loaded] = run(nodes.LoadReference, name="deep/er/stats.npz [input]")
    assert float(loaded.std.max()) == 1.0 and "stats" in loaded.name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../secret.npz [output]", "outside"),
        ("../secret.npz", "outside"),
        ("/etc/secret.npz [input]", "outside"),
        ("secret.npz [temp]", "outside"),
        ("gone.npz [output]", "does not exist"),
        ("notes.txt [input]", "no reference file"),
        ("", "no reference file"),
    ],
)
def test_bad_names_are_refused_before_and_while_running(lab, folders, name, message):
    nodes, _ = lab
    npz(folders / "secret.npz")
    (folders / "input" / "notes.txt").write_text("x", encoding="utf-8")
    said = nodes.LoadReference.validate_inputs(name=name)
    assert isinstance(said, str) and message in said
    with pytest.raises(ValueError, match=message):
        run(nodes.LoadReference, name=name)


def test_a_file_that_is_no_reference_says_so(lab, folders):
    nodes, _ = lab
    (folders / "input" / "broken.safetensors").write_bytes(b"no header")
    name = "broken.safetensors [input]"
    assert nodes.LoadReference.validate_inputs(name=name) is True
    assert nodes.LoadReference.validate_inputs(name=None) is True
    with pytest.raises(ValueError, match="broken.safetensors cannot be read"):
        run(nodes.LoadReference, name=name)


def test_a_changed_file_is_read_again(lab, folders):
    nodes, _ = lab
    path = folders / "input" / "stats.npz"
    npz(path)
    before = nodes.LoadReference.fingerprint_inputs(name="stats.npz [input]", any_model=False)
    assert before == nodes.LoadReference.fingerprint_inputs(name="stats.npz [input]")
    npz(path, width=64)
    assert nodes.LoadReference.fingerprint_inputs(name="stats.npz [input]") != before
    linked = nodes.LoadReference.fingerprint_inputs(name=None)
    assert linked != linked
