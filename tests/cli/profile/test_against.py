"""``layerlab profile --reference``: what is out of line with another model, and that it is said."""

import html
import json
import re

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli.profile import meter as profile_meter
from zimage_layer_lab.cli.profile.against import reference_notes
from zimage_layer_lab.cli.profile.findings import layer_finding
from zimage_layer_lab.core.measure.carriers import Carried
from zimage_layer_lab.core.measure.dimension_stats import Place
from zimage_layer_lab.core.measure.reference import Reference, load_reference, save_reference
from zimage_layer_lab.core.outliers.detection import Outlier
from zimage_layer_lab.core.profile.profile import LayerProfile, Profile, ProfileStats, summarise

MODEL = {"model": "qwen_3_4b", "layer": "-2", "fingerprint": "0123"}


def reference(std, sinks_apart=True, **provenance):
    std = torch.as_tensor(std, dtype=torch.float64)
    bare = (torch.zeros_like(std), std) if sinks_apart else (None, None)
    return Reference(torch.zeros_like(std), std, 0.0, 1.0, *bare, {**MODEL, **provenance})


def made_up(sink=False):
    stats = ProfileStats(3, 16)
    generator = torch.Generator().manual_seed(0)
    states = {index: torch.randn(40, 16, generator=generator) for index in range(4)}
    if sink:
        states[2][0, 5] = 3000.0
    stats.update(states)
    return stats


def test_the_notes_say_whose_reference_it_is_and_of_which_layer():
    stats = made_up()
    profile = summarise(stats, "qwen3vl_4b", reference=reference(torch.ones(16)))
    assert reference_notes(profile, stats, "4567") == [
        "Dimensions are out of line by their std against qwen_3_4b at layer -2, not against the "
        "median std of their layer.",
        "Measured against qwen_3_4b at -2: another model (fingerprint 0123; these states are of "
        "qwen3vl_4b, fingerprint 4567).",
        "The reference is of layer -2, and measured against it are the layers -4, -3, -1 too.",
    ]
    one = ProfileStats(3, 16, (2,))
    one.update({2: torch.randn(9, 16)})
    same = summarise(one, "qwen_3_4b", reference=reference(torch.ones(16)))
    assert reference_notes(same, one, "0123") == [
        "Dimensions are out of line by their std against qwen_3_4b at layer -2, not against the "
        "median std of their layer."
    ]
    other = summarise(one, "qwen_3_4b", reference=reference(torch.ones(16), layer="-6"))
    assert reference_notes(other, one, "0123")[1:] == [
        "The reference is of layer -6, and measured against it is layer -2 too."
    ]
    assert reference_notes(summarise(stats, "m"), stats, "0123") == []


def test_a_reference_without_sink_free_figures_is_said_where_there_are_sinks():
    stats = made_up(sink=True)
    blind = reference(torch.ones(16), sinks_apart=False, layer="-1")
    notes = reference_notes(summarise(stats, "m", reference=blind), stats, "0123")
    assert (
        "The reference has no statistics without sink tokens: both views are measured against "
        "those that include them."
    ) in notes


@pytest.mark.parametrize(
    ("ratio", "direction", "words"),
    [
        (1 / 617.9, "quiet", "617.9x quieter, measured against qwen_3_4b at layer -2."),
        (42.04, "loud", "42.0x louder, measured against qwen_3_4b at layer -2."),
    ],
)
def test_a_finding_names_what_it_is_measured_against(ratio, direction, words):
    top = Outlier(
        396, 1.5, 1.5, 1.5 / ratio, ratio, ratio, ratio, direction, 0.0, "channel-wide",
        Place(0, 4), 0.1,
    )  # fmt: skip
    carried = (Carried((), 0.0, (), ()),)
    against = reference(torch.ones(16))
    profile = Profile("m", 36, 16, 3, 99, 10.0, None, None, (), (), reference=against)
    layer = LayerProfile(-2, 35, False, 1.0, 9.0, 2.0, 2.0, (top,), (), 0, carried)
    said = layer_finding(profile, layer, str)
    assert said.startswith(f"Layer -2: dimension 396 has a std of 1.5, {words} ")
    quiet = LayerProfile(-2, 35, False, 1.0, 9.0, 2.0, 2.0, (), (), 0)
    said = layer_finding(profile, quiet, str)
    assert said == "Layer -2: no dimension is 10x out of line with qwen_3_4b at layer -2."


@pytest.fixture(scope="module")
def run(tiny_model, prompt_file, tmp_path_factory):
    """(folder, reference's std, console): layers -2 and -3 of a tiny model against a reference."""
    from zimage_layer_lab.cli import main

    base = tmp_path_factory.mktemp("against")
    plain = ["profile", tiny_model(), "--prompts", prompt_file, "--layers=-2,-3"]
    assert main([*map(str, plain), "--out", str(base / "plain")]) == 0
    own = {
        layer: load_reference(base / f"plain/reference_{layer}.safetensors") for layer in (-2, -3)
    }
    std = own[-2].std.clone()
    std[5] *= 617.9  # So these states are 617.9 times quieter there, and 42 times louder in 9.
    std[9] /= 42.0
    save_reference(reference(std), base / "other.safetensors")
    arguments = [*plain, "--reference", base / "other.safetensors", "--out", base / "out"]
    assert main([*map(str, arguments)]) == 0
    return base, own, std


