"""``layerlab queue``: a workflow on one or several ComfyUI servers, without a browser."""

from __future__ import annotations

import argparse
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...core.errors import LayerLabError
from ..comfy.address import Address
from ..comfy.client import ComfyClientError
from ..comfy.prompt import Limits
from ..comfy.saved_graph import SavedGraphError, to_api
from ..comfy.widgets import inputs_of
from ..out_folder import require_folder, writing_in
from ..show.console import make_console
from .graph_file import read_graph_file
from .keeping import RESUME, Keeper
from .lock import sole_run
from .repeats import Repeats
from .reporting import ConsoleReport, JsonReport
from .results import Results
from .seeds import find_seeds
from .servers import DEFAULT_SERVER, Kinds, holder_of, living, read_servers
from .settings import Fraction, Row, make_rows, read_table
from .sharing import Back, Begun, Lost, Progress, Sharing
from .uploads import Uploads
from .worker import DONE, FAILED, REFUSED, RUNS_ON, TAKEN_BACK, UNREACHED, Job, Outcome, Prepare
from .workflow import QueueError, Workflow

ALL_DONE, NOT_ALL_DONE, NO_SERVER = 0, 3, ComfyClientError.exit_status
"""Exit statuses. Bad input gives 1, and words that argparse cannot read 2."""

INSECURE = (
    "--insecure: the certificates of the servers are not checked. Whoever is on the way to one can "
    "read and change what is sent, the login too."
)


class Interrupted(LayerLabError):
    """The run was interrupted from the keyboard; the message says what becomes of its prompts."""

    exit_status = 130


def run_queue(options: argparse.Namespace) -> int:
    """Queue ``options.workflow`` with its settings; returns the exit status."""
    if options.ray is not None:
        raise QueueError(
            "--ray: queueing takes no Ray any more, for the servers do the work and this command "
            "only waits for them. Leave --ray out and repeat --server for each server. On several "
            "machines layerlab profile still works with --ray"
        )
    with JsonReport() if options.json else ConsoleReport(make_console()) as report:
        try:
            return queue_workflow(options, report)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted; what a server has been given goes on there, and the same command "
                "again fetches it and goes on"
            ) from None


def queue_workflow(options: argparse.Namespace, report: ConsoleReport) -> int:
    """The whole run; ``report`` is told how it goes."""
    servers = read_servers(options.server or [DEFAULT_SERVER], options.header, options.insecure)
    limits = Limits(_seconds("--timeout", options.timeout), _seconds("--contact", options.contact))
    require_folder(options.out)
    table = read_table(options.settings) if options.settings else None
    found = read_graph_file(options.workflow)
    if found.saved or options.upload:
        servers = living(servers, report.warn)
    kinds = Kinds(servers[0], limits)
    workflow = Workflow(found.graph or convert(options.workflow, found.saved, kinds))
    rows, fractions = make_rows(workflow, options.set, table, options.repeat)
    uploads = None
    if options.upload:
        folders = [Path.cwd(), options.workflow.parent]
        uploads = Uploads(workflow, kinds.describe, folders, limits)
        rows, absent = uploads.find(rows)
        for line in absent:
            report.say(line)
    results = Results(options.out)
    waiting = [row for row in rows if not results.is_done(row)]
    done = len(rows) - len(waiting)
    report.introduce(options.workflow, len(rows), done, [str(s) for s in servers], options.out)
    if options.insecure:
        report.warn(INSECURE)
    if options.repeat > 1:
        _tell_seeds(workflow, report)
    if not waiting:
        report.say(
            f"All are done already, says {results.path}. To run them again name another --out."
        )
        return ALL_DONE
    if not (found.saved or options.upload):
        servers = living(servers, report.warn)
    refuse_fractions(Kinds(servers[0], limits), fractions)
    with ExitStack() as stack:
        with writing_in(options.out, RESUME):
            stack.enter_context(sole_run(options.out))
        # Another run may have ended in the folder since it was read.
        results = Results(options.out)
        waiting = [row for row in rows if not results.is_done(row)]
        report.start(workflow, rows, len(waiting), _varying(rows))
        keeper = Keeper(options.out, workflow.title, options.only == "images")
        prepare = uploads.prepare if uploads else lambda server, job: job
        run = Run(report, results, limits, keeper, prepare)
        if options.repeat > 1:
            run.remember(rows)
        run.run(waiting, servers)
    return run.summarise(len(waiting))


