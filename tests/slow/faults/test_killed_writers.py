"""kill -9 while a file is being written: what is there afterwards is whole.

A process writes the same file for ever, each round with other contents, and is killed 50 times at
a random moment after its first write. After each kill every file is read back and compared with
what the round that it names should have written.
"""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from zimage_layer_lab.cli.profile.checkpoint import MOMENTS, Checkpoint
from zimage_layer_lab.cli.queue.results import Results
from zimage_layer_lab.cli.queue.settings import Row
from zimage_layer_lab.core.files.atomic import UNFINISHED, is_unfinished
from zimage_layer_lab.core.measure.reference import load_reference
from zimage_layer_lab.core.record.embedding_file import load_embedding

from .writers import (
    DECISIVE,
    REFERENCE_VECTORS,
    WRITERS,
    drawn_reference,
    page,
    picture,
    profile_stats,
    states,
)

KILLS, MOST_KILLS = 50, 400
LONGEST = 0.03
"""Seconds; several rounds of every writer. More where none of the kills met a write, for a machine
that is busy."""
SUFFIXES = {".safetensors", ".npz", ".html", ".jsonl", ".png"}
LEAST_UNFINISHED = 1
"""A kill in the middle of a write must have been among them, or the test shows nothing."""


def read_embedding(folder):
    [(hidden, _, options)] = load_embedding(folder / "embedding.safetensors")
    assert torch.equal(hidden, states(options["n"]))
    return options["n"]


def read_reference(suffix):
    def read(folder):
        found = load_reference(folder / f"reference{suffix}")
        number = int(found.provenance["note"])
        right = drawn_reference(number)
        for vector in REFERENCE_VECTORS:
            assert torch.equal(getattr(found, vector), getattr(right, vector)), vector
        assert (found.global_mean, found.global_std) == (right.global_mean, right.global_std)
        return number

    return read


def read_checkpoint(folder):
    checkpoint = Checkpoint(folder, DECISIVE)
    found = checkpoint.load()
    assert found is not None, checkpoint.note
    stats, number = found
    for index in stats.indices:
        ours, right = stats.dimensions[index], profile_stats(number).dimensions[index]
        for name in MOMENTS:
            for side in ("without_sinks", "sinks"):
                one, other = (getattr(getattr(split, side), name) for split in (ours, right))
                assert torch.equal(one, other), (index, side, name)
    return number


def read_text(folder):
    text = (folder / "page.html").read_text()
    number = int(text.split()[0])
    assert text == page(number)
    return number


def read_results(folder):
    """Every line but those cut by a kill is whole, and a row that is done has its whole picture."""
    queue = folder / "queue"
    *lines, _ = (queue / "results.jsonl").read_text().split("\n")
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    done = [line for line in whole if line["status"] == "done"]
    for line in done:
        [name] = line["files"]
        assert (queue / name).read_bytes() == picture(line["row"])
    for path in queue.glob("0*.png"):
        assert path.read_bytes() == picture(int(path.name[:4]))
    kept = Results(queue)
    for line in done:
        assert kept.is_done(Row(line["row"], {}, {}, line["key"]))
    return max(line["row"] for line in whole)


READERS = {
    "embedding": read_embedding,
    "reference": read_reference(".safetensors"),
    "npz": read_reference(".npz"),
    "checkpoint": read_checkpoint,
    "text": read_text,
    "results": read_results,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_killed_at_50_random_moments_leaves_no_half_file(
    name, launch, wait_until, tmp_path
):
    moments = random.Random(f"kill the writer: {name}")
    log, number, unfinished = tmp_path / "log", 1, 0
    folder = tmp_path / "files"

    for kill in range(MOST_KILLS):
        if kill >= KILLS and unfinished >= LEAST_UNFINISHED:
            break
        child = launch("writers", "write_for_ever", [name, folder, number], log)
        wait_until(lambda: _whole_files(folder))
        time.sleep(moments.uniform(0, LONGEST * (1 + kill // KILLS)))
        assert child.kill() == -signal.SIGKILL, log.read_text()
        orphans = list(folder.rglob(f"{UNFINISHED}*"))
        unfinished += len(orphans)
        for orphan in orphans:
            shutil.rmtree(orphan)
        assert not [p for p in folder.rglob("*") if p.is_file() and p.suffix not in SUFFIXES]
        number = READERS[name](folder) + 1
    assert "Traceback" not in log.read_text()
    assert unfinished >= LEAST_UNFINISHED


def _whole_files(folder):
    """Where a killed process's files lie already, a moment counts from the fork.

    The writer makes and removes folders meanwhile, which os.walk passes over and rglob raises of.
    """
    found = (Path(at) / name for at, _, names in os.walk(folder) for name in names)
    return [path for path in found if not is_unfinished(path.relative_to(folder))]
