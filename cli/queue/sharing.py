"""Several servers share prompts out: a thread each, which waits for its server nearly always.

A server that goes away gives its prompt to the others. When it comes back while they work it gets
prompts again, and what it still has of the one that another took is taken back.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..comfy.address import Address
from ..comfy.client import ComfyClientError, cancel_prompt, comfyui_at
from ..comfy.prompt import Limits, PromptState
from ..comfy.socket import EventSocket
from .worker import FAILED, LOST, UNREACHED, Job, Keep, Outcome, Prepare, attempt

MOST_LOSSES = 3
"""A prompt that so many servers went away with is not tried on another: it may be the cause."""

BETWEEN_VISITS = 2.0
"""Seconds between two looks whether a server has come back."""

LOOK_UP = 0.2
"""Seconds after which the caller's thread wakes up, for the keyboard's interrupt to reach it."""


class Begun(NamedTuple):
    """A server has taken a job."""

    server: Address
    job: Job


class Progress(NamedTuple):
    """Where the job of a server is."""

    server: Address
    job: Job
    state: PromptState


class Lost(NamedTuple):
    """A server went away; ``passed_on``: what it had goes to another."""

    server: Address
    error: str
    passed_on: bool


class Back(NamedTuple):
    """A server that went away answers again."""

    server: Address


News = Begun | Progress | Lost | Back | Outcome


class Sharing:
    """Runs ``jobs`` on ``servers``, each job once; :meth:`news` tells what happens.

    Args:
        jobs: taken one by one, when a server is free, by that server's thread.
        keep: saves what a prompt made, in that server's thread.
        client_id: that under which the servers send events.
        prepare: makes of a job the one that a server is sent, in that server's thread.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        jobs: Iterable[Job],
        limits: Limits,
        keep: Keep,
        client_id: str,
        prepare: Prepare = lambda server, job: job,
    ) -> None:
        self._servers = list(servers)
        self._limits = limits
        self._keep = keep
        self._client_id = client_id
        self._prepare = prepare
        self._jobs = iter(jobs)
        self._given_back: deque[Job] = deque()
        self._held: deque[Job] = deque()
        self._is_empty = False
        self._busy = 0
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._news: queue.Queue[News | BaseException | None] = queue.Queue()
        self._living = set(self._servers)
        self._working: int | None = None

    def news(self) -> Iterator[News]:
        """What happens, until every job has ended or no server is left. Where an interrupt broke
        it off, another call goes on.

        Jobs that no server could take any more end as not reached; those that were not taken from
        ``jobs`` are left there. Raises what ``jobs`` and ``keep`` raise.
        """
        if self._working is None:
            self._working = len(self._servers)
            for server in self._servers:
                threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        while self._working:
            try:
                one = self._news.get(timeout=LOOK_UP)
            except queue.Empty:
                continue
            if one is None:
                self._working -= 1
            elif isinstance(one, BaseException):
                self.stop()
                raise one
            else:
                yield one

    def stop(self) -> None:
        """Begin no more jobs, and take back from the servers what waits there; ``news`` goes on
        until that is done."""
        self._stop.set()
        with self._change:
            self._change.notify_all()

    def _serve(self, server: Address) -> None:
        try:
            with EventSocket(server, self._client_id) as events:
                while (job := self._take(server)) is not None:
                    self._news.put(Begun(server, job))
                    if not self._run(server, job, events) and not self._comes_back(server, job):
                        break
        except BaseException as error:  # It is the caller's to handle.
            self._news.put(error)
        finally:
            self._news.put(None)

    def _run(self, server: Address, job: Job, events: EventSocket) -> bool:
        """Whether the server is still there."""
        try:
            outcome = attempt(
                server,
                job,
                self._limits,
                self._keep,
                lambda state: self._news.put(Progress(server, job, state)),
                events,
                self._stop.is_set,
                self._prepare,
            )
        except LOST as error:
            self._lose(server, job, str(error))
            return False
        self._news.put(outcome)
        self._end_one()
        return True

    def _comes_back(self, server: Address, lost: Job) -> bool:
        """Whether the server answers again while others work, without a copy of the job that it
        had, if one of them has that now."""
        while True:
            with self._change:
                self._change.wait(BETWEEN_VISITS)
                if self._stop.is_set() or not self._living or self._is_over():
                    return False
                is_free = any(job.number == lost.number for job in self._given_back)
            try:
                comfyui_at(server, self._limits.answer)
                if not is_free:
                    cancel_prompt(server, lost.prompt_id, self._limits.answer)
            except ComfyClientError:
                continue
            with self._change:
                if not self._living:
                    return False
                self._living.add(server)
            self._news.put(Back(server))
            return True

    def _is_over(self) -> bool:
        return self._is_empty and not (self._busy or self._given_back or self._held)

    def _take(self, server: Address) -> Job | None:
        """The next job for the server; None when there will be none any more."""
        with self._change:
            while not self._stop.is_set():
                if self._given_back:
                    job = self._given_back.popleft()
                elif (job := next((j for j in self._held if j.holder == server), None)) is not None:
                    self._held.remove(job)
                else:
                    job = self._next_free(server)
                if job is not None:
                    self._busy += 1
                    return job
                if self._is_over():
                    self._change.notify_all()
                    return None
                self._change.wait(LOOK_UP)
        return None

    def _next_free(self, server: Address) -> Job | None:
        """From the list; what another living server has from an earlier run waits for that one."""
        for job in self._jobs:
            if job.holder in (None, server) or job.holder not in self._living:
                return job
            self._held.append(job)
        self._is_empty = True
        return None

    def _lose(self, server: Address, job: Job, error: str) -> None:
        with self._change:
            self._living.discard(server)
            self._busy -= 1
            job = job._replace(losses=job.losses + 1, is_new=False, holder=None)
            unheld = [j for j in self._held if j.holder == server]
            self._held = deque(j for j in self._held if j.holder != server)
            self._given_back.extend(j._replace(holder=None) for j in unheld)
            tired = job.losses >= MOST_LOSSES
            if not tired:
                self._given_back.appendleft(job)
            self._news.put(Lost(server, error, bool(self._living) and not tired))
            if tired:
                told = f"{MOST_LOSSES} servers went away while they had it; the last: {error}"
                self._news.put(Outcome(job, server, FAILED, error=told))
            if not self._living:
                for left in (*self._given_back, *self._held):
                    self._news.put(Outcome(left, server, UNREACHED, error=error))
                self._given_back.clear()
                self._held.clear()
            self._change.notify_all()

    def _end_one(self) -> None:
        with self._change:
            self._busy -= 1
            self._change.notify_all()
