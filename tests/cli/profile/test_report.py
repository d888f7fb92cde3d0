"""The files of a profile, and what the page's script is given."""

import base64
import json

import numpy as np
import torch
from zimage_layer_lab.cli.profile.report import write_profile
from zimage_layer_lab.cli.show.html_report import heat_map_data
from zimage_layer_lab.core.measure.reference import (
    load_reference,
    reference_from_stats,
    save_reference,
)
from zimage_layer_lab.core.profile.heat_map import heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise


def made_up():
    stats = ProfileStats(2, 8)
    generator = torch.Generator().manual_seed(0)
    for length in (5, 30):
        states = {i: torch.randn(length, 8, generator=generator) for i in range(3)}
        states[1][0, 3] = 500.0
        stats.update(states)
    return stats


def text_of(place):
    return f"</script> $x$ 狐 {place.prompt}.{place.position}"


def test_everything_is_written_and_readable(tmp_path):
    stats = made_up()
    paths = write_profile(
        tmp_path, stats, summarise(stats, "a <model>"), text_of, {"model": "a <model>"}
    )
    names = sorted(path.name for path in paths)
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "heat_map.png",
        "layers.png",
        "outliers.png",
        "profile.json",
        "reference_-1.safetensors",
        "reference_-2.safetensors",
        "reference_-3.safetensors",
        "report.html",
    ]
    reference = load_reference(tmp_path / "reference_-2.safetensors")
    assert torch.equal(reference.std, stats.dimensions[1].all.std)
    assert torch.equal(reference.std_without_sinks, stats.dimensions[1].without_sinks.std)
    assert dict(reference.provenance) == {"model": "a <model>", "layer": "-2"}
    json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a <model>" not in page and "a &lt;model&gt;" in page
    assert "</script> $x$" not in page, "a token's text must not end the page's script"
    assert "http://" not in page and "https://" not in page


def test_a_profile_of_one_layer_has_its_pictures_too(tmp_path):
    stats = ProfileStats(2, 8, indices=(1,))
    stats.update({1: torch.randn(6, 8)})
    write_profile(tmp_path, stats, summarise(stats, "m"), text_of, {})
    assert (tmp_path / "layers.png").stat().st_size > 1000


def test_the_script_gets_the_numbers_and_each_cells_token():
    stats = made_up()
    data = heat_map_data(heat_map(stats), 2, text_of)
    assert data["indices"] == [0, 1, 2] and data["width"] == 8
    largest = np.frombuffer(base64.b64decode(data["max_abs"]), "<f4").reshape(3, 8)
    assert largest[1, 3] == 500.0
    token = np.frombuffer(base64.b64decode(data["token"]), "<i4").reshape(3, 8)
    prompt, position, text = data["tokens"][token[1, 3]]
    assert (prompt, position) == (0, 0) and text == text_of(
        type("P", (), {"prompt": 0, "position": 0})
    )


def test_references_of_an_earlier_run_with_more_layers_are_removed(tmp_path):
    everything = made_up()
    ours = {"fingerprint": "0123456789abcdef"}
    write_profile(tmp_path, everything, summarise(everything, "m"), text_of, ours)
    others = tmp_path / "reference_-7.safetensors"
    save_reference(reference_from_stats(everything.dimensions[1], {"fingerprint": "f"}), others)
    kept = tmp_path / "reference_of_mine.safetensors"
    kept.write_bytes(b"precious")
    one = ProfileStats(2, 8, indices=(1,))
    one.update({1: torch.randn(6, 8)})
    write_profile(tmp_path, one, summarise(one, "m"), text_of, ours)
    assert {path.name for path in tmp_path.glob("reference_*")} == {
        "reference_-2.safetensors",
        others.name,
        kept.name,
    }
