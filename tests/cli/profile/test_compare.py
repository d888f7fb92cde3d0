"""layerlab compare, on profiles written by hand so that every word can be checked."""

import json
import re

import pytest
from zimage_layer_lab.cli import main


def layer(index, blocks=4, outliers=(), **figures):
    entry = {"median_abs": 1.0, "max_abs": 10.0, "std": 2.0, "std_without_sinks": 2.0, **figures}
    return {
        "layer": index - blocks - 1,
        "index": index,
        "normed": index == blocks,
        **entry,
        "outliers": [
            {"dimension": dimension, "ratio": ratio, "class": "sink-borne"}
            for dimension, ratio in outliers
        ],
    }


def write(path, width=32, tokens=100, emergence=2, layers=None):
    document = {
        "schema_version": 1,
        "model": {"name": path.stem, "blocks": 4, "width": width},
        "tokens": tokens,
        "prompts": 2,
        "sink_positions": [[0], [0, 5]],
        "emergence_layer": emergence,
        "fall_layer": 3,
        "layers": layers or [layer(i, outliers=[(7, 50.0)] if i == 3 else ()) for i in range(5)],
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def compare(tmp_path, *arguments):
    return main(["compare", *map(str, arguments), "--out", str(tmp_path / "out")])


def test_the_verdict_says_what_the_numbers_do(tmp_path, capsys):
    layers = [layer(i, outliers=[(7, 60.0), (9, 11.0)] if i == 3 else ()) for i in range(5)]
    layers[2]["std_without_sinks"] = 6.0
    a, b = write(tmp_path / "a.json"), write(tmp_path / "b.json", emergence=1, layers=layers)
    assert compare(tmp_path, a, b, "--layers", "-2,-3") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "A: sink tokens at position 0, 5 in 2 of 2 prompts" in said
    assert "hidden state 2 of 4 (50% of the depth)" in said
    assert "hidden state 1 of 4 (25% of the depth)" in said
    assert "1 and 2 dimensions are out of line (in both: 7; only in B: 9)" in said
    assert (
        "Without sink tokens, the std of all values differs most between layer -3 of A and layer "
        "-3 of B: 2 against 6, a factor of 3. 1 of the 2 pairs differ by a factor of 1.5 or more, "
        "the shallowest of them layer -3 of A and layer -3 of B."
    ) in said
    assert "different text" not in said
    assert (tmp_path / "out" / "compare.png").stat().st_size > 1000
    assert "differs most" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_two_layers_of_one_profile(tmp_path, capsys):
    """The widest difference is that of the layers chosen, whatever the others do."""
    layers = [layer(i, outliers=[(7, 50.0)] if i == 3 else ()) for i in range(5)]
    layers[3]["std_without_sinks"], layers[0]["std_without_sinks"] = 5.0, 90.0
    a = write(tmp_path / "a.json", layers=layers)
    assert compare(tmp_path, a, a, "--layers=-2", "--layers-b=-3") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Layer -2 of A against layer -3 of B: 1 and 0 dimensions" in said
    assert (
        "Without sink tokens, the std of all values at layer -2 of A and layer -3 of B is 5 "
        "against 2, a factor of 2.5."
    ) in said
    assert "differs most" not in said and "hidden state 0" not in said


def test_the_widest_difference_is_looked_for_among_the_pairs_that_were_chosen(tmp_path, capsys):
    layers = [layer(i, std_without_sinks=float(10 + i)) for i in range(5)]
    b = write(tmp_path / "b.json", width=64, layers=layers)
    a = write(tmp_path / "a.json", layers=[layer(i, std_without_sinks=10.0) for i in range(5)])
    assert compare(tmp_path, a, b, "--layers=-2..-4") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "differs most between layer -2 of A and layer -2 of B: 10 against 13, a factor of 1.3. "
        "None of the 3 pairs differs by a factor of 1.5."
    ) in said
    assert compare(tmp_path, a, b, "--layers=-1,-2", "--layers-b=-5,-1") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "between layer -2 of A and layer -1 of B: 10 against 14, a factor of 1.4." in said


def test_profiles_that_measured_against_different_references_are_said_to(tmp_path, capsys):
    a, b = write(tmp_path / "a.json"), write(tmp_path / "b.json")
    document = json.loads(b.read_text(encoding="utf-8"))
    document["reference"] = {"name": "qwen_3_4b at layer -2", "provenance": {}}
    b.write_text(json.dumps(document), encoding="utf-8")
    assert compare(tmp_path, a, b, "--layers=-2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "Dimensions of A are out of line with its layers' own medians, those of B with qwen_3_4b "
        "at layer -2: their numbers do not compare."
    ) in said
    document["reference"] = "some"
    b.write_text(json.dumps(document), encoding="utf-8")
    assert compare(tmp_path, a, b, "--layers=-2") == 1
    assert "reference is 'some'; profile the model again" in capsys.readouterr().err


