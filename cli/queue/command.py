"""``layerlab queue``: a workflow on one or several ComfyUI servers, without a browser."""

from __future__ import annotations

import argparse
import sys
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack

from rich.console import Console

from ...core.checks import LayerLabError
from ..comfy.client import ComfyClientError, ServerUnreachable, comfyui_at, get_json
from ..comfy.prompt import Limits
from ..out_folder import require_folder, writing_in
from ..ray_cluster import LOCAL, require_ray
from ..show.console import make_console
from .lock import sole_run
from .progress import QueueProgress
from .results import FILE, RESUME, Results
from .servers import DEFAULT_SERVER, has_prompt, read_servers
from .settings import Fraction, Row, has_seed, make_rows, read_table
from .worker import DONE, FAILED, REFUSED, UNREACHED, Job, Outcome, attempt
from .workflow import QueueError, Workflow

ALL_DONE, NOT_ALL_DONE, NO_SERVER = 0, 3, ComfyClientError.exit_status
"""Exit statuses. Bad input gives 1, and words that argparse cannot read 2."""


class NoServer(ComfyClientError):
    """No ComfyUI answers at any address."""


class Interrupted(LayerLabError):
    """The run was interrupted from the keyboard; the message says what becomes of its prompts."""

    exit_status = 130


def run_queue(options: argparse.Namespace) -> int:
    """Queue ``options.workflow`` with its settings; returns the exit status."""
    try:
        return queue_workflow(options, make_console())
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted; what a server has been given goes on there, and the same command again "
            "fetches it and goes on"
        ) from None


def queue_workflow(options: argparse.Namespace, console: Console) -> int:
    """The whole run; ``console`` gets its progress and summary."""
    workflow = Workflow.read(options.workflow)
    table = read_table(options.settings) if options.settings else None
    rows, fractions = make_rows(workflow, options.set, table, options.repeat)
    servers = read_servers(options.server or [DEFAULT_SERVER], options.ray)
    limits = Limits(_seconds("--timeout", options.timeout), _seconds("--contact", options.contact))
    require_folder(options.out)
    if options.ray or len(servers) > 1:
        require_ray(options.ray or LOCAL)
    results = Results(options.out)
    waiting = [row for row in rows if not results.is_done(row)]
    _introduce(console, options, len(rows), len(waiting), servers)
    if options.repeat > 1 and not has_seed(workflow):
        _warn(console, "No seed to move on was found: the repeats may all be the same picture.")
    if not waiting:
        console.print(
            f"All are done already, says {results.path}. To run them again name another --out.",
            markup=False,
        )
        return ALL_DONE
    servers = living(servers, console)
    refuse_fractions(servers[0], fractions)
    progress = QueueProgress(console, len(rows), 0)
    with ExitStack() as stack:
        with writing_in(options.out, RESUME):
            stack.enter_context(sole_run(options.out))
        # Another run may have ended in the folder since it was read.
        results = Results(options.out)
        waiting = [row for row in rows if not results.is_done(row)]
        run = Run(console, workflow, results, limits, progress, _varying(rows))
        stack.enter_context(run.progress)
        run.skip(len(rows) - len(waiting))
        if len(servers) == 1 and not options.ray:
            run.one_by_one(waiting, servers[0])
        else:
            run.collect(waiting, servers)
            run.on_ray(options.ray or LOCAL, servers, waiting)
    return _summarise(console, run.ends, len(waiting), results)


