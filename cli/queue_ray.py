"""The prompts on several servers: one Ray actor a server, and Ray's own retry when one dies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import ray

from .comfy_client import ComfyClientError, ServerUnreachable, comfyui_at, get_json
from .queue_prompt import Limits
from .queue_worker import FAILED, UNREACHED, Job, Outcome, attempt
from .ray_cluster import joined_ray, lost_worker

RETRIES = 2
"""How often Ray tries a prompt again. One that three servers died of does not get a fourth."""

RESTARTS = 10
"""How often one actor's process may die."""


class ServerWorker:
    """Runs prompts on ``server``, and on another of ``servers`` once that has gone away."""

    def __init__(self, server: str, servers: Sequence[str], limits: Limits) -> None:
        self._server: str | None = server
        self._servers = list(servers)
        self._limits = limits
        self._lost: list[str] = []

    @ray.method(max_task_retries=RETRIES, retry_exceptions=[ServerUnreachable])
    def run(self, job: Job) -> Outcome:
        """Run ``job``. If the server goes away Ray calls this again: then another is asked."""
        if self._server is None:
            error = "\n".join(["no server is left:", *self._lost])
            return Outcome(job, "", UNREACHED, 0.0, (), error, tuple(self._lost))
        try:
            outcome = attempt(self._server, job, self._limits)
        except ServerUnreachable as error:
            self._lost.append(str(error))
            self._server = _least_busy(self._servers)
            raise
        return outcome._replace(lost=tuple(self._lost))


def run_on_servers(
    cluster: str, servers: Sequence[str], jobs: Iterable[Job], limits: Limits
) -> Iterator[Outcome]:
    """Every job once, each on one of ``servers``; outcomes come as they are ready.

    ``cluster``: Ray's address, or "local". A job is taken when a server is free. After an outcome
    that says that no server is left no further job is.

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
        more = True
        while True:
            while idle and more:
                job = next(waiting, None)
                if job is None:
                    more = False
                else:
                    worker = idle.pop()
                    busy[worker.run.remote(job)] = worker, job
            if not busy:
                return
            ready, _ = ray.wait(list(busy), num_returns=1)
            worker, job = busy.pop(ready[0])
            outcome = _outcome(ready[0], job)
            more = more and outcome.status != UNREACHED
            idle.append(worker)
            yield outcome


def _outcome(reference: ray.ObjectRef, job: Job) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if not isinstance(error.cause, ServerUnreachable):
            raise lost_worker(error) from error
        message = f"{RETRIES + 1} servers went away while they had it; the last: {error.cause}"
        return Outcome(job, "", FAILED, 0.0, (), message)
    except ray.exceptions.RayError as error:
        raise lost_worker(error) from error


def _least_busy(servers: Sequence[str]) -> str | None:
    """Of those that answer the one with the shortest queue; None if none answers."""
    lengths: dict[str, int] = {}
    for server in servers:
        try:
            comfyui_at(server)
            queue = get_json(server, "/queue")
            lengths[server] = len(queue["queue_running"]) + len(queue["queue_pending"])
        except ComfyClientError:
            continue
    return min(lengths, key=lengths.__getitem__, default=None)
