"""Measuring for ``layerlab dim`` on Ray: every worker holds the model and takes runs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.dimension.prompt_tokens import Ids
from ...core.profile.profile import ProfileStats
from ..profile.meter import ModelFacts
from ..profile.on_ray import in_order, ray_workers, results, same_facts
from .meter import DimMeter, LossJob


class RayDimMeters:
    """Workers of Ray with one :class:`.DimMeter` each."""

    def __init__(self, meters: Sequence[Any]):
        self._meters = list(meters)

    def facts(self) -> ModelFacts:
        """What every worker has loaded. Raises ClusterError if they have different models."""
        return same_facts(self._meters)

    def survey(self, *arguments: Any) -> ProfileStats:
        """:meth:`.DimMeter.measure`, of one worker."""
        return results(self._meters[0].measure.remote(*arguments))

    def states(self, prompts: Sequence[Ids], indices: Sequence[int]) -> dict[int, list[Tensor]]:
        """:meth:`.DimMeter.states`, each worker some of the prompts."""
        count = len(self._meters)
        parts = results(
            [
                meter.states.remote(prompts[number::count], indices)
                for number, meter in enumerate(self._meters[: len(prompts)])
            ]
        )
        return {
            index: [parts[number % count][index][number // count] for number in range(len(prompts))]
            for index in indices
        }

    def columns(self, dimensions: Sequence[int]) -> list[Tensor]:
        """:meth:`.DimMeter.columns`, of one worker."""
        return results(self._meters[0].columns.remote(dimensions))

    def losses_of_all(
        self, jobs: Iterable[LossJob], done: Callable[[int], None]
    ) -> Iterator[list[list[float]]]:
        """The losses of each job, in order; ``done`` is told how many prompts were run."""
        runs: list[int] = []

        def call(meter: Any, job: LossJob) -> Any:
            runs.append(job.runs)
            return meter.losses.remote(job)

        for number, losses in enumerate(in_order(self._meters, call, jobs)):
            done(runs[number])
            yield losses


@contextmanager
def ray_dim_meters(
    address: str, workers: int, path: Path, device: str, dtype: str, batch_tokens: int
) -> Iterator[RayDimMeters]:
    """Workers on a cluster, as :func:`.ray_meters` makes them. Raises ClusterError."""
    with ray_workers(address, workers, device, DimMeter) as make:
        yield RayDimMeters(make(path, dtype, batch_tokens))
