"""A guard on this process: it may talk to itself and to this machine, and to nothing else."""

import ipaddress
import sys
from typing import Any

CALLS = {
    "socket.connect": 1,
    "socket.bind": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}
"""Audit events of Python's socket module, and which argument has the address."""


class NetworkUsed(RuntimeError):
    """Something wanted to leave this machine. No OSError: libraries take those for a bad line."""


class Guard:
    """Refuses and remembers, between its ``with`` and the end of that."""

    def __init__(self) -> None:
        self._on = 0
        self._installed = False
        self._used: list[str] = []

    def __enter__(self) -> "Guard":
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._watch)
        self._on += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._on -= 1

    def taken(self) -> list[str]:
        """What was refused since this was asked last."""
        used, self._used = self._used, []
        return used

    def _watch(self, event: str, arguments: tuple) -> None:
        if not self._on or event not in CALLS or is_of_this_machine(arguments[CALLS[event]]):
            return
        self._used.append(f"{event} {arguments[CALLS[event]]!r}")
        raise NetworkUsed(self._used[-1])


def is_of_this_machine(address: Any) -> bool:
    """A path (AF_UNIX), no host at all, or loopback: what an audit event calls an address."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(address, tuple) and not isinstance(host, str):
        return True  # AF_NETLINK and the like.
    if host is None or (isinstance(address, str | bytes) and b"/" in _bytes(address)[:1]):
        return True
    name = _bytes(host).decode("ascii", "replace").partition("%")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


GUARD = Guard()
