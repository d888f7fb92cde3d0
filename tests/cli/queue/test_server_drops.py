"""Lines that drop: everything comes out once, and no prompt is queued twice."""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from zimage_layer_lab.cli.comfy.client import ComfyClientError, get_json, post_prompt
from zimage_layer_lab.cli.comfy.outputs import named_outputs
from zimage_layer_lab.cli.comfy.prompt import Limits, run_prompt
from zimage_layer_lab.cli.comfy.socket import EventSocket

SLOW = {"size": 1024, "radius": 15}
"""Keeps a CPU busy for most of a second."""


def new_prompts(server, history, before):
    """Graphs that the server ran since; every run of a prompt is an entry of its own id."""
    return [entry["prompt"][2] for key, entry in history(server).items() if key not in before]


def runs_in_log(server):
    """How often the server took a prompt: repeated ids would hide in the history."""
    return server.log_path.read_text(encoding="utf-8", errors="replace").count("got prompt")


def test_a_dropped_websocket_comes_back_and_nothing_is_queued_twice(
    server, proxy, work, layerlab_process, history, wait_until
):
    work.graph(**SLOW)
    before, taken = set(history(server)), runs_in_log(server)
    table = work.colours(11, 12, 13)
    process = layerlab_process(work.arguments(proxy.address, more=["--settings", table]))
    for _ in range(2):
        wait_until(lambda: get_json(server.address, "/queue")["queue_running"])
        wait_until(lambda: proxy.cut("GET /ws"))
        wait_until(lambda: not get_json(server.address, "/queue")["queue_running"])
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert work.colours_saved() == [11, 12, 13]
    assert len(new_prompts(server, history, before)) == 3
    assert runs_in_log(server) - taken == 3


@pytest.mark.slow
def test_a_server_that_closes_the_websocket_every_second_costs_no_prompt(
    server, proxy, work, layerlab_process, history
):
    work.graph(**SLOW)
    before = set(history(server))
    table = work.colours(1, 2, 3, 4)
    process = layerlab_process(work.arguments(proxy.address, more=["--settings", table]))
    cuts = 0
    while process.poll() is None:
        time.sleep(1)
        cuts += proxy.cut("GET /ws")
    out, err = process.communicate()
    assert process.returncode == 0 and not err, (out, err)
    assert cuts > 1 and work.colours_saved() == [1, 2, 3, 4]
    assert len(new_prompts(server, history, before)) == 4


def test_the_websocket_comes_back_by_itself_under_the_same_client_id(server, proxy, wait_until):
    with EventSocket(proxy.address, "one-client") as events:
        assert events.receive(10)["type"] == "status"
        assert wait_until(lambda: proxy.cut("GET /ws")) == 1
        event = wait_until(lambda: events.receive(0.2))
        assert (event["type"], event["data"]["sid"]) == ("status", "one-client")
        assert events.connected and events.drops == 1
        proxy.refusing = True
        proxy.cut("GET /ws")
        assert events.receive(0.5) is None and not events.connected


def test_every_connection_cut_in_the_middle_is_a_pause_only(
    server, proxy, work, layerlab_process, history, wait_until
):
    work.graph(**SLOW)
    before = set(history(server))
    process = layerlab_process(work.arguments(proxy.address, more=["--settings", work.colours(21)]))
    wait_until(lambda: get_json(server.address, "/queue")["queue_running"])
    proxy.refusing = True
    wait_until(lambda: proxy.cut("GET /ws"))
    wait_until(lambda: not get_json(server.address, "/queue")["queue_running"])
    proxy.refusing = False
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert work.colours_saved() == [21]
    assert len(new_prompts(server, history, before)) == 1


@pytest.mark.parametrize("lost", ["lose_requests", "lose_answers"])
def test_a_post_that_drops_is_looked_for_before_it_is_sent_again(
    server, proxy, work, layerlab, history, lost
):
    """Once the request itself is lost, once only its answer: the graph is queued once each time."""
    work.graph()
    before, taken = set(history(server)), runs_in_log(server)
    getattr(proxy, lost)["POST /prompt"] = 1
    colour = 30 if lost == "lose_requests" else 31
    more = ["--settings", work.colours(colour)]
    status, out, err = layerlab(work.arguments(proxy.address, more=more))
    assert status == 0, (out, err)
    assert work.colours_saved() == [colour]
    assert len(new_prompts(server, history, before)) == 1
    assert runs_in_log(server) - taken == 1
    posts = sum(began.startswith("POST /prompt") for began in proxy.seen)
    assert posts == (2 if lost == "lose_requests" else 1)


