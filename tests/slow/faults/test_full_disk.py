"""A full disk: every writer says which file and what to do, and what was there before stays."""

import errno
import json

import pytest
from zimage_layer_lab.cli import main
from zimage_layer_lab.cli.comfy.client import get_json
from zimage_layer_lab.cli.out_folder import OutFolderError
from zimage_layer_lab.cli.profile.checkpoint import Checkpoint
from zimage_layer_lab.core.files.atomic import WriteError
from zimage_layer_lab.core.measure.reference import save_reference
from zimage_layer_lab.core.profile.profile import ProfileStats

from ...cli.conftest import write_tiny_model
from .small_disk import small_disk  # noqa: F401  (a fixture)
from .test_killed_writers import READERS
from .writers import WRITERS, drawn_reference

FILES = {
    "embedding": "embedding.safetensors",
    "reference": "reference.safetensors",
    "npz": "reference.npz",
    "checkpoint": "profile.safetensors",
    "text": "page.html",
    "results": "0002_a.png",
}
ROOM = 5000
"""Bytes that are left on the full disk, less than any of the files."""


def contents(folder):
    """Relative path -> bytes of every file."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "filler")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def require_message(error, name):
    message = str(error)
    assert FILES[name] in message and "cannot be written: " in message and "Make room" in message
    assert ".writing" not in message and ".tmp" not in message


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_told_by_the_files_name_and_the_earlier_file_stays(name, small_disk):  # noqa: F811
    WRITERS[name](small_disk.folder, 1)
    before = contents(small_disk.folder)
    small_disk.fill(ROOM if name != "results" else 20_000)
    with pytest.raises((WriteError, OutFolderError)) as raised:
        WRITERS[name](small_disk.folder, 2)
    require_message(raised.value, name)
    assert "No space left" in str(raised.value) or "requested and" in str(raised.value)
    after = contents(small_disk.folder)
    if name == "results":
        # That row 2 was begun is noted before; its end is not.
        lines = [json.loads(line) for line in after.pop("queue/results.jsonl").splitlines()]
        before.pop("queue/results.jsonl")
        assert [(line["row"], line["status"]) for line in lines] == [
            (1, "queued"),
            (1, "done"),
            (2, "queued"),
        ]
    assert after == before
    small_disk.empty()
    WRITERS[name](small_disk.folder, 2)
    assert READERS[name](small_disk.folder) == 2


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_may_not_grow_is_told_likewise(name, launch, tmp_path):
    """A limit of the system's on a process, for machines on which no disk can be mounted."""
    folder, log = tmp_path / "files", tmp_path / "log"
    WRITERS[name](folder, 1)
    before = contents(folder)
    child = launch("writers", "write_with_limit", [name, folder, 2, ROOM], log)
    assert child.wait() == 0, log.read_text()
    [line] = log.read_text().splitlines()
    told = json.loads(line)
    assert told["kind"] in ("WriteError", "OutFolderError") and "Traceback" not in log.read_text()
    if name == "results":
        assert told["message"].startswith(f"--out {folder / 'queue'} cannot be written: ")
        before.pop("queue/results.jsonl")
    else:
        require_message(told["message"], name)
    after = contents(folder)
    after.pop("queue/results.jsonl", None)
    assert after == before
    READERS[name](folder)


@pytest.fixture(scope="module")
def tiny_profile(tmp_path_factory):
    """(model, prompts) for `layerlab profile`."""
    folder = tmp_path_factory.mktemp("profile")
    write_tiny_model(folder / "model")
    (folder / "prompts.txt").write_text("w1 w2 w3\nw4 w5\nw6\n")
    return folder / "model", folder / "prompts.txt"


def test_a_profile_on_a_disk_that_fills_keeps_its_measurements_and_goes_on(
    tiny_profile,
    small_disk,  # noqa: F811
    tmp_path,
    capsys,
):
    """The checkpoint and profile.json have room, the pictures have not."""
    model, prompts = tiny_profile
    out = small_disk.folder / "out"
    words = ["profile", model, "--prompts", prompts, "--out", out, "--layers=-2,-3"]
    # As large as this run's: two hidden states of a width of 32.
    Checkpoint(tmp_path, {}).save(ProfileStats(4, 32, (2, 3)), 1)
    small_disk.fill((tmp_path / ".checkpoint" / "profile.safetensors").stat().st_size + 60_000)
    assert main([str(word) for word in words]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "out cannot be written: " in told
        and "No space left on device" in told
        and "Make room" in told
    )
    assert "goes on from its last checkpoint" in told and "Traceback" not in told
    assert (out / ".checkpoint" / "profile.safetensors").exists()
    left = contents(out)
    assert "report.html" not in left and not [name for name in left if "writing" in name]
    small_disk.empty()
    assert main([str(word) for word in words]) == 0
    assert "Going on from a checkpoint: 3 prompts are done" in capsys.readouterr().out
    assert json.loads((out / "profile.json").read_text())["prompts"] == 3


def test_the_other_commands_say_it_too(tiny_profile, small_disk, tmp_path, capsys):  # noqa: F811
    model, prompts = tiny_profile
    words = ["profile", model, "--prompts", prompts, "--out", tmp_path / "a", "--layers=-2"]
    assert main([str(word) for word in words]) == 0
    save_reference(drawn_reference(1), tmp_path / "r.safetensors")
    small_disk.fill(ROOM)
    out = small_disk.folder
    for words, file in (
        (["compare", tmp_path / "a", tmp_path / "a", "--layers=-2", "--out", out], "compare.png"),
        (["stats", "convert", tmp_path / "r.safetensors", out / "r.npz"], "r.npz"),
    ):
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1
        told = capsys.readouterr().err
        assert "cannot be written: " in told and file in told and "Make room" in told
    assert contents(out) == {}


def test_the_reason_is_the_systems_own(small_disk):  # noqa: F811
    small_disk.fill(0)
    with pytest.raises(WriteError) as raised:
        WRITERS["text"](small_disk.folder, 1)
    assert raised.value.errno == errno.ENOSPC


def test_a_queue_whose_disk_fills_while_it_fetches_leaves_nothing_half_and_goes_on(
    server,
    small_disk,  # noqa: F811
    capsys,
):
    """A latent of a quarter of a megabyte, for which there is no room at first."""
    latent = {"width": 1024, "height": 1024, "batch_size": 1}
    graph = {
        "1": {"class_type": "EmptyLatentImage", "inputs": latent},
        "2": {
            "class_type": "SaveLatent",
            "inputs": {"samples": ["1", 0], "filename_prefix": "large"},
        },
    }
    workflow, out = small_disk.folder / "graph.json", small_disk.folder / "out"
    workflow.write_text(json.dumps(graph))
    words = ["queue", workflow, "--server", server.address, "--out", out]
    before = set(get_json(server.address, "/history"))
    small_disk.fill(40_000)
    assert main([str(word) for word in words]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "out cannot be written: No space left on device (0001_large_00001_.latent)" in told
    assert "Make room" in told and "it goes on where it stopped" in told
    assert {path.name for path in out.iterdir()} <= {"results.jsonl", ".queue-lock"}
    small_disk.empty()
    assert main([str(word) for word in words]) == 0
    [saved] = out.glob("*.latent")
    there = server.base_directory / "output" / "large_00001_.latent"
    assert saved.read_bytes() == there.read_bytes()
    assert len(set(get_json(server.address, "/history")) - before) == 1