class Run:
    """One run: gives rows to servers and notes how they end; ``ends`` has the status by row."""

    def __init__(
        self,
        console: Console,
        workflow: Workflow,
        results: Results,
        limits: Limits,
        progress: QueueProgress,
        shown: Collection[str],
    ) -> None:
        self.progress = progress
        self.ends: dict[int, str] = {}
        self._console = console
        self._workflow = workflow
        self._results = results
        self._limits = limits
        self._shown = shown
        self._lost: set[str] = set()

    def skip(self, rows: int) -> None:
        """Count rows that an earlier run finished."""
        for _ in range(rows):
            self.progress.done()

    def one_by_one(self, rows: Sequence[Row], server: str) -> None:
        """Run all rows on one server, until it does not answer any more."""
        for row in rows:
            job = self._job(row)
            show = self.progress.follower(self._workflow.title)
            try:
                outcome = attempt(server, job, self._limits, show)
            except ServerUnreachable as error:
                self._end(row, Outcome(job, server, UNREACHED, 0.0, (), str(error)))
                return
            self._end(row, outcome)

    def collect(self, rows: Sequence[Row], servers: Sequence[str]) -> None:
        """Fetch what an interrupted run left with a server: no other server may do it again."""
        for row in rows:
            prompt_id = self._results.open_id(row)
            if prompt_id is None:
                continue
            holders = (s for s in servers if has_prompt(s, prompt_id, self._limits))
            if holder := next(holders, None):
                show = self.progress.follower(self._workflow.title)
                try:
                    self._end(row, attempt(holder, self._job(row), self._limits, show))
                except ServerUnreachable as error:
                    _warn(self._console, f"{error}; what it had goes to another server.")

    def on_ray(self, cluster: str, servers: Sequence[str], rows: Sequence[Row]) -> None:
        """Run the rows that have not ended, each on whichever server is free."""
        from .on_ray import run_on_servers

        left = {row.number: row for row in rows if row.number not in self.ends}
        if left:
            jobs: Iterator[Job] = map(self._job, left.values())
            for outcome in run_on_servers(cluster, servers, jobs, self._limits):
                self._end(left[outcome.job.number], outcome)

    def _job(self, row: Row) -> Job:
        prompt_id = self._results.open_id(row) or str(uuid.uuid4())
        self._results.begin(row, prompt_id)
        return Job(row.number, prompt_id, row.graph)

    def _end(self, row: Row, outcome: Outcome) -> None:
        files = self._results.end(row, outcome)
        self.ends[row.number] = outcome.status
        self.progress.done()
        for line in outcome.lost:
            if line not in self._lost:
                self._lost.add(line)
                _warn(self._console, f"{line}; what it had goes to another server.")
        shown = [f"{key}={row.settings[key]}" for key in self._shown if key in row.settings]
        what = f"{row.number} ({', '.join(shown)[:100]}):" if shown else f"{row.number}:"
        if outcome.status == DONE:
            names = ", ".join(file.name for file in files) or "no picture"
            self._console.print(f"{what} {outcome.seconds:.1f} s, {names}", markup=False)
        else:
            _warn(self._console, f"{what} {outcome.status}: {outcome.error}")


def living(servers: Sequence[str], console: Console) -> list[str]:
    """The ``servers`` at which a ComfyUI answers. Raises NoServer if there is none."""
    found, errors = [], []
    for server in servers:
        try:
            comfyui_at(server)
            found.append(server)
        except ComfyClientError as error:
            errors.append(str(error))
    if not found:
        raise NoServer(
            "\n".join(errors) + "\nStart ComfyUI, or give its address with --server HOST:PORT"
        )
    for error in errors:
        _warn(console, f"Left out: {error}")
    return found


def refuse_fractions(server: str, fractions: Sequence[Fraction]) -> None:
    """Raise QueueError if a whole number of the server is set to one with decimals.

    ComfyUI would cut the decimals off without a word.
    """
    for fraction in fractions:
        listed = get_json(server, f"/object_info/{urllib.parse.quote(fraction.class_type)}")
        inputs = (listed.get(fraction.class_type) or {}).get("input") or {}
        for group in inputs.values():
            if isinstance(group, dict) and (group.get(fraction.input) or [None])[0] == "INT":
                raise QueueError(fraction.message)


def _varying(rows: Sequence[Row]) -> list[str]:
    """The settings in which the rows differ, for each row's line."""
    keys = dict.fromkeys(key for row in rows for key in row.settings)
    absent = object()
    return [
        key
        for key in keys
        if any(row.settings.get(key, absent) != rows[0].settings.get(key, absent) for row in rows)
    ]


def _seconds(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise QueueError(f"{name} is {value:g}: it must be a number of seconds over 0")
    return value


def _introduce(
    console: Console, options: argparse.Namespace, total: int, waiting: int, servers: Sequence[str]
) -> None:
    done = f", {total - waiting} of them done already" if waiting < total else ""
    prompts = "1 prompt" if total == 1 else f"{total} prompts"
    where = servers[0] if len(servers) == 1 else f"{len(servers)} servers"
    line = f"{options.workflow.name}: {prompts}{done}; {where}, into {options.out}"
    console.print(line, style="bold", markup=False)


def _warn(console: Console, text: str) -> None:
    """On standard error, above the bars where there is a terminal."""
    if console.is_terminal:
        console.print(text, style="red", markup=False)
    else:
        sys.stderr.write(f"{text}\n")


def _summarise(console: Console, ends: dict[int, str], waiting: int, results: Results) -> int:
    counts = Counter(ends.values())
    counts[UNREACHED] += waiting - len(ends)
    named = [f"{counts[status]} {status}" for status in (DONE, REFUSED, FAILED, UNREACHED)]
    parts = [part for part in named if not part.startswith("0 ")]
    again = "" if counts[DONE] == waiting else " The same command again takes up what is not done."
    console.print(
        f"{', '.join(parts)}: {results.out}, each with its settings in {FILE}.{again}",
        style="bold",
        markup=False,
    )
    if counts[UNREACHED]:
        return NO_SERVER
    return ALL_DONE if counts[DONE] == waiting else NOT_ALL_DONE
