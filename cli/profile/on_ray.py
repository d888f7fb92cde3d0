"""Measuring a profile on Ray: every worker holds the model and takes shards of the prompts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from ...core.profile.merging import merge_groups
from ...core.profile.profile import ProfileStats
from ..model.errors import ModelError
from ..ray_cluster import ClusterError, joined_ray, lost_worker, require_ray
from .batches import Batch
from .image_prompts import ImageBatch
from .meter import Done, ModelFacts, ProfileMeter

RESTARTS = 10
"""How often one worker may die before the run gives up."""

QUEUED = 2
"""Shards that wait at a worker or are measured by it, so that none stands idle."""

AHEAD = 8
"""Shards a worker that may be finished before an earlier one is (a restarted worker is late)."""


class ShardMeter(ProfileMeter):
    """As :class:`.ProfileMeter`, for a worker that keeps what it measures until it is merged."""

    def measure_counted(
        self, shard: Sequence[Batch | ImageBatch], indices: Sequence[int]
    ) -> tuple[ProfileStats, tuple[int, int]]:
        """Statistics of one shard, and its prompts and tokens: few bytes that can be sent off."""
        stats = self.measure(shard, indices)
        return stats, (stats.prompts, stats.tokens)


class RayMeters:
    """Workers of Ray with one :class:`ShardMeter` each.

    ``group_shards``: of how many shards one merged result is fetched; theirs stay on the cluster.
    """

    def __init__(self, meters: Sequence[Any], group_shards: int = 1):
        self._meters = list(meters)
        self._group_shards = group_shards

    def facts(self) -> ModelFacts:
        """What every worker has loaded.

        Raises:
            ClusterError: if they do not have the same model, or died of it.
        """
        return same_facts(self._meters)

    def measure_all(
        self, shards: Iterable[Sequence[Batch | ImageBatch]], indices: Sequence[int], done: Done
    ) -> Iterator[tuple[ProfileStats, int]]:
        """Statistics of each group of shards, in order, whichever worker was first, and of how many
        shards they are.

        Raises:
            ClusterError: if a worker has died too often.
        """
        parts = self._measured(shards, tuple(indices), done)
        merged = merge_groups(parts, self._merging(), self._group_shards)
        # One group behind: no worker stands idle while the last results of one are merged.
        for (reference, count), _ in pairwise(chain(merged, [None])):
            yield results(reference), count

    def _measured(
        self,
        shards: Iterable[Sequence[Batch | ImageBatch]],
        indices: tuple[int, ...],
        done: Done,
    ) -> Iterator[Any]:
        """References to the statistics of each shard, in order, once they are there."""
        measured: deque[Any] = deque()

        def call(meter: Any, shard: Sequence[Batch | ImageBatch]) -> Any:
            method = meter.measure_counted.options(num_returns=2)
            statistics, counts = method.remote(shard, indices)
            measured.append(statistics)
            return counts

        for counts in in_order(self._meters, call, shards):
            done(*counts)
            yield measured.popleft()

    def _merging(self) -> Callable[[Any, Any], Any]:
        """A function that has two results merged where most of their bytes are.

        No more than there are workers are being merged at once, for each takes memory.
        """
        import ray

        # The workers hold every CPU. Ray runs a task of none where its arguments are.
        merged = ray.remote(num_cpus=0, max_retries=RESTARTS)(ProfileStats.merge)
        running: list[Any] = []

        def merge(one: Any, other: Any) -> Any:
            if len(running) == len(self._meters):
                _, running[:] = ray.wait(running, num_returns=1, fetch_local=False)
            running.append(merged.remote(one, other))
            return running[-1]

        return merge


def in_order(
    workers: Sequence[Any], call: Callable[[Any, Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    """What ``call(worker, item)``, a task of Ray, returns for each item, in the items' order.

    Every item goes to a worker that has the fewest waiting; items are asked for as there is room.

    Raises:
        ClusterError: if a worker has died too often.
    """
    import ray

    idle = deque(list(workers) * QUEUED)
    busy: dict[Any, Any] = {}
    order: deque[Any] = deque()
    for item in items:
        if len(order) == AHEAD * len(workers):
            yield results(order.popleft())
        while not idle:
            finished, _ = ray.wait(list(busy), num_returns=1, fetch_local=False)
            idle.extend(busy.pop(reference) for reference in finished)
        worker = idle.popleft()
        reference = call(worker, item)
        busy[reference] = worker
        order.append(reference)
        while order and ray.wait([order[0]], timeout=0)[0]:
            yield results(order.popleft())
    while order:
        yield results(order.popleft())


def same_facts(meters: Sequence[Any]) -> ModelFacts:
    """What every worker has loaded. Raises ClusterError if they do not have the same model."""
    first, *others = results([meter.facts.remote() for meter in meters])
    for other in others:
        if (other.fingerprint, other.dtype) != (first.fingerprint, first.dtype):
            raise ClusterError(
                f"the workers have different models under {first.name}: fingerprint "
                f"{first.fingerprint} ({first.dtype}) and {other.fingerprint} ({other.dtype})"
            )
    return first


def results(references: Any) -> Any:
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
        raise lost_worker(error) from error


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
    require_ray(address)


@contextmanager
def ray_meters(
    address: str,
    workers: int,
    path: Path,
    device: str,
    dtype: str,
    vision: bool = False,
    group_shards: int = 1,
) -> Iterator[RayMeters]:
    """Workers on a cluster, or with the address "local" on a Ray of this machine alone.

    On a cluster the model must be at the same path on every node. ``group_shards``: see
    :class:`RayMeters`.

    Raises:
        ClusterError: if the cluster cannot be joined, or lacks the CPUs or GPUs.
    """
    with ray_workers(address, workers, device, ShardMeter) as make:
        yield RayMeters(make(path, dtype, vision), group_shards)


@contextmanager
def ray_workers(
    address: str, workers: int, device: str, kind: type
) -> Iterator[Callable[..., list[Any]]]:
    """On a cluster, a function that makes ``workers`` workers of one ``kind``.

    It takes the path of the model, and what the kind is given after the device.

    Raises:
        ClusterError: as :func:`ray_meters`.
    """
    with joined_ray(address, workers):
        import ray

        device, cpus, gpus = _share(workers, device)
        remote = ray.remote(kind).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
            scheduling_strategy="SPREAD",
        )
        yield lambda path, *more: [remote.remote(path, device, *more) for _ in range(workers)]


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
