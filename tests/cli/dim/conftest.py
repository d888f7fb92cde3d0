"""One run of ``layerlab dim`` on a tiny model, which several tests look at."""

import json
from contextlib import redirect_stdout
from io import StringIO

import pytest

FEW = ("--layers=1,-1", "--controls=3", "--loss-prompts=8", "--control-prompts=4")


@pytest.fixture(scope="session")
def dim_run(tiny_model, prompt_file, tmp_path_factory):
    """(the folder written, dim.json, what was printed) of dimensions 7 and 12."""
    from zimage_layer_lab.cli import main

    out = tmp_path_factory.mktemp("dim") / "out"
    words = ["dim", tiny_model(), 7, 12, "--prompts", prompt_file, "--out", out, *FEW]
    with redirect_stdout(StringIO()) as printed:
        assert main([str(word) for word in words]) == 0
    document = json.loads((out / "dim.json").read_text(encoding="utf-8"))
    return out, document, " ".join(printed.getvalue().split())
