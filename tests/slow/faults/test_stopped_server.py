"""The frontend's Stop on a real server: the work ends early, and the next prompt is as before."""

import json
import threading
import time

import pytest
import websocket
from zimage_layer_lab.cli import main

from ..load.graphs import SHALLOW, encode, node, plain, whole
from .servers import entry_of, how_it_ended, post, shown, stop

PROMPTS = 60
MORE = 6
"""Prompts or steps that may go on while the Stop is on its way to the server."""


def prompts(number):
    return "\n".join(f"a fox, {number}, {line}" for line in range(PROMPTS))


def reference(number):
    build = node("LayerLabBuildReference", clip=["qwen", 0], prompts=prompts(number), layer=SHALLOW)
    save = node("LayerLabSaveReference", reference=["long", 0], filename_prefix="stopped")
    return whole({"long": build, "save": save})


def profile(number):
    kind = "LayerLabLayerProfile"
    return whole({"long": node(kind, clip=["qwen", 0], prompts=prompts(number), threshold=10.0)})


def sampler(number, steps=PROMPTS):
    sample = node(
        "LayerLabZImageSampler",
        model=["model", 0],
        positive=["a", 0],
        vae=["vae", 0],
        width=64,
        height=64,
        batch_size=1,
        seed=number,
        steps=steps,
        cfg=1.0,
        sampler_name="res_multistep",
        scheduler="simple",
        shift=3.0,
        denoise=1.0,
    )
    unet = "z_image_turbo_bf16.safetensors"
    return {
        **whole({"a": encode("a red fox", layer=SHALLOW)}),
        "model": node("UNETLoader", unet_name=unet, weight_dtype="default"),
        "vae": node("VAELoader", vae_name="ae.safetensors"),
        "long": sample,
        "save": node("SaveImage", images=["long", 0], filename_prefix="stopped"),
    }


LONG = {"Build Reference": reference, "Layer Profile": profile, "Z-Image Sampler": sampler}


@pytest.fixture
def events(server):
    """A function: waits for the next event of a type on the server's websocket; gives its data."""
    line = websocket.create_connection(f"ws://{server.address}/ws?clientId=faults", timeout=120)

    def wait(*kinds):
        while True:
            message = line.recv()
            if isinstance(message, str) and (event := json.loads(message))["type"] in kinds:
                return event["type"], event["data"]

    yield wait
    line.close()


@pytest.mark.parametrize("name", LONG)
def test_stop_ends_it_early_writes_nothing_and_the_next_prompt_is_right(name, server, events):
    before = shown(entry_of(server, post(server, whole(plain("a heron", 1)))))
    files = sorted(server.base_directory.joinpath("output").rglob("*"))
    prompt_id = post(server, LONG[name](7))
    value = 0
    while value < 2:
        value = events("progress")[1]["value"]
    stop(server)
    last, (kind, data) = value, events("progress", "execution_interrupted", "execution_success")
    while kind == "progress":
        last = max(last, data["value"])
        kind, data = events("progress", "execution_interrupted", "execution_success")
    assert kind == "execution_interrupted" and data["prompt_id"] == prompt_id
    assert value <= last <= value + MORE, (value, last)
    assert how_it_ended(entry_of(server, prompt_id)) == "interrupted"
    assert sorted(server.base_directory.joinpath("output").rglob("*")) == files
    # Other numbers, or the host would answer from memory.
    after = entry_of(server, post(server, whole(plain("a heron", 2))))
    assert shown(after) == before and before[0]["hooks"] == 0


def test_stop_during_layerlab_queue_costs_the_one_row_and_the_others_go_on(
    server, events, tmp_path, capsys
):
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(sampler(0, steps=20)))
    table = tmp_path / "rows.csv"
    table.write_text("long.seed,long.steps\n1,59\n2,1\n3,1\n")
    out = tmp_path / "out"
    words = ["queue", workflow, "--server", server.address, "--settings", table, "--out", out]
    status = []
    run = threading.Thread(target=lambda: status.append(main([str(word) for word in words])))
    # The command's own websocket has the progress; another client hears of the queue only.
    run.start()
    while events("status")[1]["status"]["exec_info"]["queue_remaining"] == 0:
        pass
    stop_when_it_samples(server)
    run.join(300)
    assert status == [3]
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    ends = {line["row"]: line["status"] for line in lines}
    assert ends == {1: "failed", 2: "done", 3: "done"}
    assert "interrupt" in next(line["error"] for line in lines if line["status"] == "failed")
    assert len(list(out.glob("*.png"))) == 2
    assert "Traceback" not in capsys.readouterr().err


def stop_when_it_samples(server):
    """The sampler's progress bar is in the server's log."""
    deadline = time.monotonic() + 120
    while "/59 [" not in server.log_path.read_text(errors="replace"):
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.02)
    stop(server)
