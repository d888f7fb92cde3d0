"""The results of a queue: pictures, and results.jsonl, from which a later run goes on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from ...core.files.atomic import write_whole
from ...core.files.file_names import plain_file_name
from ..comfy.prompt import Image
from ..out_folder import writing_in
from .settings import Row
from .worker import DONE, UNREACHED, Outcome
from .workflow import QueueError, parse_json

FILE = "results.jsonl"
RESUME = "it goes on where it stopped"
QUEUED = "queued"
"""The status of a prompt that was given to a server; its end is a later line with the same key."""

_PROMPT_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Results:
    """The folder ``out``: a line is added to its results.jsonl for every prompt and for its end.

    What cannot be read raises QueueError, and what cannot be written OutFolderError.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FILE
        self._last: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            self._last[line["key"]] = line

    def is_done(self, row: Row) -> bool:
        """Whether an earlier run finished it."""
        return self._last.get(row.key, {}).get("status") == DONE

    def open_id(self, row: Row) -> str | None:
        """The prompt id that an earlier run queued it under, if that did not see its end."""
        line = self._last.get(row.key, {})
        prompt_id = line.get("prompt_id")
        # It becomes part of an address on the server.
        known = isinstance(prompt_id, str) and _PROMPT_ID.fullmatch(prompt_id)
        return prompt_id if known and line.get("status") in (QUEUED, UNREACHED) else None

    def begin(self, row: Row, prompt_id: str) -> None:
        """Note the id, before any server has it."""
        with writing_in(self.out, RESUME):
            self._add(row, status=QUEUED, prompt_id=prompt_id)

    def end(self, row: Row, outcome: Outcome) -> list[Path]:
        """Save the images, then note the outcome; returns the files."""
        with writing_in(self.out, RESUME):
            files = [self._save(row.number, image) for image in outcome.images]
            self._add(
                row,
                status=outcome.status,
                prompt_id=outcome.job.prompt_id,
                server=outcome.server,
                files=[file.name for file in files],
                error=outcome.error,
                seconds=round(outcome.seconds, 3),
            )
        return files

    def _save(self, number: int, image: Image) -> Path:
        """Under the server's name behind the row's number; what is there is never replaced."""
        name = plain_file_name(image.name)
        path = self.out / f"{number:04d}_{name}"
        for turn in count(2):
            if not path.exists():
                return write_whole(path, image.data)
            if path.read_bytes() == image.data:
                return path
            path = path.with_name(f"{number:04d}_{Path(name).stem}_{turn}{Path(name).suffix}")
        raise AssertionError("unreachable")

    def _add(self, row: Row, **more: Any) -> None:
        line = {
            "key": row.key,
            "row": row.number,
            "settings": row.settings,
            **more,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            # A line that a crash cut short must not swallow this one.
            if file.tell() and not _ends_with_newline(file):
                file.write(b"\n")
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._last[row.key] = line

    def _lines(self) -> Sequence[dict[str, Any]]:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise QueueError(f"{self.path} cannot be read: {error.strerror or error}") from error
        lines = []
        for line in text.split("\n"):
            try:
                content = parse_json(line)
            except ValueError:
                continue
            if isinstance(content, dict) and isinstance(content.get("key"), str):
                lines.append(content)
        return lines


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
