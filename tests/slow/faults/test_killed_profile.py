"""kill -9 of `layerlab profile` at random moments: no half file, and the next run goes on.

Half of the kills come while it measures and writes checkpoints, half while it writes its results.
A run that is done before its kill is compared with an unbroken one, and another begins. Both are
processes of one kind, with the same number of threads, so that they agree in every bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from zimage_layer_lab.core.files.atomic import UNFINISHED, is_unfinished
from zimage_layer_lab.core.measure.reference import load_reference
from zimage_layer_lab.core.profile.profile_file import load_profile

from ...cli.conftest import write_tiny_model
from .conftest import NIGHTLY, Child, environment

KILLS = 50 if NIGHTLY else 10
PROMPTS = 200
COMMAND = "zimage_layer_lab.cli"
PROMPT_FILE = "prompts.txt"


@pytest.fixture(scope="module")
def profile_arguments(tmp_path_factory):
    """A function: out -> the command's arguments, for a tiny Llama and one prompt a pass."""
    folder = tmp_path_factory.mktemp("profile")
    write_tiny_model(folder / "model")
    lines = [f"w{n % 58} w{n // 58}" + " w3" * (n % 11) for n in range(PROMPTS)]
    (folder / PROMPT_FILE).write_text("\n".join(lines) + "\n")

    def arguments(out):
        common = ("--prompts", folder / PROMPT_FILE, "--out", out, "--batch-tokens", 1)
        return ["profile", folder / "model", *common]

    return arguments


@pytest.fixture
def start(request, launch, profile_arguments):
    """A function: (out, log) -> Child; forked, or started anew where that is asked for."""
    if request.param == "forked":
        return lambda out, log: launch(COMMAND, "main", profile_arguments(out), log)

    def run(out, log):
        words = [str(word) for word in profile_arguments(out)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", COMMAND, *words],
                env=environment(),
                stdout=output,
                stderr=output,
            )
        return Child(process.pid, lambda pid: process.wait())

    return run


@pytest.fixture
def unbroken(start, tmp_path):
    """(folder, seconds that writing the results takes) of a run that nobody disturbs."""
    out, log = tmp_path / "unbroken", tmp_path / "unbroken.log"
    assert start(out, log).wait() == 0, log.read_text()
    times = [path.stat().st_mtime for path in out.iterdir()]
    return out, max(times) - min(times)


@pytest.mark.parametrize(
    ("start", "kills"),
    [("forked", KILLS), ("started anew", KILLS if NIGHTLY else 2)],
    indirect=["start"],
)
def test_killed_at_random_moments_it_leaves_no_half_file_and_goes_on_to_the_same_result(
    start, kills, unbroken, tmp_path, wait_until
):
    moments = random.Random(f"kill the profile {kills} times")
    whole, writing = unbroken
    out, log = tmp_path / "out", tmp_path / "log"
    finished = unfinished = while_writing = 0
    for number in range(kills):
        watched = out / "profile.json" if number % 2 else out / ".checkpoint"
        before = changed(watched)
        child = start(out, log)
        wait_until(lambda c=child, w=watched, b=before: changed(w) != b or not c.runs())
        time.sleep(moments.uniform(0, writing if number % 2 else 0.2))
        status = child.kill()
        assert status in (0, -signal.SIGKILL), log.read_text()
        unfinished += require_whole_files(out, whole)
        while_writing += status != 0 and (out / "profile.json").exists()
        if status == 0:
            require_equal(out, whole)
            shutil.rmtree(out)
            finished += 1
    assert start(out, log).wait() == 0, log.read_text()
    require_equal(out, whole)
    text = log.read_text()
    resumed = text.count("Going on from a checkpoint")
    assert "Traceback" not in text and "Starting anew" not in text
    # Otherwise the kills did not come where they should.
    assert resumed >= kills // 2 and while_writing >= kills // 5, (resumed, while_writing)
    report = f"{kills} kills: {resumed} resumed, {while_writing} while the results were written, "
    report += f"{unfinished} unfinished files left, {finished} runs done before their kill\n"
    sys.stdout.write(report)


def changed(path):
    """When a file or a folder last changed; None before it is there."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_mtime_ns, state.st_ino


def require_whole_files(out, whole):
    """Every file reads as what its name says; returns how many unfinished ones there are."""
    unfinished = 0
    for path in out.rglob("*"):
        if is_unfinished(path.relative_to(out)):
            unfinished += path.name.startswith(UNFINISHED)
        elif path.name == "profile.json":
            assert load_profile(path) == load_profile(whole / path.name)
        elif path.name == "profile.safetensors":
            with safe_open(path, framework="pt") as file:
                shards = json.loads(file.metadata()["facts"])["shards"]
                assert shards > 0 and all(len(file.get_tensor(n).shape) < 3 for n in file.keys())
        elif path.suffix == ".safetensors":
            require_equal_references(path, whole / path.name)
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            assert path.is_dir() and path.name == ".checkpoint", path
    return unfinished


def require_equal(out, whole):
    """The same files with the same numbers as an unbroken run, and nothing else."""
    names = {path.name for path in out.iterdir() if not path.name.startswith(UNFINISHED)}
    assert names == {path.name for path in whole.iterdir()}
    require_whole_files(out, whole)
    for name in ("profile.json", "heat_map.png", "layers.png", "outliers.png"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def require_equal_references(one, other):
    ours, theirs = load_reference(one), load_reference(other)
    assert torch.equal(ours.mean, theirs.mean) and torch.equal(ours.std, theirs.std)
    assert torch.equal(ours.std_without_sinks, theirs.std_without_sinks)
