"""The benchmarks run, and the pages show their figures and no others. No figure is judged."""

import itertools
import json
import subprocess
import sys

import pytest
from zimage_layer_lab.benchmarks.encoding import SIZES
from zimage_layer_lab.tiny_host.tiny_shapes import language_shapes


@pytest.mark.slow
def test_the_benchmark_of_the_core_runs_and_writes_table_and_json(pack_root, tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "states"]
    run = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=pack_root, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert found["machine"] in table and found["machine"] in run.stdout
    for row in found["rows"]:
        assert row["ours"] > 0 and row["theirs"] > 0
        sides = (row["theirs"], row["ours"])
        expected = sides if row["kind"] == "times faster" else sides[::-1]
        assert row["ratio"] == pytest.approx(expected[0] / expected[1])
        assert f"| {row['what']}" in table
    assert {row["topic"] for row in found["rows"]} == {"masking", "editing"}


def test_the_encoders_that_are_timed_have_the_shapes_of_qwen3_4b():
    import torch
    import transformers

    config = transformers.Qwen3Config(
        vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        real = transformers.Qwen3Model(config).state_dict()
    shapes = language_shapes(SIZES, "")
    assert shapes == {name: tuple(weight.shape) for name, weight in real.items()}


def test_the_page_about_speed_shows_the_figures_of_one_run_and_no_others(pack_root):
    results = pack_root / "benchmarks" / "results"
    lines = (results / "results.md").read_text(encoding="utf-8").splitlines()
    page = (pack_root / "docs" / "speed.md").read_text(encoding="utf-8").splitlines()
    start = page.index(lines[0])
    assert [line for line in page[start:] if line.startswith("|")] == lines[2:]
    assert not [line for line in page[:start] if line.startswith("|")]
    machine = json.loads((results / "results.json").read_text(encoding="utf-8"))["machine"]
    assert lines[0] == machine


def test_the_readme_shows_four_of_these_rows_as_they_are(pack_root):
    results = pack_root / "benchmarks" / "results" / "results.md"
    _, _, *table = results.read_text(encoding="utf-8").splitlines()
    readme = (pack_root / "README.md").read_text(encoding="utf-8").splitlines()
    start = readme.index(table[0])
    rows = list(itertools.takewhile(lambda line: line.startswith("|"), readme[start:]))
    assert rows[:2] == table[:2]
    assert len(set(rows[2:])) == len(rows[2:]) == 4
    assert set(rows[2:]) <= set(table[2:])
