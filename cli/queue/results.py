"""The results of a queue, results.jsonl, from which a later run goes on."""

from __future__ import annotations

import json
import os
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..out_folder import writing_in
from .keeping import RESUME
from .settings import Row
from .worker import DONE, UNREACHED, Outcome
from .workflow import QueueError, parse_json

FILE = "results.jsonl"
QUEUED = "queued"
"""The status of a prompt that was given to a server; its end is a later line with the same key."""

_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Results:
    """The folder ``out``: a line is added to its results.jsonl for every prompt and for its end.

    What cannot be read raises QueueError, and what cannot be written OutFolderError. It may be used
    from several threads.

    Attributes:
        client_id: that under which servers send the folder's events, of an earlier run if there
            was one: what that left running still sends them there.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / FILE
        self.client_id = str(uuid.uuid4())
        self._last: dict[str, dict[str, Any]] = {}
        self._writing = threading.Lock()
        for line in self._lines():
            self._last[line["key"]] = line
            self.client_id = _id(line.get("client_id")) or self.client_id

    def last(self, row: Row) -> Mapping[str, Any]:
        """The last line about the row; empty if there is none."""
        return self._last.get(row.key, {})

    def is_done(self, row: Row) -> bool:
        """Whether an earlier run finished it."""
        return self.last(row).get("status") == DONE

    def open_id(self, row: Row) -> str | None:
        """The prompt id that an earlier run queued it under, if that did not see its end."""
        line = self.last(row)
        return _id(line.get("prompt_id")) if line.get("status") in (QUEUED, UNREACHED) else None

    def begin(self, row: Row, prompt_id: str) -> None:
        """Note the id, before any server has it."""
        with writing_in(self.out, RESUME):
            self._add(row, status=QUEUED, prompt_id=prompt_id, client_id=self.client_id)

    def end(self, row: Row, outcome: Outcome) -> None:
        """Note the outcome, whose files are saved."""
        with writing_in(self.out, RESUME):
            self._add(
                row,
                status=outcome.status,
                prompt_id=outcome.job.prompt_id,
                server=str(outcome.server) if outcome.server else "",
                files=outcome.kept.files,
                outputs=list(outcome.kept.outputs),
                error=outcome.error,
                seconds=round(outcome.seconds, 3),
            )

    def _add(self, row: Row, status: str, **more: Any) -> None:
        line = {
            "key": row.key,
            "row": row.number,
            "settings": row.settings,
            "status": status,
            **more,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with self._writing:
            with self.path.open("a+b") as file:
                # A line that a crash cut short must not swallow this one.
                if file.tell() and not _ends_with_newline(file):
                    file.write(b"\n")
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                # The line of a prompt that is only queued outlives a killed process without it.
                if status != QUEUED:
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


def _id(value: Any) -> str | None:
    """``value`` if it is an id: it becomes part of an address on the server."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
