"""One prompt on one server: queued once, and followed to its end.

Nothing is queued twice: the caller chooses the prompt's id, and before the graph is sent
(again) the server is asked whether it has that id.
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from ...core.errors import LayerLabError
from .address import Address
from .client import cancel_prompt, find_ended, find_prompt, get_json, post_prompt
from .errors import (
    ComfyClientError,
    PromptFailed,
    ServerUnreachable,
    node_name,
    raise_if_failed,
)
from .socket import EventSocket

ASK_EVERY = 2.0
"""Seconds of silence on the websocket after which the server is asked over HTTP."""

ASK_EVERY_ALONE = 0.5
"""Seconds between two such questions while there is no websocket."""

FIRST_ASK = 0.25
"""Seconds after which it is asked first whether a prompt that was sent just now has ended."""

AFTER_LAST_NODE = 0.1
"""Seconds from the news that the last node is done to the question for the history, in case that
the news that no node runs any more, which ComfyUI sends when the history is written, gets lost."""

LOOK_UP = 0.5
"""Seconds after which a wait looks up whether it is to stop."""

SHORTEST_WAIT = 0.05
"""Seconds for which the websocket is listened to at least between two questions."""

LOSSES = 2
"""How often a restarting server may forget a prompt; the prompt may be what makes it stop."""

OLDEST_COMFYUI = "0.26.0"
"""The pack's oldest; it takes the prompt's id from the client."""

# A prompt moves from the queue to the history between two requests; only repeated absence from
# both means that it is gone.
_MISSES_UNTIL_GONE, _BETWEEN_MISSES = 5, 0.2
_LONGEST_ANSWER, _SHORTEST_ANSWER = 10.0, 1.0
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_Result = TypeVar("_Result")


class Limits(NamedTuple):
    """Seconds: ``prompt`` from being queued to its end, ``contact`` without any answer."""

    prompt: float
    contact: float

    @property
    def answer(self) -> float:
        """Seconds for one answer: a server that hangs is asked again before it is given up."""
        return max(_SHORTEST_ANSWER, min(_LONGEST_ANSWER, self.contact / 3))


class Finished(NamedTuple):
    """``entry`` is the server's history entry.

    ``left_out``: a line for each error of an output that the server did not run.
    """

    entry: dict[str, Any]
    left_out: tuple[str, ...]


class PromptState(NamedTuple):
    """Where a prompt is: ``node`` is the running node's id, which has done ``value`` of ``total``.

    ``ahead``: prompts that go first, None when not known.
    """

    ahead: int | None = None
    node: str | None = None
    value: float = 0.0
    total: float = 0.0


class Stopped(LayerLabError):
    """The caller wants no more of the prompt: ``runs_on`` says whether the server runs it now."""

    def __init__(self, runs_on: bool) -> None:
        super().__init__()
        self.runs_on = runs_on


class _Forgotten(Exception):
    """The server was away, and is back without the prompt: it was started anew."""


def run_prompt(
    address: Address | str,
    graph: Mapping[str, Any],
    prompt_id: str,
    limits: Limits,
    on_progress: Callable[[PromptState], None] = lambda state: None,
    events: EventSocket | None = None,
    is_new: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Finished:
    """Queue ``graph`` (API format) under ``prompt_id``, unless the server has it; wait.

    Args:
        events: an open connection to listen on, which stays open; else one of its own is made.
        is_new: nobody has been sent this id yet, so no server need be asked for it first.
        stopped: asked now and then; once it says yes the prompt is taken from the server's queue,
            unless it runs or has ended.

    Raises:
        PromptRefused: if it does not pass validation.
        PromptFailed: if a node raised, it was deleted, or took longer than ``limits.prompt``.
        ServerUnreachable: if the server does not answer for ``limits.contact`` seconds.
        Stopped: if ``stopped`` said so before the prompt's end.
        ComfyClientError: if it answers what no ComfyUI does.
    """
    if events is None:
        # A later run that finds the prompt under its id can receive its events too.
        with EventSocket(address, prompt_id) as own:
            return run_prompt(address, graph, prompt_id, limits, on_progress, own, is_new, stopped)
    for turn in range(LOSSES + 1):
        events.connect()
        if stopped():
            raise Stopped(runs_on=False)
        new = is_new and turn == 0
        left_out = _queue_once(address, graph, prompt_id, events.client_id, limits, new)
        try:
            had_it = left_out is None
            entry = _follow(address, prompt_id, events, limits, on_progress, stopped, had_it)
        except _Forgotten:
            continue
        if left_out is None:
            left_out = _left_out(address, graph, entry, limits)
        return Finished(entry, tuple(left_out))
    raise PromptFailed(
        f"{address} was started anew {LOSSES + 1} times while it had this prompt, and forgot it; "
        "it may be this prompt that stops it: see its log"
    )


def _queue_once(
    address: Address | str,
    graph: Mapping[str, Any],
    prompt_id: str,
    client_id: str,
    limits: Limits,
    is_new: bool,
) -> list[str] | None:
    """What the server says that it leaves out; None if it had the prompt already."""
    sent = False

    def ask_or_send() -> list[str] | None:
        nonlocal sent
        # A prompt that was sent may still be on its way, or in validation.
        look = _is_gone if sent else _is_unknown
        if (sent or not is_new) and not look(address, prompt_id, limits):
            return None
        sent = True
        queued = post_prompt(address, graph, client_id, prompt_id, limits.answer)
        if queued.prompt_id != prompt_id:
            cancel_prompt(address, queued.prompt_id, limits.answer)
            raise ComfyClientError(
                f"the ComfyUI at {address} is too old: it gave the prompt an id of its own, under "
                "which it could not be found again, so it was taken back. Update it to ComfyUI "
                f"{OLDEST_COMFYUI} or newer"
            )
        return queued.left_out

    return patiently(ask_or_send, limits.contact)


def _follow(
    address: Address | str,
    prompt_id: str,
    events: EventSocket,
    limits: Limits,
    on_progress: Callable[[PromptState], None],
    stopped: Callable[[], bool],
    had_it: bool,
) -> dict[str, Any]:
    """The prompt's history entry, once it has ended well."""
    deadline = time.monotonic() + limits.prompt
    heard = time.monotonic()
    # What an earlier run left may have ended; of a new graph the socket tells sooner.
    next_ask = heard if had_it else heard + FIRST_ASK
    was_away = False
    while True:
        left = deadline - time.monotonic()
        seconds = ASK_EVERY if events.connected else ASK_EVERY_ALONE
        until_ask = next_ask - time.monotonic()
        event = events.receive(max(min(seconds, left, until_ask, LOOK_UP), SHORTEST_WAIT))
        late = time.monotonic() > deadline
        stop = stopped()
        # Other prompts and packs talk on the same socket, so only this prompt's own words count.
        if event is not None and event["data"].get("prompt_id") != prompt_id:
            event = None
        if event is not None:
            heard = time.monotonic()
            next_ask = heard + (AFTER_LAST_NODE if event.get("type") in _ENDS else ASK_EVERY)
            state = _state(event)
            if state is not None:
                on_progress(state)
        ended = event is not None and _ends(event)
        if not (ended or late or stop) and time.monotonic() < next_ask:
            continue
        next_ask = time.monotonic() + seconds
        try:
            entry = find_ended(address, prompt_id, limits.answer) if ended else None
            if entry is None:
                place = find_prompt(address, prompt_id, limits.answer)
                if stop and place.ahead:
                    cancel_prompt(address, prompt_id, limits.answer, waiting=True)
                    # It may have begun before the server read that.
                    place = find_prompt(address, prompt_id, limits.answer)
                entry = place.entry
            if entry is not None:
                raise_if_failed(entry)
                return entry
            if stop:
                raise Stopped(runs_on=place.ahead == 0)
            if place.unknown and _is_gone(address, prompt_id, limits):
                if was_away:
                    raise _Forgotten
                raise PromptFailed(
                    f"prompt {prompt_id} is neither queued nor finished: it was deleted, or the "
                    "server's history was cleared"
                )
            if late:
                cancel_prompt(address, prompt_id, limits.answer)
                raise PromptFailed(
                    f"it did not end within {limits.prompt:g} s and was taken back; a longer "
                    "--timeout lets it"
                )
            heard, was_away = time.monotonic(), False
            on_progress(PromptState(ahead=place.ahead))
        except ServerUnreachable as error:
            was_away = True
            away = time.monotonic() - heard
            if stop:
                raise Stopped(runs_on=True) from error
            if away > limits.contact:
                raise ServerUnreachable(f"{error} (for {away:.0f} s)") from error


