"""The files of a profile, and what the page's script is given."""

import base64
import dataclasses
import json

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli.profile.findings import layer_finding, sink_finding
from zimage_layer_lab.cli.profile.report import (
    LAYER_COLUMNS,
    layer_row,
    outliers_of,
    outliers_say,
    shown_layers,
    write_profile,
)
from zimage_layer_lab.cli.show.html_report import heat_map_data
from zimage_layer_lab.core.measure.reference import (
    load_reference,
    reference_from_stats,
    save_reference,
)
from zimage_layer_lab.core.outliers.table import OUTLIER_COLUMNS
from zimage_layer_lab.core.profile.heat_map import heat_map
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from ...oracles.pages import ReadPage
from ...oracles.profiles import hand_outlier, hand_profile


def made_up_states():
    """The three hidden states of two prompts; dimension 3 is loud at the first token of each."""
    generator = torch.Generator().manual_seed(0)
    for length in (5, 30):
        states = [torch.randn(length, 8, generator=generator) for _ in range(3)]
        states[1][0, 3] = 500.0
        yield states


def made_up():
    stats = ProfileStats(2, 8)
    for states in made_up_states():
        stats.update(dict(enumerate(states)))
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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What write_profile drew, and its page: of made_up(), of which dimension 3 is loud."""
    out = tmp_path_factory.mktemp("profile")
    stats = made_up()
    profile = dataclasses.replace(summarise(stats, "a model", 4.0), model="a model")
    write_profile(out, stats, profile, text_of, {"model": "a model", "command": "layerlab x"})
    return profile, ReadPage((out / "report.html").read_text(encoding="utf-8"))


def test_the_head_of_the_page_counts_what_was_measured(written):
    _, page = written
    assert page.say("title") == page.say("h1") == ["Hidden states of a model"]
    assert page.say("p")[0] == "2 blocks, width 8; 2 prompts, 35 tokens"


def test_the_findings_come_first_and_are_the_profiles_own(written):
    profile, page = written
    found = [layer_finding(profile, layer, text_of) for layer in shown_layers(profile)]
    assert page.say("p")[1 : len(found) + 2] == [*found, sink_finding(profile)]
    assert profile.layers[1].outliers, "else there is nothing to find"


def test_every_picture_and_table_stands_under_its_heading(written):
    _, page = written
    assert page.say("h2") == ["Layers", "Every layer, every dimension", "Outliers", "Provenance"]
    assert page.say("img") == ["Layers", "Outliers"]
    assert [table.section for table in page.tables] == ["Layers", "Outliers", "Provenance"]
    assert page.tables[-1].rows == [["model", "a model"], ["command", "layerlab x"]]
    assert [table.prose for table in page.tables] == [False, False, True]


@pytest.mark.parametrize(
    ("section", "columns"), [("Layers", LAYER_COLUMNS), ("Outliers", OUTLIER_COLUMNS)]
)
def test_before_a_table_stands_what_each_of_its_columns_means(written, section, columns):
    _, page = written
    blocks = page.section(section)
    before = blocks[: [tag for tag, _ in blocks].index("table")]
    assert [said for tag, said in before if tag == "dt"] == list(columns)
    assert [said for tag, said in before if tag == "dd"] == list(columns.values())
    assert all(len(meaning) > 15 for meaning in columns.values())
    [table] = [table for table in page.tables if table.section == section]
    assert table.header == list(columns)
    terms = [tag for tag, _ in before].index("dt")
    assert before[terms - 1][0] == "p", "the sentence comes before the columns"


def test_the_outliers_sentence_says_what_puts_a_dimension_there(written):
    profile, page = written
    sentence = (
        "Each row is a dimension that is out of line: its std over all tokens is more than 4 times "
        "the median std of its layer's dimensions (the reference), or less than 1/4 of it; the "
        "farthest comes first."
    )
    assert sentence in page.say("p")
    assert outliers_say(dataclasses.replace(profile, threshold=10.0)) == sentence.replace("4", "10")


def test_the_table_of_layers_has_every_layers_own_figures(written):
    profile, page = written
    table = page.tables[0]
    values = [torch.cat(states).double().numpy() for states in zip(*made_up_states(), strict=True)]
    for row, layer, x in zip(table.rows, profile.layers, values, strict=True):
        cells = dict(zip(table.header, row, strict=True))
        assert cells["hidden state"] == str(layer.index)
        assert cells["layer"] == ("-1 (normed)" if layer.index == 2 else str(layer.index - 3))
        assert float(cells["max |x|"]) == pytest.approx(np.abs(x).max(), rel=1e-4)
        assert float(cells["median |x|"]) == pytest.approx(np.median(np.abs(x)), rel=0.01)
        assert float(cells["std"]) == pytest.approx(x.std(ddof=1), rel=1e-3)
        assert cells["out of line"] == ("1" if layer.index == 1 else "0")
        assert cells["massive (Sun et al.)"] == "0"


def test_one_layer_in_words():
    outliers = {3: [hand_outlier(1), hand_outlier(2)]}
    profile = hand_profile([1, 2, 3, 9000, 5], [1, 2, 3, 4, 5], outliers=outliers, massive={3: [4]})
    expected = ("3", "-2", "4", "9000", "2250", "5", "4", "2", "1")
    assert layer_row(profile.layers[3]) == expected
    assert layer_row(profile.layers[4])[:2] == ("4", "-1 (normed)")
    silent = hand_profile([0.0, 1.0], [0.0, 1.0])
    assert layer_row(silent.layers[0])[4] == "-"


def test_the_shown_layers_are_2_and_6_or_the_deepest():
    def numbers(profile):
        return [layer.layer for layer in shown_layers(profile)]

    assert numbers(hand_profile([1.0] * 9)) == [-2, -6]
    assert numbers(hand_profile([1.0] * 4)) == [-2]
    assert numbers(hand_profile([1.0] * 3, blocks=20, first=5)) == [-15, -14]
    assert numbers(hand_profile([1.0], blocks=4, first=4)) == [-1]


def test_the_table_of_outliers_has_the_dimension_that_was_made_loud(written):
    profile, page = written
    [table] = [table for table in page.tables if table.section == "Outliers"]
    assert table.caption == "layer -2" and len(table.rows) == 1
    cells = dict(zip(table.header, table.rows[0], strict=True))
    states = [of_prompt[1].double().numpy() for of_prompt in made_up_states()]
    x = np.concatenate(states)
    std, bare = x.std(0, ddof=1), np.concatenate([one[1:] for one in states])[:, 3].std(ddof=1)
    assert cells["dim"] == "3"
    assert cells["std (no sinks)"] == f"{std[3]:.4g} ({bare:.4g})"
    assert float(cells["reference"]) == pytest.approx(np.median(std), rel=1e-3)
    assert float(cells["ratio (no sinks)"].split()[0]) == pytest.approx(
        std[3] / np.median(std), rel=1e-3
    )
    assert float(cells["inverse (no sinks)"].split()[0]) == pytest.approx(
        np.median(std) / std[3], rel=1e-3
    )
    share = sum((one[0, 3] - x[:, 3].mean()) ** 2 for one in states)
    share /= ((x[:, 3] - x[:, 3].mean()) ** 2).sum()
    assert cells["sinks carry"] == f"{share:.1%}"
    assert cells["class"] == "loud, sink-borne"
    assert cells["carried by"] == f"position 0: {share:.1%}"


def test_of_many_outliers_the_first_are_shown_and_the_others_counted():
    found = [hand_outlier(number, 5000.0 - number) for number in range(30)]
    [layer] = hand_profile([9.0], blocks=4, first=3, outliers={3: found}).layers
    table = outliers_of(layer, text_of)
    assert [row[0] for row in table.rows] == [str(number) for number in range(24)]
    caption = "layer -2: the first 24 of 30 dimensions; profile.json has them all"
    assert table.caption == caption
    [few] = hand_profile([9.0], blocks=4, first=3, outliers={3: found[:24]}).layers
    assert (
        outliers_of(few, text_of).caption == "layer -2"
        and len(outliers_of(few, text_of).rows) == 24
    )
