"""The losses of a run so far, kept beside its output so that a killed run can go on."""

from __future__ import annotations

import json
import math
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.files.atomic import sweep, write_whole
from ..profile.checkpoint import FOLDER, WRITING_SHARE

FORMAT = "layer_lab_dim_checkpoint_v1"

Losses = dict[str, list[float]]


@dataclass
class LossCheckpoint:
    """The checkpoint in ``out``; that of another run is never continued.

    Attributes:
        decisive: everything that decides the result, by name.
        losses: hidden state -> name of a task -> the loss of each prompt.
        note: after :meth:`load`, why there is nothing to go on from, if there is a file.
    """

    out: Path
    decisive: Mapping[str, Any]
    losses: dict[str, Losses] = field(default_factory=dict)
    note: str = ""
    _resume_writing: float = field(default=0.0, repr=False)

    @property
    def path(self) -> Path:
        return self.out / FOLDER / "dim.json"

    def load(self) -> int:
        """Take up what was measured before; how many losses of tasks that is."""
        sweep(self.path.parent, age=0)
        if not self.path.is_file():
            return 0
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            body = document["body"]
            if document["format"] != FORMAT:
                raise ValueError("it is no checkpoint of this version")
            if document["checksum"] != _checksum(body):
                raise ValueError("it is damaged")
            own = json.loads(json.dumps(self.decisive))
            theirs = body["decisive"]
            differing = sorted(
                name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name)
            )
            if differing:
                self.note = f"it is of another run ({', '.join(differing)} differ)"
                return 0
            self.losses = _checked(body["losses"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.note = f"it cannot be read ({error})"
            return 0
        return sum(map(len, self.losses.values()))

    def of(self, index: int) -> Losses:
        """The losses of one hidden state, to which more may be added."""
        return self.losses.setdefault(str(index), {})

    def save(self) -> None:
        """Write it whole or not at all, unless the last one is too recent. Raises WriteError."""
        started = time.monotonic()
        if started < self._resume_writing:
            return
        body = {"decisive": self.decisive, "losses": self.losses}
        document = {"format": FORMAT, "checksum": _checksum(body), "body": body}
        write_whole(self.path, json.dumps(document))
        ended = time.monotonic()
        self._resume_writing = ended + (ended - started) / WRITING_SHARE

    def remove(self) -> None:
        """Remove the checkpoint; the result is written."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _checksum(body: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(body, sort_keys=True).encode('utf-8')):08x}"


def _checked(losses: Any) -> dict[str, Losses]:
    for tasks in losses.values():
        for values in tasks.values():
            if not all(type(value) is float and math.isfinite(value) for value in values):
                raise ValueError("a loss is no finite number")
    return losses
