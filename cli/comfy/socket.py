"""ComfyUI's websocket: the events of a running prompt, step by step.

Events may be missed, for the connection drops and comes back by itself. They are for showing
progress; how a prompt ended is asked over HTTP.
"""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any

import websocket

from .address import Address, as_address
from .transport import tls

_CONNECT_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_DROPPED = (websocket.WebSocketException, OSError, ValueError)


class EventSocket:
    """The events of one client id at one server; a context manager.

    ``drops`` counts lost connections. It raises no error for one: :meth:`receive` returns None and
    connects again, after pauses that double from a quarter of a second to five seconds.
    """

    def __init__(self, address: Address | str, client_id: str) -> None:
        self.drops = 0
        self.client_id = client_id
        self._address = as_address(address)
        self._socket: websocket.WebSocket | None = None
        self._pause = _FIRST_PAUSE
        self._next_try = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None

    def connect(self) -> bool:
        """Connect if there is no connection and it is time for a try; whether there is one now."""
        if self._socket is None and time.monotonic() >= self._next_try:
            try:
                self._socket = websocket.create_connection(
                    self._address.websocket(self.client_id),
                    timeout=_CONNECT_SECONDS,
                    suppress_origin=True,
                    # Decoding checks it too.
                    skip_utf8_validation=True,
                    header=[f"{name}: {value}" for name, value in self._address.headers],
                    redirect_limit=0,
                    sslopt={"context": tls(self._address)} if self._is_secure else None,
                    http_no_proxy=["*"] if self._address.is_loopback else None,
                )
                self._pause = _FIRST_PAUSE
            except _DROPPED:
                self._wait_before_next_try()
        return self._socket is not None

    @property
    def _is_secure(self) -> bool:
        return self._address.scheme == "https"

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next event, or None if there is none within ``seconds`` or no connection.

        An event has ``type`` and ``data``. Previews, which are binary, are passed over.
        """
        until = time.monotonic() + seconds
        if not self.connect():
            time.sleep(seconds)
            return None
        while (left := until - time.monotonic()) > 0:
            try:
                self._socket.settimeout(left)
                content = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                return None
            except _DROPPED:
                self._drop()
                return None
            if isinstance(content, str) and content:
                return _event(content)
            if not self._socket.connected:
                self._drop()
                return None
        return None

    def close(self) -> None:
        """End the connection; errors in doing so do not matter."""
        connection, self._socket = self._socket, None
        if connection is not None:
            try:
                connection.close(timeout=1)
            except _DROPPED:
                pass

    def __enter__(self) -> EventSocket:
        self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _drop(self) -> None:
        self.drops += 1
        self.close()
        self._wait_before_next_try()

    def _wait_before_next_try(self) -> None:
        self._next_try = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def _event(content: str) -> dict[str, Any] | None:
    try:
        event = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
        return None
    return event
