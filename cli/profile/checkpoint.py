"""The checkpoint of a profile, kept beside its output so that a killed run can go on."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...core.files.atomic import replacing, sweep
from ...core.measure.carriers import Carriers
from ...core.measure.dimension_stats import DimensionStats, NonFinite
from ...core.measure.histogram import MagnitudeHistogram
from ...core.profile.profile import ProfileStats

FORMAT = "layer_lab_checkpoint_v4"
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
SIDES = {"content": "without_sinks", "sinks": "sinks"}
"""Names in the file -> statistics of :class:`.SplitStats`."""
CARRIERS = ("count", "mean", "m2", "tokens", "prompts", "far_keys", "far_places", "far_moments")

UNREADABLE = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    OverflowError,
)
"""What reading a damaged or foreign file raises (RecursionError is a RuntimeError)."""


@dataclass
class Checkpoint:
    """The checkpoint in ``out``; that of another run is never continued.

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
        # A run killed while it wrote a checkpoint has left half of it.
        sweep(self.path.parent, age=0)
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError("it is no checkpoint of this version")
                facts = json.loads(metadata["facts"])
                differing = self._differing(facts["decisive"])
                if differing:
                    self.note = f"it is of another run ({', '.join(differing)} differ)"
                    return None
                # Copies: a mapped file that is cut short later would end the process.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
            if metadata.get("checksum") != _checksum(metadata["facts"], tensors):
                raise ValueError("it is damaged")
            [shards] = _counts([facts["shards"]])
            return _unpack(facts["stats"], tensors), shards
        except UNREADABLE as error:
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
            WriteError: if it cannot be written.
        """
        started = time.monotonic()
        if started < self._resume_writing:
            return False
        tensors, facts = _pack(stats)
        document = json.dumps({"decisive": self.decisive, "shards": shards, "stats": facts})
        checksum = _checksum(document, tensors)
        with replacing(self.path) as temporary:
            metadata = {"format": FORMAT, "facts": document, "checksum": checksum}
            save_file(tensors, temporary, metadata)
        ended = time.monotonic()
        self._resume_writing = ended + (ended - started) / WRITING_SHARE
        return True

    def remove(self) -> None:
        """Remove the checkpoint; the profile is written."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _pack(stats: ProfileStats) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    non_finite: dict[str, Any] = {}
    for index in stats.indices:
        tensors[f"{index}.magnitudes"] = stats.magnitudes[index].counts
        sinks = stats.sinks[index]
        tensors[f"{index}.sinks"] = torch.tensor(sinks.listed, dtype=torch.int64)
        tensors[f"{index}.sink_counts"] = sinks.counts
        for name in CARRIERS:
            tensors[f"{index}.carriers.{name}"] = getattr(stats.carriers[index], name).contiguous()
        for side in SIDES:
            dimensions: DimensionStats = getattr(stats.dimensions[index], SIDES[side])
            for name in MOMENTS:
                tensors[f"{index}.{side}.{name}"] = getattr(dimensions, name).contiguous()
            non_finite[f"{index}.{side}"] = [dimensions.non_finite, dimensions.non_finite_places]
    facts = {name: getattr(stats, name) for name in ("blocks", "width", "prompts", "tokens")}
    facts["sink_prompts"] = [stats.sinks[index].prompts for index in stats.indices]
    return tensors, {**facts, "indices": list(stats.indices), "non_finite": non_finite}


def _checksum(document: str, tensors: Mapping[str, Tensor]) -> str:
    crc = zlib.crc32(document.encode("utf-8"))
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(name.encode("utf-8"), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"


def _counts(values: Sequence[Any]) -> list[int]:
    if not all(type(value) is int and 0 <= value < 2**53 for value in values):
        raise ValueError("a count is no whole number")
    return list(values)


def _require_fit(tensors: Mapping[str, Tensor], width: int, indices: Sequence[int]) -> None:
    """Raise ValueError where the tensors are not those of a profile of this width.

    Otherwise a few lying bytes could ask for memory that the tensors do not need.
    """
    wanted: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    for index in indices:
        wanted[f"{index}.magnitudes"] = torch.int64, (len(MagnitudeHistogram().counts),)
        for name in ("sinks", "sink_counts"):
            wanted[f"{index}.{name}"] = torch.int64, (tensors[f"{index}.{name}"].numel(),)
        for name in CARRIERS:
            empty = getattr(Carriers(width), name)
            far = len(tensors[f"{index}.carriers.far_keys"])
            shape = (far, *empty.shape[1:]) if name.startswith("far") else tuple(empty.shape)
            wanted[f"{index}.carriers.{name}"] = empty.dtype, shape
        for name in MOMENTS:
            place = name.endswith("_place")
            kind = (torch.int64, (width, 2)) if place else (torch.float64, (width,))
            wanted |= {f"{index}.{side}.{name}": kind for side in SIDES}
    held = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    if not indices or held != wanted:
        raise ValueError("its tensors do not fit each other")


def _unpack(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ProfileStats:
    blocks, width, prompts, tokens = _counts(
        [facts[name] for name in ("blocks", "width", "prompts", "tokens")]
    )
    indices = _counts(facts["indices"])
    if sorted(set(indices)) != indices or max(indices, default=0) > blocks:
        raise ValueError("its hidden states are not those of one model")
    _require_fit(tensors, width, indices)
    stats = ProfileStats(blocks, width, tuple(indices))
    stats.prompts, stats.tokens = prompts, tokens
    with_sinks = _counts(facts["sink_prompts"])
    for index, number in zip(stats.indices, with_sinks, strict=True):
        stats.magnitudes[index].counts = tensors[f"{index}.magnitudes"]
        sinks = stats.sinks[index]
        sinks.prompts, sinks.counts = number, tensors[f"{index}.sink_counts"]
        sinks.listed = array("q", tensors[f"{index}.sinks"].tolist())
        for name in CARRIERS:
            setattr(stats.carriers[index], name, tensors[f"{index}.carriers.{name}"])
        for side in SIDES:
            dimensions: DimensionStats = getattr(stats.dimensions[index], SIDES[side])
            for name in MOMENTS:
                setattr(dimensions, name, tensors[f"{index}.{side}.{name}"])
            number, places = facts["non_finite"][f"{index}.{side}"]
            [dimensions.non_finite] = _counts([number])
            dimensions.non_finite_places = [NonFinite(*_counts(place)) for place in places]
    return stats
