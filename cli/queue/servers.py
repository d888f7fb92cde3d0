"""The servers of ``layerlab queue``: reading their addresses, asking what they already have."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..comfy.client import ComfyClientError, find_prompt, is_loopback
from ..comfy.prompt import Limits, patiently
from ..ray_cluster import LOCAL
from .workflow import QueueError

DEFAULT_SERVER = "127.0.0.1:8188"


def read_servers(texts: Sequence[str], cluster: str | None) -> list[str]:
    """The addresses, none twice. ``cluster``: Ray's address, if --ray was given.

    Raises:
        QueueError: if one cannot be read, is given twice, or means this machine alone while the
            cluster may ask from another.
    """
    servers = [read_address(text) for text in texts]
    if len({_spelt_alike(server) for server in servers}) < len(servers):
        raise QueueError("--server: an address is given twice")
    if cluster and cluster != LOCAL:
        for server in filter(is_loopback, servers):
            raise QueueError(
                f"--server {server} with --ray {cluster}: on each machine of the cluster that "
                "address is the machine itself. Give this machine's own name (ComfyUI started "
                "with --listen), or --ray without an address"
            )
    return servers


def read_address(text: str) -> str:
    """HOST:PORT from an address that may be pasted from a browser. Raises QueueError."""
    address = re.sub(r"^http://", "", text.strip()).rstrip("/")
    host, _, port = address.rpartition(":")
    valid = re.fullmatch(r"\[[0-9A-Fa-f:.%]+\]|[\w.-]+", host) and port.isdecimal()
    if not valid or not 0 < int(port) < 65536:
        raise QueueError(f"--server {text}: give HOST:PORT, such as {DEFAULT_SERVER}")
    return address


def has_prompt(server: str, prompt_id: str, limits: Limits) -> bool:
    """Whether the server has the prompt; a silent one is asked for ``limits.contact``."""
    try:
        return not patiently(
            lambda: find_prompt(server, prompt_id, limits.answer).unknown, limits.contact
        )
    except ComfyClientError:
        return False


def _spelt_alike(address: str) -> tuple[str, int]:
    host, _, port = address.lower().rpartition(":")
    return "127.0.0.1" if host == "localhost" else host, int(port)
