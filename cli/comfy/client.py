"""A small HTTP client of a running ComfyUI: queue an API-format graph, ask for it, fetch files.

Standard library only. Addresses are :class:`.address.Address`, or text such as "127.0.0.1:8188". A
prompt is followed to its end by :func:`.prompt.run_prompt`.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .address import Address
from .errors import (
    ComfyClientError,
    FileNotGiven,
    LoginNeeded,
    PromptRefused,
    ServerUnreachable,
    node_error_lines,
    refusal_message,
)
from .transport import REQUEST_TIMEOUT, download, request

__all__ = [
    "ComfyClientError",
    "QueuePlace",
    "PromptRefused",
    "Queued",
    "ServerUnreachable",
    "cancel_prompt",
    "comfyui_at",
    "fetch_file",
    "fetch_image",
    "find_ended",
    "find_prompt",
    "get_json",
    "output_images",
    "post_prompt",
    "request",
    "upload_file",
]


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
    address: Address | str,
    prompt: Mapping[str, Any],
    client_id: str,
    prompt_id: str | None = None,
    timeout: float = REQUEST_TIMEOUT,
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
        left_out = node_error_lines(answer.get("node_errors") or {}, prompt)
        return Queued(answer["prompt_id"], left_out)
    except urllib.error.HTTPError as error:
        refusal = _refusal(address, error)
        node_errors = refusal.get("node_errors") or {}
        message = refusal_message(refusal, node_errors, prompt)
        raise PromptRefused(message, node_errors) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ComfyClientError(f"{address}/prompt answers no JSON; is that ComfyUI?") from None


def find_prompt(
    address: Address | str, prompt_id: str, timeout: float = REQUEST_TIMEOUT
) -> QueuePlace:
    """Where the prompt is. The queue is asked first: prompts go from there to the history, so one
    that moves in between is still seen."""
    try:
        ahead = _place_in_queue(get_json(address, "/queue", timeout), prompt_id)
    except (LookupError, TypeError):
        raise ComfyClientError(f"{address}/queue answers no queue; is that ComfyUI?") from None
    if ahead is not None:
        return QueuePlace(None, ahead)
    return QueuePlace(find_ended(address, prompt_id, timeout), None)


def find_ended(
    address: Address | str, prompt_id: str, timeout: float = REQUEST_TIMEOUT
) -> dict[str, Any] | None:
    """The history entry of a prompt that ended, None of any other."""
    return get_json(address, f"/history/{prompt_id}", timeout).get(prompt_id)


def cancel_prompt(
    address: Address | str,
    prompt_id: str,
    timeout: float = REQUEST_TIMEOUT,
    waiting: bool = False,
) -> None:
    """Take the prompt from the queue, or interrupt it if it runs; other prompts are left alone.

    ``waiting``: only if it waits; one that runs is left alone too.
    """

    def post(path: str, what: Mapping[str, Any]) -> None:
        try:
            request(address, path, body=json.dumps(what).encode(), timeout=timeout)
        except urllib.error.HTTPError as error:
            raise ComfyClientError(f"{address}{path}: HTTP {error.code}") from None

    post("/queue", {"delete": [prompt_id]})
    # An old ComfyUI does not read the id and interrupts whatever runs: so only if this one does.
    if not waiting and find_prompt(address, prompt_id, timeout).ahead == 0:
        post("/interrupt", {"prompt_id": prompt_id})


def comfyui_at(address: Address | str, timeout: float = 10.0) -> str:
    """The version of the ComfyUI at the address; ``timeout``: seconds.

    Raises ServerUnreachable if nothing answers, ComfyClientError if it is something else.
    """
    try:
        stats = json.loads(request(address, "/system_stats", timeout=timeout))
    except (urllib.error.HTTPError, ValueError, RecursionError):
        stats = None
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict) or "comfyui_version" not in system:
        raise ComfyClientError(
            f"what answers at {address} is no ComfyUI; another port, or another base path?"
        )
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


def fetch_image(address: Address | str, image: Mapping[str, str]) -> bytes:
    """The encoded file behind one element of ``output_images``, as ComfyUI stored it."""
    try:
        return request(address, _view(image))
    except (urllib.error.HTTPError, LoginNeeded) as error:
        raise _not_given(image, error) from None


def fetch_file(
    address: Address | str,
    named: Mapping[str, str],
    target: Path,
    timeout: float = REQUEST_TIMEOUT,
) -> None:
    """Write into ``target`` the file with this ``filename``, ``subfolder`` and ``type``.

    Raises:
        FileNotGiven: if the server does not give it out.
        OSError: for what the file system of ``target`` refuses.
    """
    try:
        download(address, _view(named), target, timeout)
    except (urllib.error.HTTPError, LoginNeeded) as error:
        raise _not_given(named, error) from None


def upload_file(
    address: Address | str, path: Path, subfolder: str = "", timeout: float = REQUEST_TIMEOUT
) -> str:
    """Send a file into the server's input folder; returns the name that a node takes it by.

    ComfyUI overwrites nothing: a file of that name and other content gets another name.

    Raises:
        ComfyClientError: if the server does not take it.
        OSError: if the file cannot be read.
    """
    boundary = uuid.uuid4().hex
    name = path.name.replace('"', "'")
    fields = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in (("type", "input"), ("subfolder", subfolder))
    )
    before = (
        f'{fields}--{boundary}\r\nContent-Disposition: form-data; name="image"; '
        f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    )
    body = before.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    try:
        answer = json.loads(request(address, "/upload/image", body, timeout, kind))
        return f"{answer['subfolder']}/{answer['name']}" if answer["subfolder"] else answer["name"]
    except urllib.error.HTTPError as error:
        raise ComfyClientError(f"{address} does not take {path.name}: HTTP {error.code}") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ComfyClientError(f"{address} does not say what became of {path.name}") from None


def get_json(address: Address | str, path: str, timeout: float = REQUEST_TIMEOUT) -> Any:
    """GET ``path``: the JSON object that it answers. Raises ServerUnreachable, ComfyClientError."""
    try:
        answer = json.loads(request(address, path, timeout=timeout))
        if isinstance(answer, dict):
            return answer
    except urllib.error.HTTPError as error:
        raise ComfyClientError(f"{address}{path}: HTTP {error.code}") from None
    except (ValueError, RecursionError):
        pass
    raise ComfyClientError(f"{address}{path} is no JSON of ComfyUI's; is that a ComfyUI server?")


def _place_in_queue(queue: Mapping[str, Any], prompt_id: str) -> int | None:
    """0 when running, n when n prompts go first, None when the queue does not hold it."""
    if any(item[1] == prompt_id for item in queue["queue_running"]):
        return 0
    pending = sorted(queue["queue_pending"], key=lambda item: item[0])
    for ahead, item in enumerate(pending):
        if item[1] == prompt_id:
            return ahead + max(1, len(queue["queue_running"]))
    return None


def _refusal(address: Address | str, error: urllib.error.HTTPError) -> dict[str, Any]:
    try:
        text = error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as cut:
        raise ServerUnreachable(f"{address} broke off its answer: {cut}") from cut
    try:
        refusal = json.loads(text)
    except (ValueError, RecursionError):
        refusal = None
    return refusal if isinstance(refusal, dict) else {"error": f"HTTP {error.code}: {text[:500]}"}


def _view(named: Mapping[str, str]) -> str:
    query = {key: str(named.get(key) or "") for key in ("filename", "subfolder", "type")}
    return f"/view?{urllib.parse.urlencode(query, errors='replace')}"


def _not_given(named: Mapping[str, str], error: urllib.error.HTTPError | LoginNeeded) -> Exception:
    # A path outside of the server's folders is a 403 of ComfyUI's own.
    if isinstance(error, LoginNeeded) and error.code != 403:
        return error
    return FileNotGiven(
        f"the server does not give out {named.get('filename')!r}: HTTP {error.code}"
    )


def _node_key(image: Mapping[str, str]) -> tuple[int, str]:
    node = image["node"]
    return (int(node) if node.isdecimal() else 10**9, node)