class Run:
    """One run: gives rows to servers and notes how they end; ``ends`` has the status by row."""

    def __init__(
        self,
        report: ConsoleReport,
        results: Results,
        limits: Limits,
        keeper: Keeper,
        prepare: Prepare,
    ) -> None:
        self.ends: dict[int, str] = {}
        self._report = report
        self._results = results
        self._limits = limits
        self._keeper = keeper
        self._prepare = prepare
        self._repeats: Repeats | None = None

    def remember(self, rows: Sequence[Row]) -> None:
        """Compare the pictures of repeats, also with those of rows that are done."""
        self._repeats = Repeats(self._results.out)
        for row in rows:
            if self._results.is_done(row):
                self._repeats.note(row.line, row.number, self._results.last(row).get("outputs"))

    def run(self, rows: Sequence[Row], servers: Sequence[Address]) -> None:
        """Run all rows, each on whichever server is free, until none answers any more.

        Raises:
            Interrupted: if the user asked for an end; what waited on the servers is taken back.
        """
        by_number = {row.number: row for row in rows}
        sharing = Sharing(
            servers,
            self._jobs(rows, servers),
            self._limits,
            self._keeper.keep,
            self._results.client_id,
            self._prepare,
        )
        try:
            self._listen(sharing, by_number)
        except KeyboardInterrupt:
            sharing.stop()
            self._report.say("Interrupted: taking back what waits on the servers.")
            self._listen(sharing, by_number)
            raise Interrupted(self._what_is_left(len(rows))) from None

    def summarise(self, waiting: int) -> int:
        """Tell how many ended in which way; returns the exit status."""
        counts = Counter(self.ends.values())
        counts[UNREACHED] += waiting - len(self.ends)
        ordered = {status: counts[status] for status in (DONE, REFUSED, FAILED, UNREACHED)}
        again = "" if counts[DONE] == waiting else " The same command takes up what is not done."
        self._report.summarise(ordered, self._results.out, again)
        if counts[UNREACHED]:
            return NO_SERVER
        return ALL_DONE if counts[DONE] == waiting else NOT_ALL_DONE

    def _jobs(self, rows: Sequence[Row], servers: Sequence[Address]) -> Iterator[Job]:
        for row in rows:
            prompt_id = self._results.open_id(row)
            is_new = prompt_id is None
            prompt_id = prompt_id or str(uuid.uuid4())
            holder = None
            if not is_new and len(servers) > 1:
                # No other server may do again what one has from an interrupted run.
                holder = holder_of(prompt_id, servers, self._limits)
            self._results.begin(row, prompt_id)
            yield Job(row.number, prompt_id, row.graph, is_new=is_new, holder=holder)

    def _listen(self, sharing: Sharing, rows: dict[int, Row]) -> None:
        for news in sharing.news():
            if isinstance(news, Progress):
                row = rows[news.job.number]
                self._report.progress(row, str(news.server), news.state)
            elif isinstance(news, Begun):
                self._report.begin(rows[news.job.number], str(news.server), news.job)
            elif isinstance(news, Lost):
                more = "; what it had goes to another server." if news.passed_on else ""
                if more:
                    self._report.warn(f"{news.error}{more}")
            elif isinstance(news, Back):
                self._report.say(f"{news.server} answers again.")
            else:
                self._end(rows[news.job.number], news)

    def _end(self, row: Row, outcome: Outcome) -> None:
        # What runs on is asked for again by the next run: its line stays the one that queued it.
        if outcome.status != RUNS_ON:
            self._results.end(row, outcome)
        self.ends[row.number] = outcome.status
        self._report.end(row, str(outcome.server), outcome)
        if self._repeats and outcome.status == DONE:
            for line in self._repeats.note(row.line, row.number, outcome.kept.outputs):
                self._report.warn(line)

    def _what_is_left(self, waiting: int) -> str:
        counts = Counter(self.ends.values())
        said = [f"{counts[s]} {s}" for s in (DONE, REFUSED, FAILED, UNREACHED) if counts[s]]
        if counts[TAKEN_BACK]:
            said.append(f"{counts[TAKEN_BACK]} taken back from a server's queue")
        if counts[RUNS_ON]:
            said.append(f"{counts[RUNS_ON]} still running on a server")
        if waiting > len(self.ends):
            said.append(f"{waiting - len(self.ends)} not begun")
        return (
            f"interrupted: {', '.join(said)}. The same command fetches what runs on and goes on "
            "with the rest"
        )


def convert(path: Path, saved: dict[str, Any] | None, kinds: Kinds) -> dict[str, Any]:
    """What the page saved in API format. Raises QueueError if it cannot be converted."""
    try:
        graph = to_api(saved or {}, kinds.describe)
    except SavedGraphError as error:
        raise QueueError(
            f"{path} is as ComfyUI's page saves it, and cannot be queued: {error}. Or open it in "
            "ComfyUI and take Workflow > Export (API)"
        ) from None
    if not graph:
        raise QueueError(f"{path} has no node that could be queued: all are muted, or notes")
    return graph


def refuse_fractions(kinds: Kinds, fractions: Sequence[Fraction]) -> None:
    """Raise QueueError if a whole number of the server is set to one with decimals.

    ComfyUI would cut the decimals off without a word.
    """
    for fraction in fractions:
        for one in inputs_of(kinds.describe(fraction.class_type)):
            if one.name == fraction.input and one.kind == "INT":
                raise QueueError(fraction.message)


def _tell_seeds(workflow: Workflow, report: ConsoleReport) -> None:
    """Say by name what --repeat cannot move."""
    seeds = find_seeds(workflow)
    if not seeds.moved and not seeds.fixed:
        report.warn("No seed to move on was found: the repeats may all be the same picture.")
    for line in seeds.fixed:
        report.warn(f"A seed stays the same in every repeat: {line}.")


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
