"""All that is asked of some dimensions at one hidden state, as losses to be measured and what they
come to.

The losses may be measured here, on other machines or an hour later: :meth:`LayerProbe.tasks` says
which are needed, :meth:`LayerProbe.result` takes them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..dit.gain import Gains
from ..encoder.layers import negative_layer
from ..measure.sinks import find_sinks
from ..measure.split_stats import SplitStats
from ..outliers.detection import expected_for, find_outliers
from .ablation import TokenGroups, replace_values
from .controls import Controls, choose_controls
from .knowledge import ClassKnowledge, Known, measure_knowledge
from .loss import Cost, Variant, cost_of
from .prompt_tokens import PromptTokens
from .received import DitGain, Received, dit_gain, received_changes
from .verdict import DECISIVE, Trial, Verdict, judge
from .ways import PLACES, WAYS
from .where import Where, locate
from .writing import Writing, read_writing

PLAIN = "plain"
"""The name of the losses of the model as it is."""
Losses = Mapping[str, Sequence[float]]
"""Name of a task -> the loss of each of its prompts."""


class Task(NamedTuple):
    """One run of the model over the first ``prompts`` prompts, with one dimension replaced."""

    dimension: int
    way: str
    place: str
    prompts: int

    @property
    def name(self) -> str:
        """The key of its losses."""
        return f"{self.dimension} {self.way} {self.place} {self.prompts}"


class Measures(NamedTuple):
    """How much is measured.

    Attributes:
        losses: the first so many prompts are run with a probed dimension replaced.
        controls: dimensions of each of the two kinds of controls.
        control_prompts: the first so many prompts are run with a control replaced.
    """

    losses: int
    controls: int
    control_prompts: int


@dataclass(frozen=True)
class DimensionProbe:
    """What was found of one dimension at one hidden state.

    Attributes:
        layer: the negative layer number.
        std, std_without_sinks: over all tokens, and those that are no sinks.
        costs: (way, place) -> what it costs.
        trials: the decisive ones of them, against the controls.
        controls: which dimensions those are; of ``trial.controls`` the first ones are drawn, the
            others matched.
        control_std: smallest and largest std of the matched controls.
        gain: in the image model's first layer, where it was given.
        verdict: None where not every way of replacing was tried.
        sinks: sink tokens, and ``kept`` of them in the beginning that all prompts share.
    """

    dimension: int
    index: int
    layer: int
    std: float
    std_without_sinks: float
    where: Where
    costs: Mapping[tuple[str, str], Cost]
    trials: Mapping[tuple[str, str], Trial]
    controls: Controls
    control_std: tuple[float, float]
    writes: Writing
    knows: tuple[Known, ...]
    received: tuple[Received, ...]
    gain: DitGain | None
    sinks: int
    kept: int
    verdict: Verdict | None


class LayerProbe:
    """Hidden state ``index`` of every prompt, measured once for all dimensions.

    Args:
        tokens: of the prompts.
        states: (n, width) of all their tokens.
    """

    def __init__(
        self, tokens: PromptTokens, index: int, blocks: int, states: Tensor, measures: Measures
    ):
        self.tokens, self.index, self.blocks, self.states = tokens, index, blocks, states
        self.losses = min(measures.losses, len(tokens))
        self.control_prompts = min(measures.control_prompts, self.losses)
        self._controls = measures.controls
        sinks = torch.cat([find_sinks(states[tokens.rows(n)][None])[0] for n in range(len(tokens))])
        self.groups = TokenGroups(tokens, sinks.cpu())
        self.stats = SplitStats(states.shape[1])
        self.stats.update(states, sinks=self.groups.sinks)

    @cached_property
    def _std(self) -> Tensor:
        return self.stats.without_sinks.std

    @cached_property
    def outliers(self) -> list[int]:
        """Dimensions whose std over all tokens is far above the median one, the farthest first."""
        expected = expected_for(self.stats, None)
        found = find_outliers(self.stats, expected, direction="loud")
        return [outlier.dimension for outlier in found]

    @cached_property
    def knowledge(self) -> ClassKnowledge:
        """Held-out AUC of every dimension."""
        return measure_knowledge(self.states, self.tokens)

    def controls_of(self, dimension: int, probed: Sequence[int]) -> Controls:
        """The controls of one of the ``probed`` dimensions."""
        never = {*probed, *self.outliers}
        return choose_controls(self._std, dimension, sorted(never), self._controls)

    def tasks(self, probed: Sequence[int], ways: Sequence[str] = WAYS) -> list[Task]:
        """Every run that is needed, each once; those that would change nothing are left out, and
        so is one that would replace the same values as another.

        ``ways``: of replacing, in their own order.
        """
        found: dict[str, Task] = {}

        def need(dimension: int, pairs: Sequence[tuple[str, str]], prompts: int) -> None:
            for way, place in pairs:
                task = self._same_as(Task(dimension, way, place, prompts))
                if task is not None:
                    found.setdefault(task.name, task)

        for dimension in probed:
            need(dimension, [(way, place) for way in ways for place in PLACES], self.losses)
        for dimension in probed:
            for control in self.controls_of(dimension, probed).all:
                need(control, [one for one in DECISIVE if one[0] in ways], self.control_prompts)
        return list(found.values())

    def variant(self, task: Task) -> Variant:
        """The new values of a task, for the prompts that it runs over."""
        new = self._new(task)
        return Variant(task.dimension, tuple(new[self.tokens.rows(n)] for n in range(task.prompts)))

    def result(
        self,
        dimension: int,
        probed: Sequence[int],
        losses: Losses,
        column: Tensor,
        text: Callable[[int], str],
        gains: Gains | None = None,
        norm: Tensor | None = None,
        ways: Sequence[str] = WAYS,
    ) -> DimensionProbe:
        """What the losses of :meth:`tasks` come to for one of the ``probed`` dimensions.

        Of some of the ``ways`` alone there is no verdict.

        Args:
            losses: by the names of the tasks, and under PLAIN.
            column: from :meth:`.CausalModel.column`.
            text: of a token id.
            gains, norm: of the image model: gains of its first layer, weight of its norm.
        """
        costs = {
            (way, place): self.cost(Task(dimension, way, place, self.losses), losses)
            for way in ways
            for place in PLACES
        }
        controls = self.controls_of(dimension, probed)
        trials = {}
        for way, place in DECISIVE:
            if way not in ways:
                continue
            cost = costs[way, place]
            same = cost.per_prompt[: self.control_prompts]
            theirs = tuple(
                self.cost(Task(control, way, place, self.control_prompts), losses).mean
                for control in (*controls.drawn, *controls.matched)
            )
            trials[way, place] = Trial(cost, sum(same) / len(same), theirs)
        matched = self._std[list(controls.matched)].tolist() or [0.0]
        return DimensionProbe(
            dimension=dimension,
            index=self.index,
            layer=negative_layer(self.index, self.blocks),
            std=float(self.stats.all.std[dimension]),
            std_without_sinks=float(self._std[dimension]),
            where=locate(self.states[:, dimension], self.groups, text),
            costs=costs,
            trials=trials,
            controls=controls,
            control_std=(min(matched), max(matched)),
            writes=read_writing(column, self.tokens.prompts, text),
            knows=self.knowledge.of(dimension),
            received=received_changes(self.states, dimension, self.groups, norm),
            gain=None if gains is None else dit_gain(gains, dimension),
            sinks=int(self.groups.sinks.sum()),
            kept=int(self.groups.kept.sum()),
            verdict=judge(trials) if set(ways) == set(WAYS) else None,
        )

    def _new(self, task: Task) -> Tensor:
        return replace_values(self.states[:, task.dimension], task.way, task.place, self.groups)

    def _same_as(self, task: Task) -> Task | None:
        """The first task that replaces the same values; None if nothing is replaced."""
        run = slice(0, self.tokens.rows(task.prompts - 1).stop)
        new = self._new(task)[run]
        if torch.equal(new, self.states[run, task.dimension]):
            return None
        for way in WAYS:
            for place in PLACES:
                other = task._replace(way=way, place=place)
                if other == task or torch.equal(new, self._new(other)[run]):
                    return other
        return task

    def cost(self, task: Task, losses: Losses) -> Cost:
        """What a task costs; 0 where it changes nothing."""
        plain = losses[PLAIN][: task.prompts]
        same = self._same_as(task)
        return cost_of(plain, plain if same is None else losses[same.name])
