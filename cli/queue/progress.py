"""The progress bars of ``layerlab queue``: all prompts, and the node that each server runs."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from ..comfy.prompt import PromptState


class TimeLeft:
    """How long the rest takes, if it goes on as it went; ``total`` prompts in this run."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.ended = 0
        self._started = time.monotonic()

    def end_one(self) -> None:
        """One prompt more has ended."""
        self.ended += 1

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def seconds(self) -> float | None:
        """None while nothing has ended that it could be told from."""
        if not self.ended:
            return None
        return self.elapsed / self.ended * (self.total - self.ended)

    def __str__(self) -> str:
        """Such as "about 1:05 left"."""
        left = self.seconds
        return "" if not left else f"about {clock(left)} left"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some.

    >>> clock(65), clock(3600)
    ('1:05', '1:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class QueueProgress:
    """A context that shows ``total`` prompts, of which ``before`` are done, and the time left."""

    def __init__(self, console: Console, total: int, before: int, left: TimeLeft) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._left = left
        self._prompts = self._bars.add_task("Prompts", total=total, completed=before, left="")
        self._steps: dict[str, TaskID] = {}

    def __enter__(self) -> QueueProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        for server in list(self._steps):
            self._clear(server)
        self._bars.stop()

    def show(self, server: str, state: PromptState, title: str) -> None:
        """A bar for what the server does: the place in its queue, then node by node."""
        if server not in self._steps:
            self._steps[server] = self._bars.add_task("Queueing", total=None, left=server)
        step = self._steps[server]
        if state.ahead:
            self._bars.update(step, description=f"{state.ahead} ahead in the queue")
        elif state.node is not None:
            self._bars.update(
                step,
                description=escape(title),
                completed=state.value,
                total=state.total or None,
            )

    def end(self, server: str) -> None:
        """One prompt more has ended, on this server."""
        self._clear(server)
        self._bars.update(self._prompts, advance=1, left=str(self._left))

    def _clear(self, server: str) -> None:
        if server in self._steps:
            self._bars.remove_task(self._steps.pop(server))
