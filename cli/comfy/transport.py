"""Requests to a ComfyUI: what the network and what stands before the server can answer.

Redirects are not followed: a login page would be taken for an answer, and the headers would go to
whomever it names.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from .address import Address, as_address, without_secrets
from .errors import CertificateError, ComfyClientError, LoginNeeded, ServerUnreachable

REQUEST_TIMEOUT = 30.0
JSON = "application/json"
_CHUNK = 2**20
_AWAY = (502, 503, 504)
_REDIRECTS = (301, 302, 303, 307, 308)


def request(
    address: Address | str,
    path: str,
    body: bytes | None = None,
    timeout: float = REQUEST_TIMEOUT,
    content_type: str = JSON,
) -> bytes:
    """One HTTP request, POST when there is a ``body``. ``timeout``: seconds.

    Raises:
        ServerUnreachable: if nothing answers, the answer breaks off, or a proxy says that the
            server is away (502 to 504).
        LoginNeeded: for 401 and 403, and where the answer is a redirect or a web page.
        CertificateError: if the server's certificate is not trusted.
        urllib.error.HTTPError: for other 4xx and 5xx.
    """
    with _answer(as_address(address), path, body, timeout, content_type) as response:
        return response.read()


def download(
    address: Address | str, path: str, target: Path, timeout: float = REQUEST_TIMEOUT
) -> None:
    """The answer to a request for ``path``, written into the file ``target`` as it comes.

    Raises what :func:`request` does, and OSError of the file's own.
    """
    with _answer(as_address(address), path, None, timeout) as response, target.open("wb") as file:
        expected, length = response.headers.get("Content-Length"), 0
        while chunk := _read(response, str(address)):
            length += len(chunk)
            file.write(chunk)
    if expected is not None and expected.isdecimal() and length != int(expected):
        raise ServerUnreachable(
            f"{address} broke off its answer: {length} of {expected} bytes came"
        )


def tls(address: Address) -> ssl.SSLContext:
    """How a connection to the address is secured."""
    return _context(address.verify)


@contextmanager
def _answer(
    address: Address, path: str, body: bytes | None, timeout: float, content_type: str = JSON
) -> Iterator[Any]:
    headers = dict(address.headers)
    if body is not None:
        headers["Content-Type"] = content_type
    try:
        url = urllib.request.Request(address.url(path), data=body, headers=headers)
        response = _opener(address.verify, address.is_loopback).open(url, timeout=timeout)
    except urllib.error.HTTPError as error:
        raise _refused(address, error) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _no_answer(address, error) from None
    with response:
        if response.headers.get_content_type() == "text/html":
            # ComfyUI gives out no page under any path that is asked for here, and sends HTML that
            # a node saved as plain bytes.
            raise LoginNeeded(
                f"{address} answers with a web page instead of data, perhaps one that asks for a "
                f"login: {LOGIN_ADVICE}; or it is no ComfyUI, or has another base path"
            )
        try:
            yield response
        except http.client.HTTPException as error:
            raise ServerUnreachable(f"{address} broke off its answer: {error}") from None
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise ServerUnreachable(f"{address} broke off its answer: {error}") from None


LOGIN_ADVICE = (
    "give it with --header 'Authorization: ...', user:password@ or ?token=... in the address"
)


def _refused(address: Address, error: urllib.error.HTTPError) -> Exception:
    """The error to raise for an answer that is none of the 2xx."""
    if error.code in (*_AWAY, 401, 403, *_REDIRECTS):
        error.close()
    if error.code in _AWAY:
        return ServerUnreachable(f"no ComfyUI behind {address}: HTTP {error.code}")
    if error.code in (401, 403):
        asks = "asks for a login" if error.code == 401 else "does not let this login in"
        return LoginNeeded(f"{address} {asks} (HTTP {error.code}): {LOGIN_ADVICE}", error.code)
    if error.code in _REDIRECTS:
        there = urllib.parse.urljoin(address.url("/"), error.headers.get("Location", ""))
        shown = urllib.parse.quote(without_secrets(there), safe="/:%@[]")
        return LoginNeeded(
            f"{address} sends its visitors to {shown} (HTTP {error.code}): if ComfyUI is there, "
            f"give that address; if that is a login, {LOGIN_ADVICE}",
            error.code,
        )
    return error


def _no_answer(address: Address, error: Exception) -> ComfyClientError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return CertificateError(
            f"the certificate of {address} is not trusted: {reason.verify_message}. Name its "
            "authority's file in the variable SSL_CERT_FILE, or give --insecure, with which "
            "whoever is on the way can read and change everything"
        )
    if isinstance(reason, ssl.SSLError) and reason.reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "HTTP_REQUEST",
    ):
        return ServerUnreachable(
            f"what answers at {address} speaks no TLS: leave out https://, or name another port"
        )
    if isinstance(error, http.client.InvalidURL):
        reason = "its address cannot be used"
    return ServerUnreachable(f"no ComfyUI answers at {address}: {reason}")


def _read(response: Any, shown: str) -> bytes:
    """The next part of an answer; errors of the line are told from those of the file."""
    try:
        return response.read(_CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise ServerUnreachable(f"{shown} broke off its answer: {error}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@lru_cache(maxsize=8)
def _opener(verify: bool, loopback: bool) -> urllib.request.OpenerDirector:
    handlers: list[Any] = [_NoRedirects, _secure(verify)]
    if loopback:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _secure(verify: bool) -> urllib.request.HTTPSHandler:
    return urllib.request.HTTPSHandler(context=_context(verify))


@lru_cache(maxsize=2)
def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
