"""The progress bars of ``layerlab queue``: all prompts, and the node that the present one runs."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..comfy.prompt import PromptState


class QueueProgress:
    """A context that shows ``total`` prompts, of which ``before`` are done."""

    def __init__(self, console: Console, total: int, before: int) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._prompts = self._bars.add_task("Prompts", total=total, completed=before)
        self._step: TaskID | None = None

    def __enter__(self) -> QueueProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._clear()
        self._bars.stop()

    def follower(self, title: Callable[[str], str]) -> Callable[[PromptState], None]:
        """A second bar for one prompt: its place in the queue, then node by node.

        ``title``: from a node's id to what it is called.
        """
        self._clear()
        step = self._step = self._bars.add_task("Queueing", total=None)

        def show(state: PromptState) -> None:
            if state.ahead:
                self._bars.update(step, description=f"{state.ahead} ahead in the queue")
            elif state.node is not None:
                self._bars.update(
                    step,
                    description=escape(title(state.node)),
                    completed=state.value,
                    total=state.total or None,
                )

        return show

    def done(self) -> None:
        """One prompt more has ended."""
        self._clear()
        self._bars.advance(self._prompts)

    def _clear(self) -> None:
        if self._step is not None:
            self._bars.remove_task(self._step)
            self._step = None
