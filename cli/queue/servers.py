"""The servers of ``layerlab queue``: reading their addresses, asking what they already have."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..comfy.address import Address, parse_header, without_secrets
from ..comfy.client import ComfyClientError, comfyui_at, find_prompt, get_json
from ..comfy.errors import ServerUnreachable
from ..comfy.prompt import Limits, patiently
from .workflow import QueueError

DEFAULT_SERVER = "127.0.0.1:8188"


class NoServer(ComfyClientError):
    """No ComfyUI answers at any address."""


def read_servers(
    texts: Sequence[str], headers: Sequence[str] = (), insecure: bool = False
) -> list[Address]:
    """The addresses, none twice. ``headers``: ``Name: value``, for every one of them.

    Raises:
        QueueError: if one cannot be read or is given twice; without anything secret.
    """
    pairs = []
    for number, text in enumerate(headers, start=1):
        try:
            pairs.append(parse_header(text))
        except ValueError as error:
            which = "--header" if len(headers) == 1 else f"--header number {number}"
            raise QueueError(f"{which}: {error}; such as 'Authorization: Bearer ...'") from None
    servers = []
    for text in texts:
        try:
            servers.append(Address.parse(text, tuple(pairs), not insecure))
        except ValueError as error:
            raise QueueError(
                f"--server {without_secrets(text)}: {error}. Give HOST:PORT, such as "
                f"{DEFAULT_SERVER}, or an address such as https://gpu.example/comfy?token=..."
            ) from None
    if len({server.place for server in servers}) < len(servers):
        raise QueueError("--server: an address is given twice")
    return servers


def living(servers: Sequence[Address], warn: Callable[[str], None]) -> list[Address]:
    """The ``servers`` at which a ComfyUI answers. Raises NoServer if there is none."""
    found: list[Address] = []
    errors: list[ComfyClientError] = []
    for server in servers:
        try:
            comfyui_at(server)
            found.append(server)
        except ComfyClientError as error:
            errors.append(error)
    if not found:
        told = [str(error) for error in errors]
        if all(isinstance(error, ServerUnreachable) for error in errors):
            told.append("Start ComfyUI, or give its address with --server HOST:PORT")
        raise NoServer("\n".join(told))
    for error in errors:
        warn(f"Left out: {error}")
    return found


class Kinds:
    """The node classes that a server has, each asked for once."""

    def __init__(self, server: Address, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._known: dict[str, Mapping[str, Any]] = {}

    def describe(self, kind: str) -> Mapping[str, Any]:
        """Its part of ``/object_info``; empty for one that the server does not know."""
        if kind not in self._known:
            path = f"/object_info/{urllib.parse.quote(kind, safe='')}"
            listed = patiently(
                lambda: get_json(self._server, path, self._limits.answer), self._limits.contact
            )
            found = listed.get(kind)
            self._known[kind] = found if isinstance(found, dict) else {}
        return self._known[kind]


def holder_of(prompt_id: str, servers: Sequence[Address], limits: Limits) -> Address | None:
    """The first server that has the prompt; a silent one is asked for ``limits.contact``."""
    return next((server for server in servers if _has(server, prompt_id, limits)), None)


def _has(server: Address, prompt_id: str, limits: Limits) -> bool:
    try:
        return not patiently(
            lambda: find_prompt(server, prompt_id, limits.answer).unknown, limits.contact
        )
    except ComfyClientError:
        return False
