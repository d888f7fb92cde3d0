"""One prompt on one server, with an outcome instead of an error, so that others can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..comfy.client import ComfyClientError, PromptRefused, ServerUnreachable
from ..comfy.prompt import Image, Limits, PromptState, run_prompt

DONE, REFUSED, FAILED, UNREACHED = "done", "refused", "failed", "not reached"
"""How a prompt can end. "Not reached": no server answers any more; a later run may take it."""


class Job(NamedTuple):
    """What a server gets: a graph in API format under an id chosen beforehand.

    ``losses``: how many servers went away while they had it.
    """

    number: int
    prompt_id: str
    graph: Mapping[str, Any]
    losses: int = 0


class Outcome(NamedTuple):
    """How a job ended: ``status`` is one of the four above, ``seconds`` the time it took.

    A prompt of which only some outputs are valid has failed, and still has ``images``. ``lost``:
    a line for each server that went away before.
    """

    job: Job
    server: str
    status: str
    seconds: float
    images: tuple[Image, ...] = ()
    error: str = ""
    lost: tuple[str, ...] = ()


def attempt(
    server: str,
    job: Job,
    limits: Limits,
    on_progress: Callable[[PromptState], None] = lambda state: None,
) -> Outcome:
    """Run ``job`` on ``server``. Raises ServerUnreachable, so that another server can be asked."""
    started = time.monotonic()
    status, images, error = DONE, (), ""
    try:
        finished = run_prompt(server, job.graph, job.prompt_id, limits, on_progress)
        images = finished.images
        if finished.left_out:
            status = FAILED
            error = "\n".join(["the server left out what is not valid:", *finished.left_out])
    except ServerUnreachable:
        raise
    except PromptRefused as refusal:
        status, error = REFUSED, str(refusal)
    except ComfyClientError as failure:
        status, error = FAILED, str(failure)
    return Outcome(job, server, status, time.monotonic() - started, images, error)