def _left_out(
    address: Address | str, graph: Mapping[str, Any], entry: Mapping[str, Any], limits: Limits
) -> list[str]:
    """The outputs that did not run, of a prompt whose acceptance this run did not see."""
    # (number, id, graph, extra data, the outputs to run)
    ran = set(entry["prompt"][4])

    def is_output(kind: str) -> bool:
        path = f"/object_info/{urllib.parse.quote(kind, safe='')}"
        listed = patiently(lambda: get_json(address, path, limits.answer), limits.contact)
        return bool((listed.get(kind) or {}).get("output_node"))

    others = {node_id: node for node_id, node in graph.items() if node_id not in ran}
    outputs = {kind for kind in {n["class_type"] for n in others.values()} if is_output(kind)}
    return [
        f"{node_name(node_id, node['class_type'], graph)}: it, or a node that it takes from, is "
        "not valid; the same command queues it again and says why"
        for node_id, node in others.items()
        if node["class_type"] in outputs
    ]


def _is_unknown(address: Address | str, prompt_id: str, limits: Limits) -> bool:
    return find_prompt(address, prompt_id, limits.answer).unknown


def _is_gone(address: Address | str, prompt_id: str, limits: Limits) -> bool:
    """Whether the server knows nothing of the prompt, also when asked several times."""
    for _ in range(_MISSES_UNTIL_GONE):
        if not _is_unknown(address, prompt_id, limits):
            return False
        time.sleep(_BETWEEN_MISSES)
    return True


def patiently(action: Callable[[], _Result], seconds: float) -> _Result:
    """``action()``, again and again while the server does not answer, for up to ``seconds``."""
    for pause in _pauses(seconds):
        try:
            return action()
        except ServerUnreachable:
            if pause is None:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


def _pauses(seconds: float) -> Iterator[float | None]:
    """Pauses between tries, and None before giving up."""
    until, pause = time.monotonic() + seconds, 0.25
    while (left := until - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(2 * pause, 5.0)
    yield None


def _ends(event: Mapping[str, Any]) -> bool:
    """Whether the prompt, an event of which this is, is in the history now."""
    # ComfyUI writes the history before it says that no node of the prompt is executing.
    return event.get("type") == "executing" and event["data"].get("node") is None


def _state(event: Mapping[str, Any]) -> PromptState | None:
    """What an event of the prompt tells of it; None for events that tell nothing of that kind."""
    data = event["data"]
    if event.get("type") == "executing" and not _ends(event):
        return PromptState(ahead=0, node=data.get("display_node") or data.get("node"))
    if event.get("type") == "progress":
        value, total = data.get("value"), data.get("max")
        if isinstance(value, int | float) and isinstance(total, int | float):
            return PromptState(ahead=0, node=data.get("node"), value=value, total=total)
    return None