def test_a_picture_whose_transfer_breaks_off_is_fetched_again(server, proxy, work, layerlab):
    work.graph()
    proxy.lose_answers["GET /view"] = 2
    more = ["--settings", work.colours(14)]
    assert layerlab(work.arguments(proxy.address, more=more))[0] == 0
    assert work.colours_saved() == [14]
    assert sum(began.startswith("GET /view") for began in proxy.seen) == 3


def test_a_server_out_of_reach_for_too_long_ends_with_4_and_the_next_run_fetches_the_prompt(
    server, proxy, work, layerlab, history, wait_until
):
    work.graph(**SLOW)
    before, taken = set(history(server)), runs_in_log(server)

    def cut():
        wait_until(lambda: get_json(server.address, "/queue")["queue_running"])
        proxy.refusing = True
        wait_until(lambda: proxy.cut("GET /ws"))

    thread = threading.Thread(target=cut)
    thread.start()
    more = ["--contact", "0.5", "--settings", work.colours(15, 16)]
    status, out, err = layerlab(work.arguments(proxy.address, more=more))
    thread.join()
    assert status == 4 and "2 not reached" in out and f"answers at {proxy.address}" in err
    assert not list(work.out.glob("*.png"))
    proxy.refusing = False
    assert layerlab(work.arguments(proxy.address, more=more))[0] == 0
    assert work.colours_saved() == [15, 16]
    assert len(new_prompts(server, history, before)) == runs_in_log(server) - taken == 2


def test_a_run_that_is_killed_goes_on_with_the_prompt_that_the_server_has(
    server, work, layerlab, layerlab_process, history, wait_until
):
    work.graph(**SLOW)
    before, taken = set(history(server)), runs_in_log(server)
    arguments = work.arguments(server.address, more=["--settings", work.colours(17, 18, 19)])
    process = layerlab_process(arguments)
    wait_until(lambda: len(new_prompts(server, history, before)) == 1)
    wait_until(lambda: get_json(server.address, "/queue")["queue_running"])
    process.kill()
    process.wait()
    status, out, _ = layerlab(arguments)
    assert status == 0
    assert work.colours_saved() == [17, 18, 19]
    assert len(new_prompts(server, history, before)) == runs_in_log(server) - taken == 3


def test_the_end_of_a_prompt_is_seen_while_others_talk_on_the_socket(server):
    """A prompt that has ended sends nothing more; other prompts' and packs' events are no news."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": dict(width=8, height=8, batch_size=1, color=0)},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    limits, done = Limits(prompt=20, contact=20), threading.Event()
    prompt_id = str(uuid.uuid4())
    run_prompt(server.address, graph, prompt_id, limits)

    def chat():
        while not done.wait(0.3):
            post_prompt(server.address, graph, client_id=prompt_id)

    talker = threading.Thread(target=chat)
    talker.start()
    try:
        again = run_prompt(server.address, graph, prompt_id, limits)
    finally:
        done.set()
        talker.join()
    assert [output.key for output in named_outputs(again.entry)] == ["images"]


class OldServer(BaseHTTPRequestHandler):
    """Takes prompts as ComfyUI did before it took their ids: each gets one of the server's own."""

    posted: list[tuple[str, dict]]

    def do_GET(self):
        queue = {"queue_running": [], "queue_pending": []}
        self._answer(queue if self.path == "/queue" else {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append((self.path, body))
        self._answer({"prompt_id": "its-own", "node_errors": {}})

    def _answer(self, content):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *arguments):
        pass


def test_a_server_that_gives_ids_of_its_own_is_too_old_and_gets_its_prompt_back():
    posted = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (OldServer,), {"posted": posted})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(ComfyClientError, match="too old.*ComfyUI 0.26.0 or newer"):
            run_prompt(address, {}, str(uuid.uuid4()), Limits(20, 20))
    finally:
        server.shutdown()
        server.server_close()
    assert [path for path, _ in posted] == ["/prompt", "/queue"]
    assert posted[1][1] == {"delete": ["its-own"]}


def test_a_server_that_hangs_once_is_asked_again(server, proxy, work, layerlab):
    """A request without an answer costs a third of --contact, so a run survives it."""
    work.graph()
    proxy.hang["GET /queue"] = 1
    more = ["--contact", "6", "--settings", work.colours(20)]
    status, out, err = layerlab(work.arguments(proxy.address, more=more))
    assert status == 0, (out, err)
    assert work.colours_saved() == [20]
