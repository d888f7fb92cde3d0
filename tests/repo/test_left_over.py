"""The check for processes that outlive the tests finds them, kills them and fails the session."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..left_over import can_look

TESTS = Path(__file__).resolve().parents[1]
SLEEP = "import time; time.sleep(300)"
CONFTEST = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import left_over
from left_over import _no_process_is_left, pytest_configure, pytest_report_header
left_over.GRACE = 0.5
"""
PLANTED = {
    "a child": f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}])",
    "a child without the mark": f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], env={{}})",
    "an orphan in a session of its own": (
        "subprocess.Popen([sys.executable, '-c', 'import subprocess, sys; p = subprocess.Popen(["
        f'sys.executable, "-c", "{SLEEP}"], start_new_session=True, stdout=-3, stderr=-3); '
        "print(p.pid)'], stdout=subprocess.PIPE, text=True)"
    ),
}


def run_session(folder, body):
    """pytest on one test of that body, in a session of its own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(f"import subprocess, sys\n\ndef test_it():\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=."]
    return subprocess.run(
        [*command, "."], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def runs(pid):
    """Whether it does anything; a dead one that nobody waited for is a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("planted", PLANTED)
def test_a_process_that_is_left_fails_the_session_and_is_killed(planted, tmp_path):
    if not can_look():
        pytest.skip("this system has no /proc, in which left processes are looked for")
    pid_file = tmp_path / "pid"
    body = f"    process = {PLANTED[planted]}\n    pid = process.pid\n"
    if "orphan" in planted:
        body += "    pid = int(process.communicate()[0])\n"
    body += f"    open({str(pid_file)!r}, 'w').write(str(pid))\n"
    done = run_session(tmp_path, body)
    pid = int(pid_file.read_text())
    assert done.returncode == 1, done.stdout
    assert "1 passed, 1 error" in done.stdout
    assert f"{pid}: " in done.stdout and "time.sleep(300)" in done.stdout
    deadline = time.monotonic() + 10
    while runs(pid):
        assert time.monotonic() < deadline, "it was not killed"
        time.sleep(0.05)


def test_a_process_that_ends_in_time_is_none(tmp_path):
    body = "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(0.1)'])\n"
    done = run_session(tmp_path, body)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout and os.path.exists(tmp_path / "test_it.py")
