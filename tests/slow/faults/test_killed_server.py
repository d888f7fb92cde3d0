"""kill -9 of a real server while it works for the pack: no half file, and it starts again."""

import os
import random
import signal
import sys
import time

import pytest
import torch
from zimage_layer_lab.core.files.atomic import UNFINISHED, is_unfinished
from zimage_layer_lab.core.measure.reference import load_reference
from zimage_layer_lab.core.profile.profile_file import load_profile
from zimage_layer_lab.core.record.embedding_file import load_embedding

from ..load.graphs import SHALLOW, node, whole
from .conftest import NIGHTLY
from .servers import choices, entry_of, how_it_ended, post

KILLS = 50 if NIGHTLY else 3
SWEEP = "-6..-9"


def graph(number):
    """Embeddings of four layers, a reference and a profile, of other texts every time."""
    text = f"a fox, number {number}"
    sweep = node(
        "LayerLabLayerSweep",
        clip=["qwen", 0],
        text=text,
        layers=SWEEP,
        system_prompt="",
        think_block="none",
    )
    build = node("LayerLabBuildReference", clip=["qwen", 0], prompts=f"{text}\nno", layer=SHALLOW)
    return whole(
        {
            "sweep": sweep,
            "embedding": node(
                "LayerLabSaveEmbedding", conditioning=["sweep", 0], filename_prefix="lab/embedding"
            ),
            "built": build,
            "reference": node(
                "LayerLabSaveReference", reference=["built", 0], filename_prefix="lab/reference"
            ),
            "profile": node("LayerLabLayerProfile", clip=["qwen", 0], prompts=text, threshold=10.0),
        }
    )


def require_whole_files(output):
    """Everything in the output folder reads as what it is; returns how many there are."""
    files = [path for path in output.rglob("*") if path.is_file()]
    files = [path for path in files if not is_unfinished(path.relative_to(output))]
    for path in files:
        if path.name.startswith("embedding"):
            load_embedding(path)
        elif path.name.startswith("reference"):
            load_reference(path)
        else:
            assert load_profile(path)["prompts"] == 1
    return len(files)


def run(server, number):
    """The files of a run that nobody disturbs, and the seconds it took."""
    output = server.base_directory / "output"
    before, started = set(output.rglob("*.*")), time.monotonic()
    assert how_it_ended(entry_of(server, post(server, graph(number)))) == "done"
    return sorted(set(output.rglob("*.*")) - before), time.monotonic() - started


def require_equal(ours, theirs):
    assert len(ours) == len(theirs) == 6
    for one, other in zip(ours, theirs, strict=True):
        if one.name.startswith("embedding"):
            [(states, *_)], [(same, *_)] = load_embedding(one), load_embedding(other)
            assert torch.equal(states, same)
        elif one.name.startswith("reference"):
            assert torch.equal(load_reference(one).std, load_reference(other).std)
        else:
            assert load_profile(one) == load_profile(other)


@pytest.mark.parametrize("kills", [KILLS])
def test_a_server_killed_at_random_moments_leaves_no_half_file_and_starts_again(kills, new_server):
    moments = random.Random("kill the server")
    new_server.start()
    output = new_server.base_directory / "output"
    first, cold = run(new_server, 0)
    _, warm = run(new_server, 1)
    left = counted = 0
    for number in range(kills):
        post(new_server, graph(number + 2))
        # Only the prompt that the test measured was warm; one after a start is cold.
        time.sleep(moments.uniform(0, cold if number else warm))
        os.kill(new_server.pid, signal.SIGKILL)
        new_server.stop()
        counted = require_whole_files(output)
        left += len(list(output.rglob(f"{UNFINISHED}*")))
        # What is left of a file that was whole but had not its name yet must not be offered.
        half = output / "lab" / f"{UNFINISHED}of-the-test"
        half.mkdir(exist_ok=True)
        embedding = next(output.rglob("embedding*.safetensors"))
        (half / embedding.name).write_bytes(embedding.read_bytes())
        new_server.start()
        for kind in ("LayerLabLoadEmbedding", "LayerLabLoadReference"):
            offered = choices(new_server, kind, "name")
            assert offered and not [name for name in offered if UNFINISHED in name]
    again, _ = run(new_server, 0)
    require_equal(again, first)
    sys.stdout.write(f"{kills} kills, {counted} whole files, {left} unfinished ones left\n")
