"""Joining a Ray cluster, or starting Ray on this machine, with errors that say what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import LayerLabError

LOCAL, AUTO = "local", "auto"
"""Addresses: start a Ray here; join the one that runs here."""

PACKAGE = __name__.partition(".")[0]
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 14.0
PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
ADVICE = (
    "check the address, that 'ray status' works on this machine and, if the cluster asks for "
    "tokens, that RAY_AUTH_MODE=token is set here"
)
STORE_BYTES = 512 * 2**20


class ClusterError(LayerLabError, RuntimeError):
    """Ray cannot be used; the message names the address or resource, and what to do."""


def require_ray(address: str) -> None:
    """Refuse, in seconds, an address that :func:`joined_ray` could only fail at.

    Raises:
        ClusterError: if no Ray answers there.
        ModuleNotFoundError: if Ray is not installed.
    """
    _set_environment()
    import ray  # noqa: F401

    if address not in (LOCAL, AUTO):
        _require_listener(address)
    if address != LOCAL:
        _require_answer(address)


@contextmanager
def joined_ray(address: str, workers: int) -> Iterator[None]:
    """Connected to the cluster at the address, or with "local" to a Ray of this machine alone.

    A Ray started here has at least ``workers`` CPUs, whatever the machine has.

    Raises:
        ClusterError: if the cluster cannot be joined.
    """
    _set_environment()
    import ray

    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        "runtime_env": {"env_vars": _worker_environment()},
    }
    if address == LOCAL:
        options |= {
            "num_cpus": max(os.cpu_count() or 1, workers),
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
    try:
        ray.init(address=address, **options)
    except Exception as error:  # where a busy machine lets Ray start too slowly, it is a bare one
        reason = " ".join(str(error).split())
        raise ClusterError(f"Ray at {address} cannot be joined: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def lost_worker(error: Exception) -> ClusterError:
    """What to raise when Ray gave up on a worker."""
    reason = " ".join(str(error).split())
    if f"No module named '{PACKAGE}'" in reason:
        reason = f"it cannot import {PACKAGE}: install zimage-layer-lab[ray] on every node"
    return ClusterError(f"a Ray worker was lost for good: {reason}")


def _set_environment() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The present meaning of "no GPU" is kept, and Ray does not warn that it may change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # An error is told once, not again with its traceback for each result that it left unfetched.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")


def _require_listener(address: str) -> None:
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ClusterError(
            f"--ray {address}: give 'local', 'auto', or HOST:PORT of the cluster's head (its "
            "port is 6379 unless it was started with another)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"no Ray answers at {address}: {error}; {ADVICE}") from error


def _require_answer(address: str) -> None:
    """Find out in seconds whether it is a Ray: ``ray.init`` goes on trying for minutes."""
    command = [sys.executable, "-c", PROBE, address]
    try:
        # A process, for whatever hangs in it ends with it.
        probe = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"{address} does not answer as Ray does within {ANSWER_SECONDS:.0f} s; {ADVICE}"
        ) from error
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
        raise ClusterError(f"Ray at {address} cannot be joined: {reason}; {ADVICE}")


def _worker_environment() -> dict[str, str]:
    """Lets workers on this machine import the package where it is on the path, not installed."""
    found = sys.modules[PACKAGE].__file__ or ""
    # An editable install maps the name to a folder of another name; there it is importable anyway.
    folder = Path(found).parent
    environment = {"TQDM_DISABLE": "1"}
    if folder.name == PACKAGE:
        environment["PYTHONPATH"] = f"{folder.parent}{os.pathsep}${{PYTHONPATH}}"
    return environment
