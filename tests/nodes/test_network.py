"""That the guard on the network, under which all tests of this folder run, does bite."""

import socket
import threading
import urllib.request

import pytest

from .network import GUARD, NetworkUsed

# RFC 5737: addresses for documentation, which lead nowhere.
ELSEWHERE = "192.0.2.1"


@pytest.fixture(autouse=True)
def forget():
    yield
    GUARD.taken()


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection((ELSEWHERE, 80), timeout=1),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", (ELSEWHERE, 53)),
        lambda: socket.socket().connect_ex((ELSEWHERE, 80)),
        lambda: socket.socket().bind(("0.0.0.0", 0)),
        lambda: socket.getaddrinfo("example.com", 80),
        lambda: socket.gethostbyname("example.com"),
        lambda: socket.gethostbyaddr(ELSEWHERE),
        lambda: urllib.request.urlopen("http://example.com", timeout=1),
    ],
)
def test_whatever_leaves_this_machine_is_refused_and_remembered(reach):
    with pytest.raises(NetworkUsed):
        reach()
    assert GUARD.taken()


def test_what_a_library_swallows_in_another_thread_is_remembered():
    def swallow():
        try:
            socket.create_connection((ELSEWHERE, 80), timeout=1)
        except Exception:
            pass

    thread = threading.Thread(target=swallow)
    thread.start()
    thread.join()
    [used] = GUARD.taken()
    assert ELSEWHERE in used


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_may_talk_to_itself(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection((host, server.getsockname()[1]), timeout=10) as client:
            server.accept()[0].sendall(b"x")
            assert client.recv(1) == b"x"
    assert not GUARD.taken()
