"""results.jsonl and the saved images; and the command's bad input. No server is needed."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from zimage_layer_lab.cli import main
from zimage_layer_lab.cli.comfy.address import Address
from zimage_layer_lab.cli.comfy.prompt import Limits
from zimage_layer_lab.cli.out_folder import OutFolderError
from zimage_layer_lab.cli.queue.keeping import Keeper, Kept
from zimage_layer_lab.cli.queue.lock import sole_run
from zimage_layer_lab.cli.queue.results import Results
from zimage_layer_lab.cli.queue.settings import Row
from zimage_layer_lab.cli.queue.worker import DONE, FAILED, UNREACHED, Job, Outcome
from zimage_layer_lab.cli.queue.workflow import QueueError

GRAPH = {"1": {"class_type": "A", "inputs": {"x": 1}}}
ROW = Row(3, {"1.x": 1}, GRAPH, "abc-1")


SERVER = Address.parse("127.0.0.1:8188")


def outcome(status=DONE, *files, prompt_id="id"):
    kept = Kept(tuple({"node": "9", "title": "Save", "key": "images", "file": f} for f in files))
    return Outcome(Job(3, prompt_id, GRAPH), SERVER, status, 1.0, kept)


def save(folder, name, data):
    """As the keeper does with what a server sends; returns the file's name."""
    return Keeper(folder, str).save(3, name, lambda target: target.write_bytes(data)).name


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_row_is_known_to_the_next_run(tmp_path):
    results = Results(tmp_path / "out")
    assert not results.is_done(ROW) and results.open_id(ROW) is None
    results.begin(ROW, "id")
    assert Results(results.out).open_id(ROW) == "id"
    results.end(ROW, outcome(DONE, save(results.out, "a_00001_.png", b"1")))
    again = Results(results.out)
    assert again.is_done(ROW) and again.open_id(ROW) is None
    assert again.client_id == results.client_id
    assert names(results.out) == ["0003_a_00001_.png", "results.jsonl"]
    line = json.loads((results.path).read_text().splitlines()[-1])
    assert line["files"] == ["0003_a_00001_.png"] and line["settings"] == {"1.x": 1}


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\nb", "\ud83d"])
def test_a_row_with_a_strange_line_end_or_half_a_character_is_known_again(tmp_path, text):
    """They come along with text that is pasted from web pages."""
    row = Row(3, {"1.x": text}, GRAPH, "abc-1")
    results = Results(tmp_path)
    results.begin(row, "id")
    results.end(row, outcome(DONE))
    assert Results(tmp_path).is_done(row)


@pytest.mark.parametrize(("status", "kept"), [(UNREACHED, "id"), (FAILED, None)])
def test_the_id_is_kept_where_the_server_may_still_have_the_prompt(tmp_path, status, kept):
    results = Results(tmp_path)
    results.begin(ROW, "id")
    results.end(ROW, outcome(status))
    again = Results(tmp_path)
    assert again.open_id(ROW) == kept and not again.is_done(ROW)


def test_no_file_is_overwritten(tmp_path):
    saved = [save(tmp_path, "a.png", data) for data in (b"1", b"2", b"3", b"2")]
    assert saved == ["0003_a.png", "0003_a_2.png", "0003_a_3.png", "0003_a_2.png"]
    assert names(tmp_path) == ["0003_a.png", "0003_a_2.png", "0003_a_3.png"]
    assert (tmp_path / "0003_a_2.png").read_bytes() == b"2"


def test_a_name_from_outside_stays_inside_the_folder(tmp_path):
    out = tmp_path / "out"
    bad = ["../../x.png", "..\\y.png", "C:z.png", "a\x00b.png", ".."]
    saved = [save(out, name, b"1") for name in bad]
    assert names(tmp_path) == ["out"]
    assert saved == ["0003_x.png", "0003_y.png", "0003_C_z.png", "0003_a_b.png", "0003__"]
    assert names(out) == sorted(saved)


def test_a_name_that_no_file_can_have_costs_no_picture(tmp_path):
    """A name may fill its server's limit, or hold half of a surrogate pair."""
    saved = [save(tmp_path, "a" * 251 + ".png", b"1"), save(tmp_path, "\ud800.png", b"2")]
    assert names(tmp_path) == sorted(saved) == ["0003__.png", f"0003_{'a' * 196}.png"]


