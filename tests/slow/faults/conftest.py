"""Processes that can be killed, and how many kills a run of the tests pays for.

With LAYERLAB_FAULTS=nightly the tests with servers and with `layerlab profile` started anew do 50
kills each; without it a handful.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from .servers import prepared_server

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
NIGHTLY = os.environ.get("LAYERLAB_FAULTS") == "nightly"
PRELOADED = (
    "transformers",
    "transformers.models.llama.modeling_llama",
    "matplotlib.figure",
    "zimage_layer_lab.cli.profile.command",
    "zimage_layer_lab.cli.queue.results",
    "writers",
)


def environment():
    """For a process that has this one's modules, and the folder of these tests."""
    paths = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *paths]),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


class Child:
    """A process of a test: its pid, SIGKILL, and how it ended (negative: by that signal)."""

    unwaited: ClassVar[set] = set()
    """Those whose end nobody has waited for; they are killed when their test ends."""

    def __init__(self, pid, ended):
        self.pid = pid
        self.status = None
        self._ended = ended
        self.unwaited.add(self)

    def runs(self):
        """Whether it is still at work; a dead child that nobody waited for is a zombie."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] != "Z"

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self):
        self.status = self._ended(self.pid)
        self.unwaited.discard(self)
        return self.status


@pytest.fixture(autouse=True)
def _no_child_outlives_its_test():
    """A test that fails between start and kill would leave a writer that never ends."""
    yield
    for child in tuple(Child.unwaited):
        child.kill()


@pytest.fixture(scope="session")
def launch(tmp_path_factory, skip_or_fail):
    """A function: (module, function, arguments, log file) -> Child."""
    if not hasattr(os, "fork") or not Path("/proc/self/stat").exists():
        skip_or_fail("this system has no fork and no /proc, with which these tests kill processes")
    command = [sys.executable, str(HERE / "launcher.py"), *PRELOADED]
    log = tmp_path_factory.mktemp("launcher") / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    if process.stdout.readline() != "ready\n":
        process.kill()
        process.wait()
        pytest.fail(log.read_text())

    def ask(**task):
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    def start(module, function, arguments, log):
        run = [module, function, [str(argument) for argument in arguments]]
        return Child(ask(run=run, log=str(log)), lambda pid: ask(wait=pid))

    yield start
    process.stdin.close()
    try:
        process.wait(30)
    finally:
        process.kill()


@pytest.fixture(scope="session")
def wait_until():
    """A function: waits for a condition to become true, and gives what it gave."""

    def wait(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.001)
        return found

    return wait


@pytest.fixture
def new_server(comfyui, tiny_base, pack_root, skip_or_fail, tmp_path):
    """A server with a folder of its own, not started; stopped at the end."""
    base = tmp_path / "server"
    base.mkdir()
    server = prepared_server(comfyui, base, tiny_base, pack_root, skip_or_fail)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(comfyui, tiny_base, pack_root, skip_or_fail, tmp_path_factory):
    """Started, for all tests of a module that do not kill it."""
    base = tmp_path_factory.mktemp("fault_server")
    with prepared_server(comfyui, base, tiny_base, pack_root, skip_or_fail) as started:
        yield started
