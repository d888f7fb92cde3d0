"""One prompt on one server, with an outcome instead of an error, so that others can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..comfy.address import Address
from ..comfy.client import ComfyClientError, PromptRefused, ServerUnreachable
from ..comfy.errors import CertificateError, LoginNeeded
from ..comfy.prompt import Limits, PromptState, Stopped, run_prompt
from ..comfy.socket import EventSocket
from .keeping import Kept

DONE, REFUSED, FAILED, UNREACHED = "done", "refused", "failed", "not reached"
"""How a prompt can end. "Not reached": no server answers any more; a later run may take it."""

TAKEN_BACK, RUNS_ON = "taken back", "runs on"
"""How it ends when the run is interrupted: it waited on the server, or that runs it now."""

LOST = (ServerUnreachable, LoginNeeded, CertificateError)
"""Errors after which a server is given up, and what it had goes to another."""


class Job(NamedTuple):
    """What a server gets: a graph in API format under an id chosen beforehand.

    ``losses``: how many servers went away while they had it. ``is_new``: no server has been sent
    it. ``holder``: the server that has it from an earlier run.
    """

    number: int
    prompt_id: str
    graph: Mapping[str, Any]
    losses: int = 0
    is_new: bool = False
    holder: Address | None = None


class Outcome(NamedTuple):
    """How a job ended: ``status`` is one of those above, ``seconds`` the time it took.

    A prompt of which only some outputs are valid has failed, and what it made is ``kept``.
    """

    job: Job
    server: Address | None
    status: str
    seconds: float = 0.0
    kept: Kept = Kept()
    error: str = ""


Keep = Callable[[Address, int, Mapping[str, Any], Limits], Kept]
"""Saves what a history entry names, of a server and a row's number."""


Prepare = Callable[[Address, Job], Job]
"""Makes of a job the one that this server is sent."""


def attempt(
    server: Address,
    job: Job,
    limits: Limits,
    keep: Keep,
    on_progress: Callable[[PromptState], None] = lambda state: None,
    events: EventSocket | None = None,
    stopped: Callable[[], bool] = lambda: False,
    prepare: Prepare = lambda server, job: job,
) -> Outcome:
    """Run ``job`` on ``server``. Raises one of :data:`LOST`, so that another can be asked."""
    started = time.monotonic()
    status, kept, error = DONE, Kept(), ""
    try:
        job = prepare(server, job)
        finished = run_prompt(
            server, job.graph, job.prompt_id, limits, on_progress, events, job.is_new, stopped
        )
        kept = keep(server, job.number, finished.entry, limits)
        errors = [*kept.missing]
        if finished.left_out:
            errors += ["the server left out what is not valid:", *finished.left_out]
        if errors:
            status, error = FAILED, "\n".join(errors)
    except Stopped as stop:
        status = RUNS_ON if stop.runs_on else TAKEN_BACK
    except LOST:
        raise
    except PromptRefused as refusal:
        status, error = REFUSED, str(refusal)
    except ComfyClientError as failure:
        status, error = FAILED, str(failure)
    return Outcome(job, server, status, time.monotonic() - started, kept, error)
