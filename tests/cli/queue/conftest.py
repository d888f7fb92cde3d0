"""Real ComfyUI servers for `layerlab queue`, the command itself, and a proxy that cuts lines."""

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from zimage_layer_lab.cli.comfy.client import get_json
from zimage_layer_lab.cli.comfy.folder import comfyui_python, install_pack, missing_requirements
from zimage_layer_lab.cli.comfy.server import ComfyServer

from ..conftest import end_all

ROOT = Path(__file__).resolve().parents[3]
RED = 8 << 16
POSIX = os.name == "posix"


@pytest.fixture(scope="session")
def make_server(comfyui, skip_or_fail, tmp_path_factory):
    """A function: (base directory or None for an empty one) -> a ComfyServer, not started."""
    python = comfyui_python(comfyui)
    missing = missing_requirements(comfyui, python)
    if missing:
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")

    def make(base=None):
        return ComfyServer(
            comfyui, base or tmp_path_factory.mktemp("queue_base"), python=python, cpu=True
        )

    return make


@pytest.fixture(scope="session")
def server(make_server, tiny_base, tmp_path_factory, pack_root):
    """One with the pack and the tiny-depth weights, for all tests here that kill nothing."""
    base = tmp_path_factory.mktemp("queue_server")
    (base / "models").symlink_to(tiny_base / "models", target_is_directory=True)
    install_pack(base, pack_root, "zimage-layer-lab")
    install_pack(base, pack_root / "tiny_host", "tiny_host")
    with make_server(base) as started:
        yield started


def light_graph(size=64, radius=1):
    """Colour, blur, save. Size 1024 with radius 15 keeps a CPU busy for most of a second."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": size, "height": size, "batch_size": 1, "color": 0},
            "_meta": {"title": "Colour"},
        },
        "2": {
            "class_type": "ImageBlur",
            "inputs": {"image": ["1", 0], "blur_radius": radius, "sigma": 1.0},
            "_meta": {"title": "Blur"},
        },
        "3": {
            "class_type": "SaveImage",
            "inputs": {"images": ["2", 0], "filename_prefix": "light/colour"},
            "_meta": {"title": "Save"},
        },
    }


class Work:
    """A folder with a workflow file and the command's results."""

    def __init__(self, folder):
        self.folder = folder
        self.out = folder / "out"
        self.workflow = folder / "workflow.json"

    def graph(self, graph=None, **size):
        """Write the workflow file; by default the light graph."""
        content = graph if graph is not None else light_graph(**size)
        self.workflow.write_text(json.dumps(content), encoding="utf-8")

    def colours(self, *colours):
        """A CSV with a row for each; they are numbers from 1 to 31, shades of red."""
        return self.table(["Colour.color"], *([number * RED] for number in colours))

    def table(self, header, *rows):
        """A CSV; returns its path."""
        text = io.StringIO(newline="")
        csv.writer(text).writerows([header, *rows])
        path = self.folder / "rows.csv"
        path.write_text(text.getvalue(), encoding="utf-8", newline="")
        return path

    def arguments(self, *servers, more=()):
        """What follows `layerlab`."""
        addresses = [word for server in servers for word in ("--server", server)]
        return [str(w) for w in ("queue", self.workflow, *addresses, "--out", self.out, *more)]

    def lines(self):
        """results.jsonl."""
        text = (self.out / "results.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def ends(self):
        """The last line of every row, by row number."""
        return {line["row"]: line for line in self.lines()}

    def pictures(self):
        """file name -> Image, all that lie in the folder."""
        return {path.name: Image.open(path) for path in sorted(self.out.glob("*.png"))}

    def colours_saved(self):
        """The number of each picture's shade; blurring and saving cut off a little."""
        pixels = [picture.getpixel((0, 0)) for picture in self.pictures().values()]
        return [round(red / 8) for red, _, _ in pixels]


@pytest.fixture
def work(tmp_path):
    return Work(tmp_path)


@pytest.fixture
def layerlab(capsys):
    """Run the command in this process: arguments -> (exit status, stdout, stderr)."""
    from zimage_layer_lab.cli import main

    def run(arguments):
        status = main(arguments)
        output = capsys.readouterr()
        return status, " ".join(output.out.split()), " ".join(output.err.split())

    return run


@pytest.fixture
def layerlab_process():
    """Start the command in a process of its own: arguments, variables -> Popen. Ended with the
    test."""
    paths = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    started = []

    def start(arguments, **variables):
        command = [sys.executable, "-m", "zimage_layer_lab.cli", *arguments]
        process = subprocess.Popen(
            command,
            # A shell's background jobs, which tests may be, pass on that Ctrl-C is not heard.
            preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) if POSIX else None,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    end_all(started)


@pytest.fixture
def history():
    """A function: server -> its prompts by id, those that ended."""
    return lambda server: get_json(server.address, "/history")


@pytest.fixture
def wait_until():
    """A function: waits for a condition to become true, and gives what it gave."""

    def wait(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.02)
        return found

    return wait


class CuttingProxy:
    """TCP in front of a server. It cuts what it is told to, by how a request begins.

    A request that is to ``hang`` gets no answer, and its line stays open. ``seen`` has the requests
    by their first line's method and path, and ``refused`` those that came while it was refusing.
    """

    def __init__(self, address):
        self.point_to(address)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen = []
        self.refused = []
        self.lose_answers = {}
        self.lose_requests = {}
        self.hang = {}
        self.refusing = False
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def point_to(self, address):
        """Connect to this server from now on."""
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))

    def cut(self, start):
        """Cut every open connection whose request began with ``start``; returns how many."""
        cut = [pair for began, pair in self._open if began.startswith(start)]
        self._open = [entry for entry in self._open if entry[1] not in cut]
        for pair in cut:
            self._close(*pair)
        return len(cut)

    def close(self):
        self._close(self._listener)
        self.cut("")

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        data = client.recv(65536)
        if not data:
            return self._close(client)
        began = " ".join(data.split(b"\r\n")[0].decode("latin-1").split()[:2])
        if self.refusing:
            self.refused.append(began)
            return self._close(client)
        self.seen.append(began)
        if self._spend(self.lose_requests, began):
            return self._close(client)
        if self._spend(self.hang, began):
            self._open.append((began, (client,)))
            return None
        server = socket.create_connection(self._target)
        self._open.append((began, (client, server)))
        server.sendall(data)
        threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
        if self._spend(self.lose_answers, began):
            server.recv(65536)
            return self._close(client, server)
        self._pump(server, client)

    @staticmethod
    def _spend(losses, began):
        for start, times in losses.items():
            if times and began.startswith(start):
                losses[start] = times - 1
                return True
        return False

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        self._close(source, target)

    @staticmethod
    def _close(*sockets):
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()


@pytest.fixture
def proxy(server):
    """In front of the server."""
    proxy = CuttingProxy(server.address)
    yield proxy
    proxy.close()
