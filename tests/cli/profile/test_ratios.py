"""layerlab compare: the std of every dimension, from references that were written by hand."""

import html
import re

import pytest
import torch
from zimage_layer_lab.cli.profile.ratios import Side, compare_dimensions, ratio_sentences
from zimage_layer_lab.core.measure.reference import Reference, save_reference
from zimage_layer_lab.core.outliers.std_ratios import std_ratios
from zimage_layer_lab.core.profile.profile_file import load_profile

from .test_compare import write

WIDTH = 32


def reference(changed, bare=None, **provenance):
    """A std of 2 but for ``changed``; without sinks the same but for ``bare``."""
    std = torch.full((WIDTH,), 2.0, dtype=torch.float64)
    for dimension, value in changed.items():
        std[dimension] = value
    if bare is None:
        return Reference(std * 0, std, 0.0, 2.0, provenance=provenance)
    apart = std.clone()
    for dimension, value in bare.items():
        apart[dimension] = value
    return Reference(std * 0, std, 0.0, 2.0, apart * 0, apart, provenance)


def folder(tmp_path, name, references, **figures):
    """A folder as layerlab profile leaves it: layer -> reference."""
    made = tmp_path / name
    made.mkdir()
    write(made / "profile.json", **figures)
    for layer, one in references.items():
        save_reference(one, made / f"reference_{layer}.safetensors")
    return made


IMAGE = {-2: reference({3: 1.5, 7: 64.0, 9: 60.0}, {7: 2.0, 3: 1.0})}
TEXT = {-2: reference({3: 927.6, 7: 2688.0}, {7: 2.0, 3: 2.0}), -3: reference({5: 200.0}, {})}


def test_the_sentences_say_the_extremes_both_ways_in_both_views():
    assert ratio_sentences(std_ratios(IMAGE[-2], TEXT[-2]), -2, -6) == [
        "Layer -2 of A against layer -6 of B, std of each dimension over all tokens: loudest "
        "against B is dimension 9 (60 against 2: 30.0x louder, A/B 30, B/A 0.03333), quietest "
        "against B is dimension 3 (1.5 against 927.6: 618.4x quieter, A/B 0.001617, B/A 618.4); "
        "over 10x louder: 1 of 32 dimensions, quieter: 2.",
        "Layer -2 of A against layer -6 of B, std of each dimension without sink tokens: loudest "
        "against B is dimension 9 (60 against 2: 30.0x louder, A/B 30, B/A 0.03333), quietest "
        "against B is dimension 3 (1 against 2: 2.0x quieter, A/B 0.5, B/A 2); over 10x louder: 1 "
        "of 32 dimensions, quieter: 0.",
    ]
    assert ratio_sentences(std_ratios(TEXT[-3], TEXT[-3]), -3, -3) == [
        "Layer -3 of A against layer -3 of B, std of each dimension over all tokens: no dimension "
        "differs.",
        "Layer -3 of A against layer -3 of B, std of each dimension without sink tokens: no "
        "dimension differs.",
    ]


def rows(said):
    """The table's rows: louder or quieter, dimension, then the figures of both views."""
    return [
        tuple(line.split()) for line in said.splitlines() if re.match(r"\s+(louder|quieter) ", line)
    ]


EXPECTED = [
    ("louder", "9", "60", "2", "30", "0.03333", "60", "2", "30", "0.03333"),
    ("quieter", "3", "1.5", "927.6", "0.001617", "618.4", "1", "2", "0.5", "2"),
    ("quieter", "7", "64", "2688", "0.02381", "42", "2", "2", "1", "1"),
]


def test_the_console_the_page_and_a_picture_have_them(tmp_path, capsys):
    from zimage_layer_lab.cli import main

    a, b = folder(tmp_path, "a", IMAGE), folder(tmp_path, "b", TEXT)
    out = tmp_path / "out"
    (out).mkdir()
    (out / "compare_-9_-9.png").write_bytes(b"of an earlier run")
    (out / "compare_mine.png").write_bytes(b"precious")
    assert main(["compare", str(a), str(b / "profile.json"), "--layers=-2", f"--out={out}"]) == 0
    said = capsys.readouterr().out
    assert rows(said) == EXPECTED
    flat = " ".join(said.split())
    assert "std of each dimension over all tokens: loudest against B is dimension 9" in flat
    assert "is not compared" not in flat and "no figures" not in flat
    assert "compare.png, compare_-2_-2.png." in flat
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    for row in EXPECTED:
        cells = r"\s*".join(f"<t[dh][^>]*>{re.escape(cell)}</t[dh]>" for cell in row)
        assert re.search(cells, page), row
    for line in ratio_sentences(std_ratios(IMAGE[-2], TEXT[-2]), -2, -2):
        assert line in page
    assert (
        "Each row of the second is a dimension: its std in A and in B, the one over the other "
        "(A/B), and the inverse (B/A), over all tokens and then over those that are no sinks. It "
        "lists the 5 in which A is loudest against B, and the 5 in which it is quietest"
    ) in " ".join(page.split())
    names = ["compare.png", "compare_-2_-2.png", "compare_mine.png", "report.html"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / "compare_-2_-2.png").read_bytes().startswith(b"\x89PNG")


