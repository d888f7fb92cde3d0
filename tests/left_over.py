"""Processes that the tests started and that outlive them, which fails the session.

Those below this one are found by their parents; those whose parents have died by a mark in the
environment, which every process inherits that does not clear it.
"""

import os
import signal
import time
import uuid
from pathlib import Path

import pytest

VARIABLE = "LAYERLAB_TEST_SESSION"
MARK = f"session-{uuid.uuid4()}"
PROC = Path("/proc")
GRACE = 10.0
"""Seconds in which what has been told to end may do so."""
OF_PYTHON = b"multiprocessing.resource_tracker"
"""Python's own watcher ends with the process that it watches, which is this one."""


def can_look() -> bool:
    """Whether this system lists its processes and their environments under /proc."""
    return (PROC / "self" / "environ").exists()


def set_mark() -> None:
    """For every process that is started from now on; a session within a session has both marks."""
    os.environ[VARIABLE] = " ".join(filter(None, (os.environ.get(VARIABLE), MARK)))


def _read(pid: int, name: str) -> bytes:
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _parents() -> dict[int, int]:
    """Process -> its parent, for all that run; the dead that nobody waited for are left out."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            # "pid (name) state parent ...", and the name may hold anything.
            state = _read(int(entry.name), "stat").rpartition(b")")[2].split()
            if state and state[0] not in (b"Z", b"X"):
                found[int(entry.name)] = int(state[1])
    return found


def left_over() -> dict[int, str]:
    """Process -> its command line, for all that this session started and that still run."""
    own, parents = os.getpid(), _parents()

    def is_below(pid: int) -> bool:
        while (pid := parents.get(pid, 0)) > 1:
            if pid == own:
                return True
        return False

    found = {}
    for pid in parents:
        if pid == own or OF_PYTHON in (command := _read(pid, "cmdline")):
            continue
        if is_below(pid) or MARK.encode() in _read(pid, "environ"):
            found[pid] = command.replace(b"\0", b" ").decode(errors="replace").strip() or "?"
    return found


def end_left_over(grace: float) -> list[str]:
    """What still runs after ``grace`` seconds, one line each; it is killed."""
    deadline = time.monotonic() + grace
    while (found := left_over()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return [f"{pid}: {command[:300]}" for pid, command in sorted(found.items())]


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left():
    """Set up before every other fixture, so that it looks when all of them have been torn down."""
    if not can_look():
        yield
        return
    yield
    if lines := end_left_over(GRACE):
        pytest.fail(
            "processes that the tests started were still running, and were killed:\n"
            + "\n".join(lines),
            pytrace=False,
        )


def pytest_configure(config):
    set_mark()


def pytest_report_header(config):
    if not can_look():
        return "processes left by tests: not looked for, since this system has no /proc"
    return None
