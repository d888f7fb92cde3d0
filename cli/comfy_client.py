"""A small HTTP client of a running ComfyUI: queue an API-format graph, wait for it, fetch images.

Standard library only. Addresses are "HOST:PORT". Everything is polled; the websocket, which ComfyUI
uses for per-step progress, is not needed for any of it.
"""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

_REQUEST_TIMEOUT = 30.0
_POLL_INTERVAL = 0.2
# A prompt moves from the queue to the history between two requests; only repeated absence from
# both means that it is gone.
_MISSES_UNTIL_GONE = 5


class ComfyClientError(RuntimeError):
    """Base of what this module raises about the server or the prompt."""


class ServerUnreachable(ComfyClientError):
    """No ComfyUI answers at the address."""


class PromptRefused(ComfyClientError):
    """The graph did not pass the server's validation; nothing was run.

    `node_errors`: the server's own report, by node id.
    """

    def __init__(self, message: str, node_errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.node_errors = node_errors


class PromptFailed(ComfyClientError):
    """A node raised while the graph ran, or the run was interrupted or deleted.

    `details`: the server's own record of the error, with the traceback; may be empty.
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}


def queue_prompt(address: str, prompt: Mapping[str, Any], client_id: str) -> str:
    """Queue `prompt`, a graph in API format, and return its prompt id.

    Raises PromptRefused if validation fails. A graph of which only some outputs are valid is
    accepted by ComfyUI, which leaves the others out; they are logged as warnings.
    """
    body = json.dumps({"prompt": prompt, "client_id": client_id}).encode()
    try:
        answer = json.loads(request(address, "/prompt", body=body))
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        try:
            refusal = json.loads(text)
        except json.JSONDecodeError:
            refusal = {"error": f"HTTP {error.code}: {text[:500]}"}
        node_errors = refusal.get("node_errors") or {}
        raise PromptRefused(_refusal_message(refusal, node_errors), node_errors) from None
    for line in _node_error_lines(answer.get("node_errors") or {}):
        logger.warning("left out of the run: %s", line)
    return answer["prompt_id"]


def wait_for(
    address: str,
    prompt_id: str,
    timeout: float,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Wait until the prompt has run, and return its history entry.

    `timeout`: seconds. `on_progress` is called with a short text ("2 ahead in the queue",
    "running") whenever it changes. Raises PromptFailed, TimeoutError, or ServerUnreachable.
    """
    deadline = time.monotonic() + timeout
    state, misses = "", 0
    while True:
        entry = get_json(address, f"/history/{prompt_id}").get(prompt_id)
        if entry is not None:
            _raise_if_failed(entry)
            return entry
        place = _place_in_queue(get_json(address, "/queue"), prompt_id)
        misses = misses + 1 if place is None else 0
        if misses >= _MISSES_UNTIL_GONE:
            raise PromptFailed(f"prompt {prompt_id} is neither queued nor finished: it was deleted")
        if place is not None:
            new_state = "running" if place == 0 else f"{place} ahead in the queue"
            if on_progress is not None and new_state != state:
                on_progress(new_state)
            state = new_state
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"prompt {prompt_id} did not finish in {timeout:g} s ({state or 'not seen'})"
            )
        time.sleep(_POLL_INTERVAL)


def output_images(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    """The images of a history entry, saved ones before previews, each in order of node id.

    Each has `node` (its node id), `filename`, `subfolder` and `type` ("output" or "temp").
    """
    images = [
        {"node": node, **image}
        for node, output in (entry.get("outputs") or {}).items()
        for image in output.get("images") or []
        if isinstance(image, dict) and "filename" in image
    ]
    return sorted(images, key=lambda image: (image.get("type") != "output", _node_key(image)))


def fetch_image(address: str, image: Mapping[str, str]) -> bytes:
    """The encoded file behind one element of `output_images`, as ComfyUI stored it."""
    query = urllib.parse.urlencode(
        {key: image.get(key, "") for key in ("filename", "subfolder", "type")}
    )
    try:
        return request(address, f"/view?{query}")
    except urllib.error.HTTPError as error:
        raise ComfyClientError(
            f"the server does not give out {image.get('filename')!r}: HTTP {error.code}"
        ) from None


def get_json(address: str, path: str) -> Any:
    """GET `path` and parse the answer. Raises ServerUnreachable or ComfyClientError."""
    try:
        return json.loads(request(address, path))
    except urllib.error.HTTPError as error:
        raise ComfyClientError(f"http://{address}{path}: HTTP {error.code}") from None
    except json.JSONDecodeError:
        raise ComfyClientError(
            f"http://{address}{path} is no JSON; is that a ComfyUI server?"
        ) from None


def request(
    address: str, path: str, body: bytes | None = None, timeout: float = _REQUEST_TIMEOUT
) -> bytes:
    """One HTTP request, POST when there is a `body` (JSON). `timeout`: seconds.

    Raises ServerUnreachable when nothing answers, and urllib's HTTPError for 4xx and 5xx.
    """
    headers = {"Content-Type": "application/json"} if body is not None else {}
    url = f"http://{address}{path}"
    http_request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with _opener(address).open(http_request, timeout=timeout) as response:
            return response.read()
    except urllib.error.HTTPError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServerUnreachable(f"no ComfyUI answers at {address}: {reason}") from error


def _opener(address: str) -> urllib.request.OpenerDirector:
    host = address.rpartition(":")[0]
    if host.startswith("127.") or host in ("localhost", "[::1]"):
        # A proxy set for the outside world would be asked for this machine's own server.
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


def _raise_if_failed(entry: Mapping[str, Any]) -> None:
    status = entry.get("status") or {}
    for event, data in status.get("messages") or []:
        if event == "execution_error":
            raise PromptFailed(
                f"node {data.get('node_id')} ({data.get('node_type')}) raised "
                f"{data.get('exception_type')}: {str(data.get('exception_message')).strip()}",
                data,
            )
        if event == "execution_interrupted":
            raise PromptFailed(
                f"the run was interrupted at node {data.get('node_id')} ({data.get('node_type')})",
                data,
            )
    if status.get("status_str") == "error":
        raise PromptFailed("the server reports an error without a message", status)


def _refusal_message(refusal: Mapping[str, Any], node_errors: Mapping[str, Any]) -> str:
    error = refusal.get("error", "the server gave no reason")
    lines = list(_node_error_lines(node_errors))
    if isinstance(error, Mapping):
        # With node errors the general details repeat them without the node ids.
        details = "" if lines else error.get("details")
        error = ": ".join(filter(None, (error.get("message"), details)))
    return "\n".join([f"ComfyUI refused the workflow: {error}", *(f"  {line}" for line in lines)])


def _node_error_lines(node_errors: Mapping[str, Any]) -> list[str]:
    lines = []
    for node_id, report in node_errors.items():
        for error in report.get("errors") or []:
            input_name = (error.get("extra_info") or {}).get("input_name")
            where = f"node {node_id} ({report.get('class_type')})"
            if input_name:
                where += f", input {input_name!r}"
            what = ": ".join(filter(None, (error.get("message"), error.get("details"))))
            lines.append(f"{where}: {what}")
    return lines


def _node_key(image: Mapping[str, str]) -> tuple[int, str]:
    node = image["node"]
    return (int(node) if node.isdecimal() else 10**9, node)
