"""The address of a ComfyUI: what of it is shown, and what is sent along with every request.

Passwords, tokens and headers are sent and never shown: ``str`` and ``repr`` of an address leave
them out, and so does every message that names one.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from dataclasses import dataclass, field

COMFYUI_PORT = 8188
"""ComfyUI's own port, for an address that is a host's name alone."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[\w-][\w.-]*)(?::(\d{1,9}))?")
_IN_PATH = "/%:@!$&'()*+,;=~-._"
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True)
class Address:
    """A server.

    Attributes:
        scheme: "http" or "https".
        host: its name or number, with the port where it is not the scheme's own.
        base: the path below which it answers, such as "/comfy"; "" for none.
        query: sent with every request, such as "token=..."; never shown.
        headers: name -> value, sent with every request; never shown.
        verify: whether a certificate that is not trusted ends the connection.
    """

    scheme: str
    host: str
    base: str = ""
    query: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    verify: bool = True

    @classmethod
    def parse(
        cls, text: str, headers: tuple[tuple[str, str], ...] = (), verify: bool = True
    ) -> Address:
        """An address as people have it: ``HOST``, ``HOST:PORT``, or copied from a browser.

        ``http://``, ``https://``, ``ws://`` and ``wss://`` may go before it,
        ``user:password@`` in it, and a path and ``?token=...`` behind it. A bare HOST means
        :data:`COMFYUI_PORT`; behind ``https://`` it means that scheme's port.

        Raises:
            ValueError: if it cannot be read. The message shows nothing of ``text``.
        """
        named = _SCHEME.match(text.strip())
        if named and named[1].lower() not in _SCHEMES:
            raise ValueError("it begins with neither http:// nor https://")
        scheme = _SCHEMES[named[1].lower()] if named else "http"
        rest = text.strip()[named.end() if named else 0 :]
        rest, _, query = rest.partition("#")[0].partition("?")
        authority, _, path = rest.partition("/")
        user, _, place = authority.rpartition("@")
        found = _HOST.fullmatch(place)
        if not found or found[2] and not 0 < int(found[2]) < 65536:
            raise ValueError("it names no host, or a port that there is not")
        port = int(found[2]) if found[2] else _PORTS[scheme] if named else COMFYUI_PORT
        host = found[1].lower() + ("" if port == _PORTS[scheme] else f":{port}")
        if user:
            if any(name.lower() == "authorization" for name, _ in headers):
                raise ValueError("user:password@ and a header Authorization are one too many")
            login = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
            headers = (*headers, ("Authorization", f"Basic {login}"))
        base = urllib.parse.quote(path.strip("/"), safe=_IN_PATH)
        return cls(
            scheme,
            host,
            f"/{base}" if base else "",
            urllib.parse.quote(query, safe=f"{_IN_PATH}?"),
            headers,
            verify,
        )

    def __str__(self) -> str:
        """``HOST:PORT``; with the scheme where it is https, with the base path where it has one."""
        shown = f"{self.host}:80" if self.scheme == "http" and not self._has_port else self.host
        return ("" if self.scheme == "http" else f"{self.scheme}://") + shown + self.base

    @property
    def place(self) -> str:
        """Equal for two addresses of one server."""
        host = self.host if self._has_port else f"{self.host}:{_PORTS[self.scheme]}"
        return re.sub(r"^localhost:", "127.0.0.1:", host) + self.base

    @property
    def is_loopback(self) -> bool:
        """This machine's own: no proxy that is set for the outside world must be asked for it."""
        host = self.host.rpartition(":")[0] if self._has_port else self.host
        return re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None or host in (
            "localhost",
            "[::1]",
        )

    def url(self, path: str) -> str:
        """Where a request for ``path`` goes, such as "/queue". Not to be shown."""
        return f"{self.scheme}://{self.host}{self.base}{self._with_query(path)}"

    def websocket(self, client_id: str) -> str:
        """Where the events of ``client_id`` come from. Not to be shown."""
        scheme = "wss" if self.scheme == "https" else "ws"
        path = self._with_query(f"/ws?clientId={client_id}")
        return f"{scheme}://{self.host}{self.base}{path}"

    @property
    def _has_port(self) -> bool:
        return re.search(r":\d+$", self.host) is not None and not self.host.endswith("]")

    def _with_query(self, path: str) -> str:
        if not self.query:
            return path
        return f"{path}{'&' if '?' in path else '?'}{self.query}"


def as_address(address: Address | str) -> Address:
    """An address that may still be text, such as "127.0.0.1:8188"."""
    return address if isinstance(address, Address) else Address.parse(address)


def parse_header(text: str) -> tuple[str, str]:
    """``Name: value``. Raises ValueError, whose message shows nothing of the value."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _HEADER_NAME.fullmatch(name):
        raise ValueError("it is not of the form 'Name: value'")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the value of {name} has a character that no header can have") from None
    if _CONTROL.search(value):
        raise ValueError(f"the value of {name} has a character that no header can have")
    return name, value


def without_secrets(text: str) -> str:
    """An address as it was typed, without what may be a password or a token."""
    shown = text.strip().partition("#")[0].partition("?")[0]
    scheme, separator, rest = shown.rpartition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"
