"""Profiles a model in a process of its own and prints what of it must not depend on the process.

Arguments: the model, a prompt file, the number of threads, a day such as 2031-02-03 that the
clock shows, and 1 if folders are to list their files backwards.
"""

import datetime
import json
import os
import sys
from pathlib import Path

model, prompts, threads, day, backwards = sys.argv[1:]


class OtherDay(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(day).replace(tzinfo=tz)


# transformers' chat templates ask this module for the day.
import transformers.utils.chat_template_utils as templates  # noqa: E402

templates.datetime = OtherDay
if backwards == "1":
    listdir, scandir = os.listdir, os.scandir

    class Backwards(list):
        def __enter__(self):
            return iter(self)

        def __exit__(self, *error):
            pass

    os.listdir = lambda *path: sorted(listdir(*path), reverse=True)
    os.scandir = lambda *path: Backwards(sorted(scandir(*path), key=lambda e: e.name)[::-1])

import torch  # noqa: E402
from zimage_layer_lab.cli.model.files import ModelFiles  # noqa: E402
from zimage_layer_lab.cli.profile.batches import (  # noqa: E402
    TokenizedPrompts,
    TokenLimits,
    plan_batches,
)
from zimage_layer_lab.cli.profile.meter import ProfileMeter  # noqa: E402
from zimage_layer_lab.cli.profile.prompt_file import PromptFile  # noqa: E402

torch.set_num_threads(int(threads))
files = ModelFiles.find(Path(model))
tokenized = TokenizedPrompts.count(
    PromptFile(Path(prompts)), files.tokenizer(), TokenLimits.of(files.config())
)
plan = plan_batches(tokenized.lengths, 2048)
meter = ProfileMeter(files.path, "cpu", "float32")
indices = range(meter.facts().blocks + 1)
stats = None
shards = plan.read(range(plan.shards), tokenized)
for part, _ in meter.measure_all(shards, indices, lambda *_: None):
    stats = part if stats is None else stats.merge(part)
figures = {}
for index in indices:
    channels = stats.dimensions[index].all
    for name in ("mean", "std", "low", "high"):
        figures[f"{index}.{name}"] = getattr(channels, name).tolist()
sys.stdout.write(
    json.dumps(
        {
            "ids": tokenized.digest,
            "fingerprint": meter.facts().fingerprint,
            "sinks": [[list(p) for p in stats.sink_positions(index)] for index in indices],
            "figures": figures,
        }
    )
)