def test_the_outliers_are_those_of_the_ratio_to_the_reference(run):
    base, own, std = run
    profile = json.loads((base / "out/profile.json").read_text(encoding="utf-8"))
    for layer in profile["layers"]:
        ratios = (own[layer["layer"]].std / std).numpy()
        found = {one["dimension"]: one for one in layer["outliers"]}
        assert set(found) == set(np.flatnonzero((ratios > 10) | (ratios < 0.1)).tolist())
        for dimension, one in found.items():
            assert one["ratio"] == pytest.approx(ratios[dimension], rel=1e-6)
            assert one["reference_std"] == float(std[dimension])
            assert one["direction"] == ("loud" if ratios[dimension] > 1 else "quiet")
        assert {5, 9} <= set(found)
    assert profile["layers"][-1]["layer"] == -2 and set(found) == {5, 9}
    assert found[5]["ratio"] == pytest.approx(1 / 617.9, rel=1e-6)


def test_profile_json_says_which_reference(run):
    base, _, _ = run
    profile = json.loads((base / "out/profile.json").read_text(encoding="utf-8"))
    assert profile["reference"] == {"name": "qwen_3_4b at layer -2", "provenance": MODEL}
    plain = json.loads((base / "plain/profile.json").read_text(encoding="utf-8"))
    assert plain["reference"] is None
    for key in ("layers", "reference"):
        profile.pop(key), plain.pop(key)
    assert profile == plain, "nothing else depends on it"
    for layer in (-2, -3):
        first, second = (
            load_reference(base / folder / f"reference_{layer}.safetensors")
            for folder in ("plain", "out")
        )
        assert torch.equal(first.std, second.std)


def test_the_page_says_it_in_its_headline_and_tables(run):
    base, _, _ = run
    page = html.unescape((base / "out/report.html").read_text(encoding="utf-8"))
    said = " ".join(page.split())
    assert "Dimensions are out of line by their std against qwen_3_4b at layer -2, not" in said
    assert "Measured against qwen_3_4b at -2: another model (fingerprint 0123; these" in said
    assert "The reference is of layer -2, and measured against it is layer -3 too." in said
    assert (
        "its std over all tokens is more than 10 times that of the same dimension of the reference "
        "(qwen_3_4b at layer -2: another model), or less than 1/10 of it; the farthest comes first."
    ) in said
    assert (
        "dimensions whose std is far from that of the same dimension of qwen_3_4b at layer -2: "
        "another model"
    ) in said
    captions = re.findall(r"layer (-\d) against qwen_3_4b at layer -2: another model<", said)
    assert captions == ["-2"], "the one layer whose outliers are shown"
    assert "Layer -2: dimension 5 has a std of" in said
    assert "617.9x quieter, measured against qwen_3_4b at layer -2." in said
    plain = html.unescape((base / "plain/report.html").read_text(encoding="utf-8"))
    assert "against qwen_3_4b" not in plain


def test_the_console_says_it_too(run, tiny_model, prompt_file, tmp_path, layerlab):
    base, _, std = run
    np.savez(
        tmp_path / "theirs.npz", per_dim_mean=std.numpy(), per_dim_std=std.numpy(), global_mean=0.0,
        global_std=1.0,
    )  # fmt: skip
    words = ("--prompts", prompt_file, "--layers=-2", "--out", tmp_path / "out")
    status, out, _ = layerlab(
        "profile", tiny_model(), *words, "--reference", base / "other.safetensors"
    )
    assert status == 0
    assert "Measured against qwen_3_4b at -2: another model (fingerprint 0123; these states" in out
    assert "617.9x quieter, measured against qwen_3_4b at layer -2." in out
    status, out, _ = layerlab(
        "profile", tiny_model(), *words, "--reference", tmp_path / "theirs.npz"
    )
    assert status == 0 and "617.9x quieter, measured against theirs." in out


def test_a_width_that_does_not_fit_is_refused_before_the_model_is_loaded(
    tiny_model, prompt_file, tmp_path, layerlab, monkeypatch
):
    def load(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(profile_meter, "load_decoder", load)
    save_reference(reference(torch.ones(64)), tmp_path / "wide.safetensors")
    status, _, err = layerlab(
        *("profile", tiny_model(), "--prompts", prompt_file, "--out", tmp_path / "out"),
        *("--reference", tmp_path / "wide.safetensors"),
    )
    assert status == 1 and not (tmp_path / "out").exists()
    assert err == (
        "layerlab profile: --reference: the reference (qwen_3_4b at layer -2) has 64 dimensions "
        "and the states have 32: they cannot be measured against each other; choose a reference "
        "of 32 dimensions, or none"
    )


def test_a_reference_that_the_run_would_overwrite_is_kept(run, tiny_model, prompt_file, layerlab):
    base, _, _ = run
    path = base / "plain" / "reference_-2.safetensors"
    before = path.read_bytes()
    status, _, err = layerlab(
        *("profile", tiny_model(), "--prompts", prompt_file, "--out", base / "plain"),
        *("--reference", path),
    )
    assert status == 1 and "lies in --out" in err and "give another --out" in err
    assert path.read_bytes() == before
