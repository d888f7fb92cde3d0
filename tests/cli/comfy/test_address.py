"""Addresses as people have them, and that nothing secret of them is ever shown."""

import base64

import pytest
from zimage_layer_lab.cli.comfy.address import Address, parse_header, without_secrets
from zimage_layer_lab.cli.queue.servers import read_servers
from zimage_layer_lab.cli.queue.workflow import QueueError

READ = [
    ("127.0.0.1:8188", "127.0.0.1:8188", "http://127.0.0.1:8188/queue"),
    ("gpu", "gpu:8188", "http://gpu:8188/queue"),
    ("http://gpu-2.lan:8188/", "gpu-2.lan:8188", "http://gpu-2.lan:8188/queue"),
    ("http://gpu.lan", "gpu.lan:80", "http://gpu.lan/queue"),
    ("ws://GPU.lan:1/", "gpu.lan:1", "http://gpu.lan:1/queue"),
    ("[::1]:8188", "[::1]:8188", "http://[::1]:8188/queue"),
    ("https://[::1]", "https://[::1]", "https://[::1]/queue"),
    ("https://gpu.example", "https://gpu.example", "https://gpu.example/queue"),
    ("https://gpu.example:443", "https://gpu.example", "https://gpu.example/queue"),
    ("wss://gpu.example/a b/", "https://gpu.example/a%20b", "https://gpu.example/a%20b/queue"),
    ("gpu:1/comfy/ui#tab", "gpu:1/comfy/ui", "http://gpu:1/comfy/ui/queue"),
]


@pytest.mark.parametrize(("text", "shown", "queue"), READ)
def test_an_address_is_read_shown_and_asked(text, shown, queue):
    address = Address.parse(text)
    assert str(address) == shown and address.url("/queue") == queue
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "gpu:", ":8188", "gpu:0", "gpu:99999", "127.0.0.1:-1", "a b:80", "ftp://a", "://a", "a@"],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(QueueError, match="Give HOST:PORT, such as 127.0.0.1:8188"):
        read_servers([text])


def test_a_login_and_a_token_go_along_with_every_request_and_are_not_shown():
    address = Address.parse(
        "https://me%40home:pass%3Aword@gpu.example/comfy/?token=se%20cret", (("X-Key", "hidden"),)
    )
    login = base64.b64encode(b"me@home:pass:word").decode()
    assert address.headers == (("X-Key", "hidden"), ("Authorization", f"Basic {login}"))
    assert address.url("/queue") == "https://gpu.example/comfy/queue?token=se%20cret"
    assert address.url("/view?filename=a").endswith("/comfy/view?filename=a&token=se%20cret")
    assert address.websocket("me") == "wss://gpu.example/comfy/ws?clientId=me&token=se%20cret"
    for shown in (str(address), repr(address), f"{address}/queue"):
        assert not any(secret in shown for secret in ("pass", "cret", "hidden", login))


@pytest.mark.parametrize(
    ("text", "loopback"),
    [("127.1.2.3:1", True), ("localhost", True), ("[::1]:1", True), ("https://127.0.0.1", True)]
    + [("gpu:1", False), ("https://127.example", False), ("[::2]:1", False)],
)
def test_no_proxy_is_asked_for_this_machine_itself(text, loopback):
    assert Address.parse(text).is_loopback == loopback


@pytest.mark.parametrize(
    "other", ["localhost:8188", "LocalHost:08188", "http://127.0.0.1:8188/", "x:y@127.0.0.1"]
)
def test_a_server_spelt_otherwise_is_the_same_server(other):
    with pytest.raises(QueueError, match="given twice"):
        read_servers(["127.0.0.1:8188", other])


def test_a_headers_value_is_not_repeated_when_it_is_refused():
    assert parse_header("Authorization: Bearer a:b ") == ("Authorization", "Bearer a:b")
    for text in ("Bearer secret", "A B: secret", "A: secret\n", "A: secret\u1234"):
        if text.endswith("\n"):
            text += "B: x"
        with pytest.raises(QueueError) as refused:
            read_servers(["gpu"], [text])
        assert "--header" in str(refused.value) and "secret" not in str(refused.value)
    with pytest.raises(QueueError, match="one too many") as refused:
        read_servers(["me:secret@gpu"], ["authorization: Bearer x"])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["me:secret@gpu:x", "http://secret@gpu:0/a?secret", "gpu:x?token=secret#secret", "?secret"],
)
def test_a_bad_address_is_shown_without_what_may_be_secret(text):
    assert "secret" not in without_secrets(text)
    with pytest.raises(QueueError) as refused:
        read_servers([text])
    assert "secret" not in str(refused.value)
