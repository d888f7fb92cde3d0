"""A loaded model with its head that measures for ``layerlab dim``: here, or in a worker of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ...core.dimension.loss import LossRun, Variant
from ...core.dimension.prompt_tokens import Ids
from ..model.causal import CausalDecoder, load_causal
from ..model.files import ModelFiles
from ..model.language_model import LoadedDecoder
from ..profile.batches import plan_batches
from ..profile.meter import ProfileMeter


class LossJob(NamedTuple):
    """Losses to be measured at one hidden state, as a worker needs it.

    Attributes:
        prompts, predicted: token ids, and the positions whose loss counts.
        count: the first so many prompts are run with each of ``variants``.
    """

    index: int
    prompts: tuple[Ids, ...]
    predicted: tuple[slice, ...]
    variants: tuple[Variant, ...]
    count: int

    @property
    def runs(self) -> int:
        """How many prompts are run."""
        return self.count * len(self.variants)


class DimMeter(ProfileMeter):
    """As :class:`.ProfileMeter`, with the language-model head."""

    def __init__(self, path: Path, device: str, dtype: str, batch_tokens: int):
        super().__init__(path, device, dtype)
        self._batch_tokens = batch_tokens
        self._run: LossRun | None = None

    @cached_property
    def _causal(self) -> CausalDecoder:
        path, device, dtype, _ = self._arguments
        return load_causal(ModelFiles.find(path), device, dtype)

    @property
    def _model(self) -> LoadedDecoder:
        return self._causal.loaded

    def states(self, prompts: Sequence[Ids], indices: Sequence[int]) -> dict[int, list[Tensor]]:
        """Hidden states, each a list of (tokens, width), one for each prompt."""
        plan = plan_batches([len(ids) for ids in prompts], self._batch_tokens)
        found: dict[int, dict[int, Tensor]] = {index: {} for index in indices}
        for shard in range(plan.shards):
            for numbers in plan.numbers(shard):
                states = self._causal.states([prompts[number] for number in numbers], indices)
                for index, own in states.items():
                    found[index].update(zip(numbers, own, strict=True))
        return {
            index: [own[number] for number in range(len(prompts))] for index, own in found.items()
        }

    def columns(self, dimensions: Sequence[int]) -> list[Tensor]:
        """Per dimension (vocabulary,), from :meth:`.CausalModel.column`."""
        return [self._causal.column(dimension) for dimension in dimensions]

    def losses(self, job: LossJob) -> list[list[float]]:
        """Per variant the loss of each of the first ``job.count`` prompts."""
        run = self._run
        if run is None or (run.index, run.prompts) != (job.index, job.prompts):
            states = self.states(job.prompts, [job.index])[job.index]
            run = self._run = LossRun(
                self._causal, job.index, job.prompts, job.predicted, states, self._batch_tokens
            )
        return run.losses(job.variants, range(job.count))


class LocalMeter:
    """A :class:`DimMeter` in this process, asked as :class:`.RayDimMeters` is."""

    def __init__(self, meter: DimMeter):
        self._meter = meter
        self.facts, self.survey = meter.facts, meter.measure
        self.states, self.columns = meter.states, meter.columns

    def losses_of_all(
        self, jobs: Iterable[LossJob], done: Callable[[int], None]
    ) -> Iterator[list[list[float]]]:
        """The losses of each job, in order; ``done`` is told how many prompts were run."""
        for job in jobs:
            losses = self._meter.losses(job)
            done(job.runs)
            yield losses