def test_two_layers_of_one_profile_are_compared_too(tmp_path, layerlab):
    b = folder(tmp_path, "b", TEXT)
    status, out, _ = layerlab(
        "compare", b, b, "--layers=-2", "--layers-b=-3", f"--out={tmp_path / 'out'}"
    )
    assert status == 0
    assert (
        "Layer -2 of A against layer -3 of B, std of each dimension over all tokens: loudest "
        "against B is dimension 7 (2688 against 2: 1344.0x louder"
    ) in out
    assert (tmp_path / "out" / "compare_-2_-3.png").is_file()


def test_what_is_missing_is_said_once_for_all_its_layers_and_nothing_else_is_lost(
    tmp_path, layerlab
):
    a, b = folder(tmp_path, "a", IMAGE), folder(tmp_path, "b", TEXT)
    (tmp_path / "alone").mkdir()
    alone = write(tmp_path / "alone" / "profile.json")
    status, out, _ = layerlab("compare", a, alone, "--layers=-2", f"--out={tmp_path / 'out'}")
    assert status == 0
    assert (
        "The std of each dimension is not compared at layer -2 of B: there is no "
        f"reference_<layer>.safetensors of it in {tmp_path / 'alone'}, where layerlab profile "
        "writes one beside profile.json."
    ) in out
    assert "Layer -2 of A against layer -2 of B: 1 and 1 dimensions are out of line" in out
    assert not (tmp_path / "out" / "compare_-2_-2.png").exists()
    status, out, _ = layerlab("compare", a, b, "--layers=all", f"--out={tmp_path / 'all'}")
    assert status == 0
    assert "is not compared at layers -5, -4, -3, -1 of A: there is no reference_<layer>" in out
    assert "is not compared at layers -5, -4, -1 of B: there is no reference_<layer>" in out
    assert "Layer -2 of A against layer -2 of B, std of each dimension over all tokens" in out
    assert (tmp_path / "all" / "compare_-2_-2.png").is_file()


def test_a_reference_without_sink_free_figures_leaves_that_view_out_and_says_so(tmp_path, capsys):
    from zimage_layer_lab.cli import main

    a = folder(tmp_path, "a", {-2: reference({3: 1.5, 7: 64.0, 9: 60.0})})
    b = folder(tmp_path, "b", TEXT)
    assert main(["compare", str(a), str(b), "--layers=-2", f"--out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert rows(said) == [(*row[:6], "-", "-", "-", "-") for row in EXPECTED]
    flat = " ".join(said.split())
    assert (
        "The reference of A at layer -2 has no figures without sink tokens: that view is left out "
        "there."
    ) in flat
    assert "over all tokens: loudest" in flat and "dimension without sink tokens:" not in flat


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"no reference", "reference_-2.safetensors cannot be read as a reference: "),
        ({"model": "other"}, "reference_-2.safetensors beside it is of another run (model differ)"),
        ({"layer": "-6", "tokens": "9"}, "is of another run (layer, tokens differ)"),
    ],
)
def test_a_file_that_is_not_the_profiles_own_reference_is_not_used(tmp_path, given, why):
    a, b = folder(tmp_path, "a", {}), folder(tmp_path, "b", TEXT)
    path = a / "reference_-2.safetensors"
    if isinstance(given, bytes):
        path.write_bytes(given)
    else:
        save_reference(reference({}, **given), path)
    sides = [Side.of(letter, one, load_profile(one)) for letter, one in (("A", a), ("B", b))]
    compared = compare_dimensions(*sides, [(-2, -2)])
    assert compared.ratios == [None]
    [gap] = compared.gaps
    assert gap.startswith("The std of each dimension is not compared at layer -2 of A: ")
    assert why in gap


def test_a_profile_of_a_real_run_is_compared(tiny_model, prompt_file, tmp_path, layerlab):
    """The references that ``layerlab profile`` writes are those that ``compare`` looks for."""
    a = tmp_path / "a"
    arguments = ["--prompts", prompt_file, "--layers=-2", f"--out={a}"]
    assert layerlab("profile", tiny_model(), *arguments)[0] == 0
    status, out, _ = layerlab("compare", a, a, "--layers=all", f"--out={tmp_path / 'out'}")
    assert status == 0 and out.count("no dimension differs") == 2 and "not compared" not in out