def test_a_line_that_a_crash_cut_short_costs_only_itself(tmp_path):
    results = Results(tmp_path)
    results.begin(ROW, "id")
    with results.path.open("a") as file:
        file.write('{"key": "half')
    other = Row(4, {}, GRAPH, "def-1")
    Results(tmp_path).begin(other, "id2")
    again = Results(tmp_path)
    assert (again.open_id(ROW), again.open_id(other)) == ("id", "id2")


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    out = tmp_path / "out"
    with sole_run(out):
        with pytest.raises(QueueError, match="in use by another run: wait"):
            with sole_run(out):
                pass
    with sole_run(out):
        pass


def test_a_run_that_was_killed_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from zimage_layer_lab.cli.queue.lock import sole_run\n"
        "with sole_run(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(QueueError, match="in use by another run: wait"):
            with sole_run(tmp_path):
                pass
    finally:
        other.kill()
        other.communicate()
    with sole_run(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_folder_on_a_file_system_without_locks_is_used_all_the_same(
    tmp_path, monkeypatch, number
):
    fcntl = pytest.importorskip("fcntl", reason="flock is of Unix alone")

    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = False
    with sole_run(tmp_path):
        ran = True
    assert ran


def test_what_cannot_be_written_or_read_names_the_folder(tmp_path):
    results = Results(tmp_path)
    results.path.mkdir()
    told = f"--out {re.escape(str(tmp_path))} cannot be written"
    with pytest.raises(OutFolderError, match=told):
        results.begin(ROW, "id")
    with pytest.raises(QueueError, match="results.jsonl cannot be read"):
        Results(tmp_path)


@pytest.mark.parametrize(("contact", "answer"), [(30, 10), (600, 10), (12, 4), (0.5, 1)])
def test_a_server_that_hangs_is_asked_again_before_it_is_given_up(contact, answer):
    assert Limits(3600, contact).answer == answer


@pytest.fixture
def queue(tmp_path, capsys):
    """Run the command on a small graph: arguments -> (exit status, standard error)."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))

    def run(*arguments):
        given = ["queue", tmp_path / "w.json", "--out", tmp_path / "out", *arguments]
        status = main([str(argument) for argument in given])
        return status, " ".join(capsys.readouterr().err.split())

    return run


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "2.x=1"], "no node has the id or title '2'"),
        (["--server", "here:"], "Give HOST:PORT"),
        (["--server", "a:1", "--server", "a:1"], "given twice"),
        (["--ray"], "repeat --server for each server"),
        (["--ray", "head:6379"], "Leave --ray out"),
        (["--timeout", "0"], "--timeout is 0"),
        (["--timeout", "nan"], "--timeout is nan"),
        (["--contact", "-1"], "--contact is -1"),
        (["--repeat", "-1"], "--repeat is -1"),
    ],
)
def test_bad_input_ends_with_1_before_any_server_is_asked(queue, tmp_path, arguments, message):
    status, err = queue(*arguments)
    assert status == 1 and message in err
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_down_ends_with_4(queue, tmp_path):
    port = free_port()
    status, err = queue("--server", f"127.0.0.1:{port}")
    assert status == 4 and f"no ComfyUI answers at 127.0.0.1:{port}" in err
    assert "--server HOST:PORT" in err and not (tmp_path / "out").exists()


class Stranger(BaseHTTPRequestHandler):
    """A page that has nothing to do with ComfyUI."""

    content = b"hello"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(handler):
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("content", [b"hello", b'{"system": {}}', b"[]"])
def test_a_port_that_something_else_uses_ends_with_4(queue, content):
    with serving(type("Handler", (Stranger,), {"content": content})) as address:
        status, err = queue("--server", address)
    assert status == 4 and address in err and "ComfyUI" in err


def test_without_the_websocket_package_it_says_how_to_install_it(queue, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("zimage_layer_lab.cli.queue", "zimage_layer_lab.cli.comfy")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websocket", None)
    status, err = queue()
    assert status == 1 and 'python -m pip install "zimage-layer-lab[demo]"' in err


def test_an_out_that_is_a_file_is_refused(queue, tmp_path):
    (tmp_path / "out").touch()
    status, err = queue()
    assert status == 1 and "is not a folder" in err
