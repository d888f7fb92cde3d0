"""The same measurement on Ray: every worker holds the model and takes shards of the prompts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.profile import ProfileStats
from .model_files import ModelError
from .profile_batches import Batch
from .profile_meter import Done, ModelFacts, ProfileMeter

LOCAL, AUTO = "local", "auto"
"""Addresses: start a Ray here; join the one that runs here."""

PACKAGE = __name__.partition(".")[0]
RESTARTS = 10
"""How often one worker may die before the run gives up."""

QUEUED = 2
"""Shards that wait at a worker or are measured by it, so that none stands idle."""

AHEAD = 8
"""Shards a worker that may be finished before an earlier one is (a restarted worker is late)."""

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 14.0
PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"
ADVICE = (
    "check the address, that 'ray status' works on this machine and, if the cluster asks for "
    "tokens, that RAY_AUTH_MODE=token is set here"
)
STORE_BYTES = 512 * 2**20


class ClusterError(RuntimeError):
    """Ray cannot be used; the message names the address or resource, and what to do."""


class RayMeters:
    """Workers of Ray with one :class:`.ProfileMeter` each."""

    def __init__(self, meters: Sequence[Any]):
        self._meters = list(meters)

    def facts(self) -> ModelFacts:
        """What every worker has loaded.

        Raises:
            ClusterError: if they do not have the same model, or died of it.
        """
        first, *others = _get([meter.facts.remote() for meter in self._meters])
        for other in others:
            if (other.fingerprint, other.dtype) != (first.fingerprint, first.dtype):
                raise ClusterError(
                    f"the workers have different models under {first.name}: fingerprint "
                    f"{first.fingerprint} ({first.dtype}) and {other.fingerprint} ({other.dtype})"
                )
        return first

    def measure_all(
        self, shards: Iterable[Sequence[Batch]], indices: Sequence[int], done: Done
    ) -> Iterator[ProfileStats]:
        """Statistics of each shard, in order, whichever worker was first.

        Raises:
            ClusterError: if a worker has died too often.
        """
        import ray

        idle = deque(self._meters * QUEUED)
        busy: dict[Any, Any] = {}
        order: deque[Any] = deque()

        def next_result() -> ProfileStats:
            stats = _get(order.popleft())
            done(stats.prompts, stats.tokens)
            return stats

        for shard in shards:
            if len(order) == AHEAD * len(self._meters):
                yield next_result()
            while not idle:
                finished, _ = ray.wait(list(busy), num_returns=1, fetch_local=False)
                idle.extend(busy.pop(reference) for reference in finished)
            meter = idle.popleft()
            reference = meter.measure.remote(shard, tuple(indices))
            busy[reference] = meter
            order.append(reference)
            while order and ray.wait([order[0]], timeout=0)[0]:
                yield next_result()
        while order:
            yield next_result()


def _get(references: Any) -> Any:
    """``ray.get`` with errors that name what happened on the worker."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ModelError):
            raise ModelError(f"on a Ray worker: {cause}") from error
        raise ClusterError(f"a Ray worker failed: {type(cause).__name__}: {cause}") from error
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        if f"No module named '{PACKAGE}'" in reason:
            reason = f"it cannot import {PACKAGE}: install zimage-layer-lab[ray] on every node"
        raise ClusterError(f"a Ray worker was lost for good: {reason}") from error


def require_cluster(address: str, workers: int, device: str) -> None:
    """Refuse, in seconds, what :func:`ray_meters` could only fail at.

    Raises:
        ClusterError: if the arguments make no sense or no Ray answers at the address.
        ModuleNotFoundError: if Ray is not installed.
    """
    if workers < 1:
        raise ClusterError(f"--workers is {workers}: it must be at least 1")
    if device.partition(":")[2]:
        raise ClusterError(
            f"--device {device}: on Ray every worker gets a GPU of its own; say --device cuda"
        )
    _set_environment()
    import ray  # noqa: F401

    if address not in (LOCAL, AUTO):
        _require_listener(address)
    if address != LOCAL:
        _require_ray(address)


@contextmanager
def ray_meters(
    address: str, workers: int, path: Path, device: str, dtype: str
) -> Iterator[RayMeters]:
    """Workers on a cluster, or with the address "local" on a Ray of this machine alone.

    On a cluster the model must be at the same path on every node.

    Raises:
        ClusterError: if the cluster cannot be joined, or lacks the CPUs or GPUs.
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
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ClusterError(f"Ray at {address} cannot be joined: {reason}") from error
    try:
        device, cpus, gpus = _share(workers, device)
        remote = ray.remote(ProfileMeter).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
            scheduling_strategy="SPREAD",
        )
        yield RayMeters([remote.remote(path, device, dtype) for _ in range(workers)])
    finally:
        ray.shutdown()


def _set_environment() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # The present meaning of "no GPU" is kept, and Ray does not warn that it may change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


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


def _require_ray(address: str) -> None:
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


def _share(workers: int, device: str) -> tuple[str, int, int]:
    """The device of a worker, and the CPUs and GPUs that it claims."""
    import ray

    there = ray.cluster_resources()
    cpus, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if cpus < workers:
        raise ClusterError(f"--workers {workers}: this Ray has {cpus} CPUs; ask for fewer workers")
    if device == "cuda" or (device == "auto" and gpus):
        if gpus < workers:
            raise ClusterError(
                f"--workers {workers}: this Ray has {gpus} GPUs; ask for fewer workers, or for "
                "--device cpu"
            )
        return "cuda", 1, 1
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    smallest = min(count for count in nodes if count)
    return device, max(1, min(cpus // workers, smallest)), 0


def _worker_environment() -> dict[str, str]:
    """Lets workers on this machine import the package where it is on the path, not installed."""
    found = sys.modules[PACKAGE].__file__ or ""
    # An editable install maps the name to a folder of another name; there it is importable anyway.
    folder = Path(found).parent
    environment = {"TQDM_DISABLE": "1"}
    if folder.name == PACKAGE:
        environment["PYTHONPATH"] = f"{folder.parent}{os.pathsep}${{PYTHONPATH}}"
    return environment
