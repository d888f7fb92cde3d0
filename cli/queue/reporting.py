"""What a run tells its user: lines and bars in a terminal, or events in JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from ..comfy.prompt import PromptState
from .progress import QueueProgress, TimeLeft
from .results import FILE
from .settings import Row
from .worker import DONE, RUNS_ON, TAKEN_BACK, Job, Outcome
from .workflow import Workflow

TEXT_SHOWN = 200
"""Most characters of a node's text that the console shows; the rest is in its file."""


class ConsoleReport:
    """For people. A context, in which the bars are shown."""

    _bars: QueueProgress | None = None

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stack = ExitStack()

    def introduce(
        self, workflow: Path, total: int, done: int, servers: Sequence[str], out: Path
    ) -> None:
        """What is going to be run, before any server is asked for it."""
        before = f", {done} of them done already" if done else ""
        prompts = "1 prompt" if total == 1 else f"{total} prompts"
        where = servers[0] if len(servers) == 1 else f"{len(servers)} servers"
        line = f"{workflow.name}: {prompts}{before}; {where}, into {out}"
        self._console.print(line, style="bold", markup=False)

    def say(self, text: str) -> None:
        """One sentence."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """On standard error, above the bars where there is a terminal."""
        if self._console.is_terminal:
            self._console.print(text, style="red", markup=False)
        else:
            sys.stderr.write(f"{text}\n")

    def start(
        self, workflow: Workflow, rows: Sequence[Row], waiting: int, shown: Sequence[str]
    ) -> None:
        """Begin: ``waiting`` of ``rows`` are still to run; ``shown``: the settings that differ."""
        self._workflow = workflow
        self._shown = shown
        self._left = TimeLeft(waiting)
        before = len(rows) - waiting
        self._bars = QueueProgress(self._console, len(rows), before, self._left)
        self._stack.enter_context(self._bars)

    def begin(self, row: Row, server: str, job: Job) -> None:
        """A server has taken a row."""

    @property
    def watches(self) -> bool:
        """Whether :meth:`progress` shows anything."""
        return self._console.is_terminal

    def progress(self, row: Row, server: str, state: PromptState) -> None:
        """Where a row is."""
        if self._bars:
            title = self._workflow.title(state.node) if state.node is not None else ""
            self._bars.show(server, state, title)

    def lose(self, server: str) -> None:
        """A server went away, and does nothing any more."""
        if self._bars:
            self._bars.clear(server)

    def end(self, row: Row, server: str, outcome: Outcome) -> None:
        """A row has ended."""
        if outcome.status not in (TAKEN_BACK, RUNS_ON):
            self._left.end_one()
            if self._bars:
                self._bars.end(server)
        settings = [f"{key}={row.settings[key]}" for key in self._shown if key in row.settings]
        what = f"{row.number} ({', '.join(settings)[:100]}):" if settings else f"{row.number}:"
        rest = self._left.total - self._left.ended
        left = f" ({rest} to go, {self._left})" if rest and not self._console.is_terminal else ""
        if outcome.status != DONE:
            more = f": {outcome.error}" if outcome.error else ""
            self.warn(f"{what} {outcome.status}{more}")
            return
        names = ", ".join(outcome.kept.files) or "nothing that could be saved"
        self._console.print(f"{what} {outcome.seconds:.1f} s, {names}{left}", markup=False)
        for output in outcome.kept.outputs:
            if text := output.get("text"):
                first = " ".join(text.split())
                shown = first[:TEXT_SHOWN] + (" ..." if len(first) > TEXT_SHOWN else "")
                self._console.print(f"   {output['title']}: {shown}", markup=False)

    def summarise(self, counts: dict[str, int], out: Path, again: str) -> None:
        """How many ended in which way."""
        self.close()
        parts = [f"{count} {status}" for status, count in counts.items() if count]
        line = f"{', '.join(parts)}: {out}, each with its settings in {FILE}."
        self._console.print(f"{line}{again}", style="bold", markup=False)

    def close(self) -> None:
        """Take the bars away."""
        self._stack.close()
        self._bars = None

    def __enter__(self) -> ConsoleReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class JsonReport(ConsoleReport):
    """For scripts: on standard output one object a line, each with its ``event``.

    The events are ``start``, ``queued``, ``progress``, ``end``, ``note``, ``warning`` and
    ``summary``; docs/queue.md says what they hold.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def introduce(
        self, workflow: Path, total: int, done: int, servers: Sequence[str], out: Path
    ) -> None:
        self._event(
            "start",
            workflow=str(workflow),
            prompts=total,
            done=done,
            servers=list(servers),
            out=str(out),
        )

    def say(self, text: str) -> None:
        self._event("note", text=text)

    def warn(self, text: str) -> None:
        self._event("warning", text=text)

    def start(
        self, workflow: Workflow, rows: Sequence[Row], waiting: int, shown: Sequence[str]
    ) -> None:
        self._workflow = workflow
        self._left = TimeLeft(waiting)

    def begin(self, row: Row, server: str, job: Job) -> None:
        self._event("queued", row=row.number, server=server, prompt_id=job.prompt_id)

    @property
    def watches(self) -> bool:
        return True

    def progress(self, row: Row, server: str, state: PromptState) -> None:
        title = self._workflow.title(state.node) if state.node is not None else None
        self._event("progress", row=row.number, server=server, title=title, **state._asdict())

    def end(self, row: Row, server: str, outcome: Outcome) -> None:
        self._left.end_one()
        left = self._left.seconds
        self._event(
            "end",
            row=row.number,
            server=server,
            settings=row.settings,
            status=outcome.status,
            files=outcome.kept.files,
            outputs=list(outcome.kept.outputs),
            error=outcome.error,
            seconds=round(outcome.seconds, 3),
            seconds_left=None if left is None else round(left, 1),
        )

    def summarise(self, counts: dict[str, int], out: Path, again: str) -> None:
        self._event("summary", out=str(out), **{key: n for key, n in counts.items() if n})

    def _event(self, kind: str, **more: Any) -> None:
        sys.stdout.write(json.dumps({"event": kind, **more}) + "\n")
        sys.stdout.flush()
