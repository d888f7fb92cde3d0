"""Running prompts on several servers: one Ray actor each, and Ray's own retry when one dies."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import ray

from ..comfy.client import ComfyClientError, ServerUnreachable, comfyui_at, get_json
from ..comfy.prompt import Limits, patiently
from ..ray_cluster import joined_ray, lost_worker
from .worker import FAILED, UNREACHED, Job, Outcome, attempt

RETRIES = 2
"""How often Ray tries a prompt again: one that stopped three servers is not tried on a fourth."""

RESTARTS = 10
"""How often one actor's process may die."""


class ServerWorker:
    """Runs prompts on ``server``, and on another of ``servers`` once that has gone away."""

    def __init__(self, server: str, servers: Sequence[str], limits: Limits) -> None:
        self._server: str | None = server
        self._servers = list(servers)
        self._limits = limits
        self._lost: list[str] = []
        self._losses: dict[int, int] = {}

    @ray.method(max_task_retries=RETRIES, retry_exceptions=[ServerUnreachable])
    def run(self, job: Job) -> Outcome:
        """Run ``job``. If the server goes away Ray calls this again: then another is asked.

        Not reached means that this worker found no server any more.
        """
        losses = job.losses + self._losses.get(job.number, 0)
        if self._server is None:
            error = "\n".join(["no server is left:", *self._lost])
            job = job._replace(losses=losses)
            return Outcome(job, "", UNREACHED, 0.0, (), error, tuple(self._lost))
        try:
            outcome = attempt(self._server, job, self._limits)
        except ServerUnreachable as error:
            self._lost.append(str(error))
            self._losses[job.number] = losses + 1 - job.losses
            self._server = least_busy(self._servers, self._limits)
            if losses < RETRIES:
                raise
            outcome = Outcome(job, "", FAILED, 0.0, (), _too_many(error))
        return outcome._replace(lost=tuple(self._lost))


def run_on_servers(
    cluster: str, servers: Sequence[str], jobs: Iterable[Job], limits: Limits
) -> Iterator[Outcome]:
    """Run every job once, each on one of ``servers``; yields outcomes as they are ready.

    ``cluster``: Ray's address, or "local". A job is taken when a worker is free. A worker that
    finds no server any more leaves its job to the others; when none is left no further job is
    taken.

    Raises:
        ClusterError: if Ray cannot be joined, or lost an actor for good.
    """
    with joined_ray(cluster, len(servers)):
        # An actor waits for its server nearly all the time: it needs no CPU.
        remote = ray.remote(ServerWorker).options(
            num_cpus=0, max_restarts=RESTARTS, scheduling_strategy="SPREAD"
        )
        idle = [remote.remote(server, servers, limits) for server in servers]
        busy: dict[ray.ObjectRef, tuple[ray.actor.ActorHandle, Job]] = {}
        waiting = iter(jobs)
        unreached: deque[Outcome] = deque()
        lost: tuple[str, ...] = ()
        while True:
            while idle:
                job = unreached.popleft().job if unreached else next(waiting, None)
                if job is None:
                    break
                worker = idle.pop()
                busy[worker.run.remote(job)] = worker, job
            if not busy:
                yield from unreached
                return
            ready, _ = ray.wait(list(busy), num_returns=1)
            worker, job = busy.pop(ready[0])
            outcome = _outcome(ready[0], job)
            if outcome.status == UNREACHED:
                lost += outcome.lost
                unreached.append(outcome)
            else:
                idle.append(worker)
                yield outcome._replace(lost=lost + outcome.lost)


def _outcome(reference: ray.ObjectRef, job: Job) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if not isinstance(error.cause, ServerUnreachable):
            raise lost_worker(error) from error
        return Outcome(job, "", FAILED, 0.0, (), _too_many(error.cause))
    except ray.exceptions.RayError as error:
        raise lost_worker(error) from error


def _too_many(last: Exception) -> str:
    return f"{RETRIES + 1} servers went away while they had it; the last: {last}"


def least_busy(servers: Sequence[str], limits: Limits) -> str | None:
    """The server with the shortest queue among those that answer.

    None if none answers for ``limits.contact`` seconds: one that loads a model is silent for a
    while.
    """

    def length(server: str) -> int | None:
        try:
            comfyui_at(server, limits.answer)
            queue = get_json(server, "/queue", limits.answer)
            return len(queue["queue_running"]) + len(queue["queue_pending"])
        except ComfyClientError:
            return None

    def look() -> str:
        with ThreadPoolExecutor(len(servers)) as pool:
            asked = zip(servers, pool.map(length, servers), strict=True)
            lengths = {server: found for server, found in asked if found is not None}
        if not lengths:
            raise ServerUnreachable("none answers")
        return min(lengths, key=lengths.__getitem__)

    try:
        return patiently(look, limits.contact)
    except ServerUnreachable:
        return None