def test_dimensions_of_different_widths_are_not_matched(tmp_path, capsys):
    a, b = write(tmp_path / "a.json"), write(tmp_path / "b.json", width=64, tokens=90)
    assert compare(tmp_path, a, b, "--layers", "-2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "different widths, so their numbers do not correspond" in said
    assert "different text" in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a profile"),
        ("[]", "schema_version None"),
        ('{"schema_version": 2}', "schema_version 2"),
        ('{"schema_version": 1, "layers": []}', "lacks"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, capsys, content, message):
    other = tmp_path / "other.json"
    other.write_text(content, encoding="utf-8")
    assert compare(tmp_path, write(tmp_path / "a.json"), other) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "-2,-60"], "layer -60 does not exist"),
        (["--layers", "-2..-60"], "layer -60 does not exist"),
        (["--layers", "two"], "no list of layers"),
        (["--layers", "-2,-3", "--layers-b", "-2"], "give as many"),
    ],
)
def test_bad_layers_are_refused(tmp_path, capsys, arguments, message):
    a = write(tmp_path / "a.json")
    assert compare(tmp_path, a, a, *arguments) == 1
    assert message in capsys.readouterr().err


def compared(capsys):
    """(layer of A, layer of B) for each pair of which something was said."""
    said = " ".join(capsys.readouterr().out.split())
    pairs = re.findall(r"Layer (-\d+) of A against layer (-\d+) of B:", said)
    return [(int(a), int(b)) for a, b in pairs]


@pytest.mark.parametrize(
    ("layers", "pairs"),
    [
        (["--layers", "-2..-4"], [(-2, -2), (-3, -3), (-4, -4)]),
        (["--layers", "-4..-2, -1"], [(-4, -4), (-3, -3), (-2, -2), (-1, -1)]),
        (["--layers", "all"], [(-5, -5), (-4, -4), (-3, -3), (-2, -2), (-1, -1)]),
        (["--layers", "3,0"], [(-2, -2), (-5, -5)]),
        (["--layers", "-2..-3", "--layers-b", "-4..-5"], [(-2, -4), (-3, -5)]),
        (["--layers", "-2,-2", "--layers-b", "-3,-4"], [(-2, -3), (-2, -4)]),
        (["--layers", "all", "--layers-b", "-1..-5"], [(i - 6, -i) for i in range(1, 6)]),
    ],
)
def test_layers_are_named_as_for_profile(tmp_path, capsys, layers, pairs):
    a = write(tmp_path / "a.json")
    assert compare(tmp_path, a, a, *layers) == 0
    assert compared(capsys) == pairs


def test_all_is_what_a_profile_has(tmp_path, capsys):
    some = [layer(index) for index in (1, 3)]
    a, b = write(tmp_path / "a.json"), write(tmp_path / "b.json", layers=some)
    assert compare(tmp_path, b, b, "--layers", "all") == 0
    assert compared(capsys) == [(-4, -4), (-2, -2)]
    assert compare(tmp_path, a, b, "--layers", "all") == 1
    message = capsys.readouterr().err
    assert "--layers names 5 layers and the same of B 2: give as many" in message


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_layer_that_a_profile_lacks_is_named_with_what_there_is(tmp_path, capsys, side):
    some = [layer(index) for index in (1, 3)]
    write(tmp_path / "a.json"), write(tmp_path / "b.json")
    write(tmp_path / f"{side}.json", layers=some)
    assert compare(tmp_path, tmp_path / "a.json", tmp_path / "b.json", "--layers", "-2..-3") == 1
    assert f"{side}.json has no layer -3; it has -4, -2" in capsys.readouterr().err


def test_a_missing_profile_says_how_to_make_one(tmp_path, capsys):
    assert compare(tmp_path, tmp_path / "none", tmp_path / "none") == 1
    assert "layerlab profile" in capsys.readouterr().err


def of_images(path, kind):
    """A profile of two images."""
    document = json.loads(write(path).read_text(encoding="utf-8"))
    document |= {"images": 2, "image_tokens": kind}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_images_against_text_are_called_what_they_are(tmp_path, capsys):
    a, b = of_images(tmp_path / "vl.json", "image"), write(tmp_path / "text.json")
    assert compare(tmp_path, a, b, "--layers=-2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "measured 2 images, 100 image tokens 2 prompts, 100 tokens" in said
    assert "A: sink tokens at position 0, 5 in 2 of 2 images;" in said
    assert "B: sink tokens at position 0, 5 in 2 of 2 prompts;" in said
    assert (
        "The two were measured on different things (2 images, 100 image tokens; 2 prompts, 100 "
        "tokens): small differences say nothing."
    ) in said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "A: vl (image tokens); B: text<" in page


def test_all_tokens_of_images_are_told_from_image_tokens(tmp_path, capsys):
    a, b = of_images(tmp_path / "a.json", "image"), of_images(tmp_path / "b.json", "all")
    assert compare(tmp_path, a, b, "--layers=-2") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(2 images, 100 image tokens; 2 images, 100 tokens): small" in said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "A: a (image tokens); B: b (images, all tokens)<" in page


def test_a_profile_that_lies_about_its_images_is_refused(tmp_path, capsys):
    a = of_images(tmp_path / "a.json", 7)
    assert compare(tmp_path, a, a, "--layers=-2") == 1
    assert "image_tokens is 7" in " ".join(capsys.readouterr().err.split())
