"""Run a ComfyUI of this machine as a throw-away server with folders of its own.

Nothing of ComfyUI is imported: it runs as a process, and answers over loopback.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from .client import ServerUnreachable, get_json
from .folder import comfyui_version, find_comfyui, install_pack, is_comfyui

__all__ = ["ComfyServer", "comfyui_version", "find_comfyui", "install_pack", "is_comfyui"]

logger = logging.getLogger(__name__)

_FOLDERS = ("models", "custom_nodes", "input", "output", "user", "temp")
_STOP_TIMEOUT = 10.0
_LOG_LINES = 25


class ComfyServer:
    """A ComfyUI process with its own base directory; a context manager.

    ``comfyui``: the ComfyUI folder. ``base_directory``: gets models, custom_nodes, input, output,
    user, temp and server.log. ``cpu``: pass --cpu; None asks torch whether there is an accelerator.
    ``startup_timeout``: seconds. Only loopback connections are accepted.
    """

    def __init__(
        self,
        comfyui: Path,
        base_directory: Path,
        python: str = sys.executable,
        extra_args: Sequence[str] = (),
        cpu: bool | None = None,
        startup_timeout: float = 180.0,
    ) -> None:
        self.comfyui = Path(comfyui).resolve()
        self.base_directory = Path(base_directory).resolve()
        self.log_path = self.base_directory / "server.log"
        self.address = ""
        self._python = python
        self._extra_args = tuple(extra_args)
        self._cpu = cpu
        self._startup_timeout = startup_timeout
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> ComfyServer:
        """Start the process and wait until it answers.

        Raises RuntimeError, with the end of the log, if it dies or does not answer in time.
        """
        if self._process is not None:
            raise RuntimeError(f"the server already runs at {self.address}")
        for folder in _FOLDERS:
            (self.base_directory / folder).mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        cpu = not _has_accelerator() if self._cpu is None else self._cpu
        command = [
            self._python,
            str(self.comfyui / "main.py"),
            "--listen",
            "127.0.0.1",
            "--port",
            str(port),
            "--base-directory",
            str(self.base_directory),
            "--disable-auto-launch",
            # By default the asset database lies in the ComfyUI folder, not in the base directory.
            "--database-url",
            "sqlite:///:memory:",
            *(["--cpu"] if cpu else []),
            *self._extra_args,
        ]
        logger.info("starting ComfyUI %s at %s", comfyui_version(self.comfyui), self.address)
        try:
            with self.log_path.open("wb") as log:
                self._process = self._spawn(command, log)
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Terminate the server and all its children, then kill what is left. May be repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, force=False)
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            logger.warning("ComfyUI did not stop in %g s and is killed", _STOP_TIMEOUT)
        finally:
            _signal_group(process, force=True)
            process.wait()

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines the server wrote."""
        try:
            text = self.log_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> ComfyServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        # A group of its own, so that the loaders' worker processes stop with the server.
        own_group = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
            if os.name == "nt"
            else {"start_new_session": True}
        )
        return subprocess.Popen(
            command,
            cwd=self.comfyui,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            **own_group,
        )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._startup_timeout
        while True:
            code = process.poll()
            if code is not None:
                raise RuntimeError(
                    f"ComfyUI stopped with exit code {code} before it answered:\n{self.log_tail()}"
                )
            try:
                get_json(self.address, "/system_stats")
                return
            except ServerUnreachable:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"ComfyUI did not answer in {self._startup_timeout:g} s:\n{self.log_tail()}"
                )
            time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _signal_group(process: subprocess.Popen[bytes], force: bool) -> None:
    if os.name == "nt":
        if process.poll() is None:
            if force:
                process.kill()
            else:
                process.terminate()
        return
    try:
        # start_new_session made the process the leader of a group with its own id.
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        pass
