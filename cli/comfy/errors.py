"""What a ComfyUI says when a prompt is refused or fails, as errors with messages to show.

Messages name a node with its title where the graph has one, for ids mean nothing to its author.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import LayerLabError


class ComfyClientError(LayerLabError, RuntimeError):
    """Base of what the client raises about the server or the prompt."""

    exit_status = 4


class ServerUnreachable(ComfyClientError):
    """No ComfyUI answers at the address."""


class LoginNeeded(ComfyClientError):
    """What stands before the server asks for a login, or for another address.

    ``code``: the HTTP status, 0 where a page came instead of data.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class CertificateError(ComfyClientError):
    """The server's certificate is not trusted."""


class FileNotGiven(ComfyClientError):
    """A file that a prompt made, and that the server does not give out."""


class PromptRefused(ComfyClientError):
    """The graph did not pass the server's validation; nothing was run.

    ``node_errors``: the server's own report, by node id.
    """

    def __init__(self, message: str, node_errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.node_errors = node_errors


class PromptFailed(ComfyClientError):
    """A node raised while the graph ran, or the run was interrupted or deleted.

    ``details``: the server's own record of the error, with the traceback; may be empty.
    """

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}


def raise_if_failed(entry: Mapping[str, Any]) -> None:
    """Raise PromptFailed if a history entry is that of a run that did not end well."""
    status = entry.get("status") or {}
    graph = _graph_of(entry)
    for event, data in status.get("messages") or []:
        node = node_name(str(data.get("node_id")), data.get("node_type"), graph)
        if event == "execution_error":
            raise PromptFailed(
                f"{node} raised {data.get('exception_type')}: "
                f"{str(data.get('exception_message')).strip()}",
                data,
            )
        if event == "execution_interrupted":
            raise PromptFailed(f"the run was interrupted at {node}", data)
    if status.get("status_str") == "error":
        raise PromptFailed("the server reports an error without a message", status)


def refusal_message(
    refusal: Mapping[str, Any], node_errors: Mapping[str, Any], graph: Mapping[str, Any]
) -> str:
    """The server's answer to a graph that it refuses; a line for each node's error."""
    error = refusal.get("error", "the server gave no reason")
    lines = node_error_lines(node_errors, graph)
    if isinstance(error, Mapping):
        # With node errors the general details repeat them without the node ids.
        details = "" if lines else error.get("details")
        error = ": ".join(filter(None, (error.get("message"), details)))
    return "\n".join([f"ComfyUI refused the workflow: {error}", *(f"  {line}" for line in lines)])


def node_error_lines(node_errors: Mapping[str, Any], graph: Mapping[str, Any]) -> list[str]:
    """One line for each error that the server reports for a node of ``graph`` (API format)."""
    lines = []
    for node_id, report in node_errors.items():
        for error in report.get("errors") or []:
            input_name = (error.get("extra_info") or {}).get("input_name")
            where = node_name(node_id, report.get("class_type"), graph)
            if input_name:
                where += f", input {input_name!r}"
            what = ": ".join(filter(None, (error.get("message"), error.get("details"))))
            lines.append(f"{where}: {what}")
    return lines


def node_name(node_id: str, class_type: object, graph: Mapping[str, Any]) -> str:
    """Such as ``node 2 "Qwen3-4B" (CLIPLoader)``."""
    node = graph.get(node_id)
    meta = node.get("_meta") if isinstance(node, Mapping) else None
    title = meta.get("title") if isinstance(meta, Mapping) else None
    named = f'node {node_id} "{title}"' if title else f"node {node_id}"
    return f"{named} ({class_type})"


def _graph_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The history keeps (number, prompt id, graph, extra data, outputs)."""
    prompt = entry.get("prompt")
    graph = prompt[2] if isinstance(prompt, list) and len(prompt) > 2 else None
    return graph if isinstance(graph, Mapping) else {}
