"""A small HTTP client of a running ComfyUI: queue an API-format graph, ask for it, fetch images.

Standard library only. Addresses are "HOST:PORT". A prompt is followed to its end by
:func:`.prompt.run_prompt`.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import (
    ComfyClientError,
    PromptRefused,
    ServerUnreachable,
    node_error_lines,
    refusal_message,
)

__all__ = [
    "ComfyClientError",
    "QueuePlace",
    "PromptRefused",
    "Queued",
    "ServerUnreachable",
    "cancel_prompt",
    "comfyui_at",
    "fetch_image",
    "find_prompt",
    "get_json",
    "is_loopback",
    "output_images",
    "post_prompt",
    "request",
]

_REQUEST_TIMEOUT = 30.0


class Queued(NamedTuple):
    """A prompt that the server took.

    ``left_out``: a line for each error of an output that is not valid; ComfyUI runs the others.
    """

    prompt_id: str
    left_out: list[str]


class QueuePlace(NamedTuple):
    """Where a prompt is: its history ``entry`` once it ended, else how many go ``ahead``.

    ``ahead`` is 0 for one that runs. Both are None when the server knows nothing of it.
    """

    entry: dict[str, Any] | None
    ahead: int | None

    @property
    def unknown(self) -> bool:
        """Neither queued, nor running, nor ended."""
        return self.entry is None and self.ahead is None


def post_prompt(
    address: str,
    prompt: Mapping[str, Any],
    client_id: str,
    prompt_id: str | None = None,
    timeout: float = _REQUEST_TIMEOUT,
) -> Queued:
    """Queue ``prompt``, a graph in API format.

    ``prompt_id``: a UUID in its usual spelling that the prompt is to have; one that was chosen
    beforehand can be looked for when the answer got lost. Raises PromptRefused or
    ServerUnreachable; after the latter the server may have the prompt all the same.
    """
    content = {"prompt": prompt, "client_id": client_id}
    if prompt_id is not None:
        content["prompt_id"] = prompt_id
    try:
        body = json.dumps(content).encode()
        answer = json.loads(request(address, "/prompt", body=body, timeout=timeout))
    except urllib.error.HTTPError as error:
        refusal = _refusal(address, error)
        node_errors = refusal.get("node_errors") or {}
        message = refusal_message(refusal, node_errors, prompt)
        raise PromptRefused(message, node_errors) from None
    except (ValueError, RecursionError):
        raise ComfyClientError(
            f"http://{address}/prompt answers no JSON; is that ComfyUI?"
        ) from None
    left_out = node_error_lines(answer.get("node_errors") or {}, prompt)
    return Queued(answer["prompt_id"], left_out)


def find_prompt(address: str, prompt_id: str, timeout: float = _REQUEST_TIMEOUT) -> QueuePlace:
    """Where the prompt is. The queue is asked first: prompts go from there to the history, so one
    that moves in between is still seen."""
    ahead = _place_in_queue(get_json(address, "/queue", timeout), prompt_id)
    if ahead is not None:
        return QueuePlace(None, ahead)
    return QueuePlace(get_json(address, f"/history/{prompt_id}", timeout).get(prompt_id), None)


def cancel_prompt(address: str, prompt_id: str, timeout: float = _REQUEST_TIMEOUT) -> None:
    """Take the prompt from the queue, or interrupt it if it runs; other prompts are left alone."""

    def post(path: str, what: Mapping[str, Any]) -> None:
        try:
            request(address, path, body=json.dumps(what).encode(), timeout=timeout)
        except urllib.error.HTTPError as error:
            raise ComfyClientError(f"http://{address}{path}: HTTP {error.code}") from None

    post("/queue", {"delete": [prompt_id]})
    # An old ComfyUI does not read the id and interrupts whatever runs: so only if this one does.
    if find_prompt(address, prompt_id, timeout).ahead == 0:
        post("/interrupt", {"prompt_id": prompt_id})


def comfyui_at(address: str, timeout: float = 10.0) -> str:
    """The version of the ComfyUI at the address; ``timeout``: seconds.

    Raises ServerUnreachable if nothing answers, ComfyClientError if it is something else.
    """
    stats = get_json(address, "/system_stats", timeout)
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict) or "comfyui_version" not in system:
        raise ComfyClientError(f"what answers at {address} is no ComfyUI; another port?")
    return system["comfyui_version"]


def output_images(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The images of a history entry, saved ones before previews, each in order of node id.

    Each has ``node`` (its node id), ``filename``, ``subfolder`` and ``type`` ("output" or "temp").
    """
    images = [
        {"node": node, **image}
        for node, output in (entry.get("outputs") or {}).items()
        for image in output.get("images") or []
        if isinstance(image, dict) and "filename" in image
    ]
    return sorted(images, key=lambda image: (image.get("type") != "output", _node_key(image)))


