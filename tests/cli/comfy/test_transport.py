"""What can stand before a ComfyUI, and what is sent to it. The servers are small, and real."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from zimage_layer_lab.cli.comfy.address import Address
from zimage_layer_lab.cli.comfy.client import comfyui_at, fetch_file, get_json, upload_file
from zimage_layer_lab.cli.comfy.errors import (
    ComfyClientError,
    FileNotGiven,
    LoginNeeded,
    ServerUnreachable,
)

SECRETS = ("s3cret", "hunter2")


@contextmanager
def answering(code=200, content=b"{}", **headers):
    """A server that answers everything so; gives its address and the requests that it gets."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append((self.command, self.path, dict(self.headers), body))
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


HTML = b"<html>Log in</html>"
ANSWERS = [
    (401, {}, b"", LoginNeeded, r"asks for a login \(HTTP 401\): give it with --header"),
    (403, {}, b"", LoginNeeded, r"does not let this login in \(HTTP 403\)"),
    (200, {"Content_Type": "text/html"}, HTML, LoginNeeded, "answers with a web page instead of"),
    (200, {}, HTML, ComfyClientError, "is no ComfyUI; another port"),
    (404, {}, b"", ComfyClientError, "another base path"),
    (200, {}, b"[1]", ComfyClientError, "is no ComfyUI"),
    (502, {}, b"", ServerUnreachable, "no ComfyUI behind .*: HTTP 502"),
]


@pytest.mark.parametrize(("code", "headers", "content", "kind", "said"), ANSWERS)
def test_what_is_no_comfyui_is_told_from_one(code, headers, content, kind, said):
    with answering(code, content, **headers) as (address, _):
        server = Address.parse(f"u:s3cret@{address}/base?token=hunter2")
        with pytest.raises(kind, match=said) as told:
            comfyui_at(server)
        assert f"{address}/base" in str(told.value)
        assert not any(secret in str(told.value) for secret in SECRETS)
        assert "Start ComfyUI" not in str(told.value)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["/login?next=hunter2", "{there}/login?token=hunter2"])
def test_a_redirect_is_told_and_not_followed(code, place):
    with answering() as (there, seen):
        location = place.format(there=f"http://me:s3cret@{there}")
        with answering(code, Location=location) as (address, _):
            server = Address.parse(address, (("Authorization", "Bearer s3cret"),))
            with pytest.raises(LoginNeeded, match=r"sends its visitors to http://.*/login") as told:
                get_json(server, "/queue")
            with pytest.raises(LoginNeeded):
                upload_file(server, __import__("pathlib").Path(__file__))
    assert seen == [] and not any(secret in str(told.value) for secret in SECRETS)


def test_everything_that_the_address_says_goes_along_with_a_request():
    with answering() as (address, seen):
        server = Address.parse(f"u:p@{address}/a/b/?token=x%20y", (("X-Key", "1"),))
        assert get_json(server, "/history/9") == {}
    [(method, path, headers, _)] = seen
    assert (method, path) == ("GET", "/a/b/history/9?token=x%20y")
    assert headers["X-Key"] == "1" and headers["Authorization"] == "Basic dTpw"


def test_a_file_is_fetched_whole_or_not_at_all(tmp_path):
    named = {"filename": "a b.png", "subfolder": "x/y", "type": "temp"}
    with answering(content=b"12345", Content_Length="5") as (address, seen):
        fetch_file(address, named, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"12345"
    assert seen[0][1] == "/view?filename=a+b.png&subfolder=x%2Fy&type=temp"
    with answering(content=b"123", Content_Length="5") as (address, _):
        with pytest.raises(ServerUnreachable, match="broke off its answer: 3 of 5 bytes came"):
            fetch_file(address, named, tmp_path / "b")
    for code in (403, 404, 400):
        with answering(code) as (address, _):
            with pytest.raises(FileNotGiven, match=f"does not give out 'a b.png': HTTP {code}"):
                fetch_file(address, named, tmp_path / "b")


def test_a_server_that_takes_another_protocol_is_told():
    with answering() as (address, _):
        with pytest.raises(ServerUnreachable, match="speaks no TLS: leave out https://"):
            get_json(f"https://{address}", "/queue")


@pytest.mark.parametrize("answer", [b"{}", b"[]", b'{"name": 1}', b"hello"])
def test_an_upload_whose_answer_says_nothing_is_an_error(tmp_path, answer):
    (tmp_path / 'a"b.png').write_bytes(b"1")
    with answering(content=answer) as (address, seen):
        with pytest.raises(ComfyClientError, match="does not say what became"):
            upload_file(address, tmp_path / 'a"b.png')
    assert b'filename="a\'b.png"' in seen[0][3]
