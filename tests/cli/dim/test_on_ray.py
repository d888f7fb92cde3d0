"""On Ray the losses are those of one process."""

import json

import pytest

from .conftest import FEW

pytestmark = pytest.mark.slow


def test_two_workers_measure_what_one_process_does(
    dim_run, tiny_model, prompt_file, tmp_path, layerlab
):
    pytest.importorskip("ray", reason="ray, an optional extra, is not installed")
    out = tmp_path / "out"
    words = (tiny_model(), "7", "12", "--prompts", prompt_file, "--out", out, *FEW)
    status, printed, err = layerlab("dim", *words, "--ray", "local", "--workers", "2")
    assert status == 0, err
    assert "2 Ray workers on cpu" in printed
    found = json.loads((out / "dim.json").read_text())
    for one, other in zip(found["probes"], dim_run[1]["probes"], strict=True):
        assert one["verdict"]["name"] == other["verdict"]["name"]
        for ours, theirs in zip(one["costs"], other["costs"], strict=True):
            assert ours["per_prompt"] == pytest.approx(theirs["per_prompt"], abs=1e-5)
