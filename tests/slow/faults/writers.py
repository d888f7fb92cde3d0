"""Every writer of the pack in an endless loop, for a process that is killed in the middle of it.

Each round writes other contents, so that a file that mixes two rounds would show. The contents are
drawn and not computed: the writer and the process that reads its files back may have different
numbers of threads, and a sum over several threads differs in its last bits.
"""

import itertools
import json
import resource
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from zimage_layer_lab.cli.out_folder import writing_in
from zimage_layer_lab.cli.profile.checkpoint import MOMENTS, Checkpoint
from zimage_layer_lab.cli.queue.keeping import Keeper, Kept
from zimage_layer_lab.cli.queue.results import Results
from zimage_layer_lab.cli.queue.settings import Row
from zimage_layer_lab.cli.queue.worker import DONE, Job, Outcome
from zimage_layer_lab.core.files.atomic import write_whole
from zimage_layer_lab.core.measure.reference import Reference, save_reference
from zimage_layer_lab.core.profile.profile import ProfileStats
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding

BLOCKS, WIDTH, TOKENS = 2, 256, 300
TEXT_LENGTH = 300_000
DECISIVE = {"run": "of the test"}
REFERENCE_VECTORS = ("mean", "std", "mean_without_sinks", "std_without_sinks")
DIFFERENT = 5
"""As many rounds differ in their numbers; made once, for the time is to be spent on writing."""


@lru_cache
def _states(kind):
    return torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(kind))


def states(number):
    """(1, tokens, width) of round ``number``."""
    return _states(number % DIFFERENT)


def _drawn(generator):
    """(width,) float64 in 0..1."""
    return torch.rand(WIDTH, generator=generator, dtype=torch.float64)


@lru_cache
def _reference(kind):
    draw = torch.Generator().manual_seed(kind)
    vectors = {name: _drawn(draw) for name in REFERENCE_VECTORS}
    return Reference(**vectors, global_mean=0.25 + kind, global_std=2.0 + kind)


def drawn_reference(number):
    """The reference of round ``number``."""
    return replace(_reference(number % DIFFERENT), provenance={"note": str(number)})


@lru_cache
def _profile(kind):
    draw = torch.Generator().manual_seed(kind)
    stats = ProfileStats(BLOCKS, WIDTH)
    stats.prompts, stats.tokens = 1, TOKENS
    for layer in stats.dimensions.values():
        for side in (layer.without_sinks, layer.sinks):
            for name in MOMENTS:
                if not name.endswith("_place"):
                    setattr(side, name, _drawn(draw))
    return stats


def profile_stats(number):
    """Those of round ``number``."""
    return _profile(number % DIFFERENT)


def page(number):
    """The text of round ``number``."""
    return f"{number} " * (TEXT_LENGTH // len(f"{number} "))


def picture(number):
    """The bytes of the picture of round ``number``."""
    return bytes([number % 251]) * (10 * TEXT_LENGTH)


def embedding(folder, number):
    save_embedding(folder / "embedding.safetensors", [Entry(states(number), None, {"n": number})])


def reference(suffix):
    def write(folder, number):
        save_reference(drawn_reference(number), folder / f"reference{suffix}")

    return write


def checkpoint(folder, number):
    Checkpoint(folder, DECISIVE).save(profile_stats(number), number)


def text(folder, number):
    write_whole(folder / "page.html", page(number))


@lru_cache
def _results(folder):
    return Results(folder)


def results(folder, number):
    """A queue's picture and its lines."""
    row = Row(number, {"node.text": "x" * 5000}, {}, f"key {number}")
    kept = _results(folder / "queue")
    kept.begin(row, f"id {number}")
    with writing_in(kept.out):
        file = Keeper(kept.out, str).save(
            number, "a.png", lambda target: target.write_bytes(picture(number))
        )
    job = Job(number, f"id {number}", {})
    kept.end(row, Outcome(job, None, DONE, 0.1, Kept(({"node": "9", "file": file.name},))))


WRITERS = {
    "embedding": embedding,
    "reference": reference(".safetensors"),
    "npz": reference(".npz"),
    "checkpoint": checkpoint,
    "text": text,
    "results": results,
}


def write_for_ever(arguments):
    """``arguments``: name of the writer, folder, number of the first round."""
    name, folder, first = arguments
    for number in itertools.count(int(first)):
        WRITERS[name](Path(folder), number)


def write_with_limit(arguments):
    """The writer's round, with no file allowed to grow beyond a size; prints what it raised."""
    name, folder, number, limit = arguments
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        WRITERS[name](Path(folder), int(number))
    except Exception as error:
        sys.stdout.write(json.dumps({"kind": type(error).__name__, "message": str(error)}) + "\n")
        return 0
    return 1
