"""The progress bar of ``layerlab profile``: prompts, and tokens per second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class PromptProgress:
    """A context in which progress bars are shown."""

    def __init__(self, console: Console):
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> PromptProgress:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """A line for work of unknown length."""
        task = self._progress.add_task(what, total=None, unit="")
        yield
        self._progress.update(task, total=1, completed=1)

    @contextmanager
    def prompts(
        self,
        what: str,
        total: int,
        before: int = 0,
        unit: str = "prompts",
        speed_of: str = "tokens",
    ) -> Iterator[Callable[[int, int], None]]:
        """A bar for ``total`` prompts (the ``unit``), of which ``before`` are done; gives a
        function that takes further prompts and their tokens. The speed shown is that of the tokens,
        or with the unit for ``speed_of`` that of the prompts."""
        task = self._progress.add_task(what, total=total, completed=before, unit=unit)
        started = time.monotonic()
        seen = 0

        def done(prompts: int, tokens: int) -> None:
            nonlocal seen
            seen += tokens if speed_of == "tokens" else prompts
            speed = seen / max(time.monotonic() - started, 1e-9)
            shown = f"{unit}, {speed:.{0 if speed >= 10 else 1}f} {speed_of}/s" if seen else unit
            self._progress.update(task, advance=prompts, unit=shown)

        yield done
