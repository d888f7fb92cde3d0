"""How far a profile has come, kept beside its output so that a killed run can go on."""

from __future__ import annotations

import json
import shutil
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.channel_stats import ChannelStats, NonFinite
from ..core.files import replacing
from ..core.profile import ProfileStats

FORMAT = "layer_lab_checkpoint_v1"
FOLDER = ".checkpoint"
WRITING_SHARE = 0.05
"""Checkpoints take at most this share of the time."""

MOMENTS = (
    "count",
    "mean",
    "m2",
    "m3",
    "m4",
    "low",
    "high",
    "low_place",
    "high_place",
)


@dataclass
class Checkpoint:
    """The checkpoint in ``out``; one of another run is never continued.

    Attributes:
        out: the folder that the profile is written to.
        decisive: everything that decides the result, by name.
        note: after :meth:`load`, why there is nothing to go on from, if there is a file.
    """

    out: Path
    decisive: Mapping[str, Any]
    note: str = ""
    _resume_writing: float = field(default=0.0, repr=False)

    @property
    def path(self) -> Path:
        return self.out / FOLDER / "profile.safetensors"

    def load(self) -> tuple[ProfileStats, int] | None:
        """Statistics so far and the number of shards in them; None if there are none to use."""
        # A run killed while it wrote a checkpoint has left its temporary file.
        for orphan in self.path.parent.glob(".writing-*"):
            orphan.unlink(missing_ok=True)
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                facts = json.loads(metadata["facts"])
                differing = self._differing(facts["decisive"])
                if differing:
                    self.note = f"it is of another run ({', '.join(differing)} differ)"
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            return _unpack(facts["stats"], tensors), facts["shards"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            self.note = f"it cannot be read ({error})"
            return None

    def _differing(self, other: Mapping[str, Any]) -> list[str]:
        own = json.loads(json.dumps(self.decisive))
        return sorted(
            name for name in own.keys() | other.keys() if own.get(name) != other.get(name)
        )

    def save(self, stats: ProfileStats, shards: int) -> bool:
        """Write it whole or not at all, unless the last one is too recent; says whether.

        Raises:
            OSError, SafetensorError: if it cannot be written.
        """
        started = time.monotonic()
        if started < self._resume_writing:
            return False
        tensors, facts = _pack(stats)
        document = json.dumps({"decisive": self.decisive, "shards": shards, "stats": facts})
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, {"format": FORMAT, "facts": document})
        ended = time.monotonic()
        self._resume_writing = ended + (ended - started) / WRITING_SHARE
        return True

    def remove(self) -> None:
        """It is no longer needed."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _pack(stats: ProfileStats) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    non_finite: dict[str, Any] = {}
    for index in stats.indices:
        tensors[f"{index}.magnitudes"] = stats.magnitudes[index].counts
        tensors[f"{index}.sinks"] = torch.tensor(stats.sinks[index], dtype=torch.int64)
        for side in ("content", "sinks"):
            channel: ChannelStats = getattr(stats.channels[index], side)
            for name in MOMENTS:
                tensors[f"{index}.{side}.{name}"] = getattr(channel, name).contiguous()
            non_finite[f"{index}.{side}"] = [channel.non_finite, channel.non_finite_places]
    facts = {name: getattr(stats, name) for name in ("blocks", "width", "prompts", "tokens")}
    return tensors, {**facts, "indices": list(stats.indices), "non_finite": non_finite}


def _unpack(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ProfileStats:
    stats = ProfileStats(facts["blocks"], facts["width"], tuple(facts["indices"]))
    stats.prompts, stats.tokens = facts["prompts"], facts["tokens"]
    for index in stats.indices:
        stats.magnitudes[index].counts = tensors[f"{index}.magnitudes"]
        stats.sinks[index] = array("q", tensors[f"{index}.sinks"].tolist())
        for side in ("content", "sinks"):
            channel: ChannelStats = getattr(stats.channels[index], side)
            for name in MOMENTS:
                setattr(channel, name, tensors[f"{index}.{side}.{name}"])
            channel.non_finite, places = facts["non_finite"][f"{index}.{side}"]
            channel.non_finite_places = [NonFinite(*place) for place in places]
    return stats