def fetch_image(address: str, image: Mapping[str, str]) -> bytes:
    """The encoded file behind one element of ``output_images``, as ComfyUI stored it."""
    query = urllib.parse.urlencode(
        {key: image.get(key, "") for key in ("filename", "subfolder", "type")}
    )
    try:
        return request(address, f"/view?{query}")
    except urllib.error.HTTPError as error:
        raise ComfyClientError(
            f"the server does not give out {image.get('filename')!r}: HTTP {error.code}"
        ) from None


def get_json(address: str, path: str, timeout: float = _REQUEST_TIMEOUT) -> Any:
    """GET ``path`` and parse the answer. Raises ServerUnreachable or ComfyClientError."""
    try:
        return json.loads(request(address, path, timeout=timeout))
    except urllib.error.HTTPError as error:
        raise ComfyClientError(f"http://{address}{path}: HTTP {error.code}") from None
    except (ValueError, RecursionError):
        raise ComfyClientError(
            f"http://{address}{path} is no JSON; is that a ComfyUI server?"
        ) from None


def request(
    address: str, path: str, body: bytes | None = None, timeout: float = _REQUEST_TIMEOUT
) -> bytes:
    """One HTTP request, POST when there is a ``body`` (JSON). ``timeout``: seconds.

    Raises ServerUnreachable when nothing answers, when the answer breaks off, or when a proxy says
    that the server is away (502 to 504), and urllib's HTTPError for other 4xx and 5xx.
    """
    headers = {"Content-Type": "application/json"} if body is not None else {}
    url = f"http://{address}{path}"
    http_request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with _opener(address).open(http_request, timeout=timeout) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        if error.code in (502, 503, 504):
            raise ServerUnreachable(f"no ComfyUI behind {address}: HTTP {error.code}") from error
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ServerUnreachable(f"no ComfyUI answers at {address}: {reason}") from error


def is_loopback(address: str) -> bool:
    """A proxy set for the outside world must not be asked for this machine's own server."""
    host = address.rpartition(":")[0].lower()
    return host.startswith("127.") or host in ("localhost", "[::1]")


def _opener(address: str) -> urllib.request.OpenerDirector:
    if is_loopback(address):
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()


def _place_in_queue(queue: Mapping[str, Any], prompt_id: str) -> int | None:
    """0 when running, n when n prompts go first, None when the queue does not hold it."""
    if any(item[1] == prompt_id for item in queue["queue_running"]):
        return 0
    pending = sorted(queue["queue_pending"], key=lambda item: item[0])
    for ahead, item in enumerate(pending):
        if item[1] == prompt_id:
            return ahead + max(1, len(queue["queue_running"]))
    return None


def _refusal(address: str, error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        text = error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as cut:
        raise ServerUnreachable(f"{address} broke off its answer: {cut}") from cut
    try:
        refusal = json.loads(text)
    except (ValueError, RecursionError):
        refusal = None
    return refusal if isinstance(refusal, dict) else {"error": f"HTTP {error.code}: {text[:500]}"}


def _node_key(image: Mapping[str, str]) -> tuple[int, str]:
    node = image["node"]
    return (int(node) if node.isdecimal() else 10**9, node)
