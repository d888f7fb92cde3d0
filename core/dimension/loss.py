"""What replacing one dimension of a hidden state costs: the change of the next-token loss.

In nats, the mean over the tokens of a prompt that are its own (the chat template's are left out);
over prompts the mean, with a bootstrap interval (Efron 1979) in which prompts are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .prompt_tokens import Ids

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)
"""Quantiles of the resampled means that an interval runs between: 95 % of them."""
LOGIT_VALUES = 2**26
"""Logits that are in memory at a time (256 MB in float32)."""


class CausalModel(Protocol):
    """A decoder language model, as these measurements need it. Prompts are token ids."""

    @property
    def blocks(self) -> int:
        """How many blocks it has."""

    @property
    def width(self) -> int:
        """Dimensions of a hidden state."""

    def states(self, prompts: Sequence[Ids], indices: Sequence[int]) -> dict[int, list[Tensor]]:
        """Hidden states (0..blocks), each a list of (tokens, width), one for each prompt."""

    def finish(self, prompts: Sequence[Ids], index: int, states: Sequence[Tensor]) -> list[Tensor]:
        """The normed last state of each prompt, (tokens, width), if its hidden state ``index`` were
        the one in ``states``; in one pass."""

    def logits(self, normed: Tensor) -> Tensor:
        """(n, width) normed last states -> (n, vocabulary)."""

    def column(self, dimension: int) -> Tensor:
        """(vocabulary,) what a unit of the dimension in the un-normed last state adds to each
        logit: the final norm's weight times the unembedding's column."""


class Variant(NamedTuple):
    """One dimension with other values.

    Attributes:
        values: per prompt (tokens,), the new values; None leaves the model as it is.
    """

    dimension: int
    values: tuple[Tensor, ...] | None


class Cost(NamedTuple):
    """A change of the loss in nats: the mean over prompts, and its bootstrap interval."""

    mean: float
    low: float
    high: float
    per_prompt: tuple[float, ...]


@dataclass(frozen=True)
class LossRun:
    """Prompts whose losses are measured at one hidden state.

    Attributes:
        prompts: token ids.
        predicted: per prompt the positions whose loss counts.
        batch_tokens: tokens that share a pass, padding included; a longer prompt is alone.
    """

    model: CausalModel
    index: int
    prompts: Sequence[Ids]
    predicted: Sequence[slice]
    states: Sequence[Tensor]
    batch_tokens: int = 2048

    def losses(
        self,
        variants: Sequence[Variant],
        numbers: Sequence[int],
        done: Callable[[int], None] = lambda passes: None,
    ) -> list[list[float]]:
        """Per variant, the loss of each of the prompts ``numbers``.

        Variants share passes. ``done`` is told how many prompts were run.
        """
        jobs = [(variant, number) for variant in range(len(variants)) for number in numbers]
        jobs.sort(key=lambda job: -len(self.prompts[job[1]]))
        found: dict[tuple[int, int], float] = {}
        while jobs:
            rows = max(1, self.batch_tokens // len(self.prompts[jobs[0][1]]))
            batch, jobs = jobs[:rows], jobs[rows:]
            given = [(variants[variant], number) for variant, number in batch]
            found.update(zip(batch, self._run(given), strict=True))
            done(len(batch))
        return [[found[variant, number] for number in numbers] for variant in range(len(variants))]

    def _run(self, batch: Sequence[tuple[Variant, int]]) -> list[float]:
        prompts = [self.prompts[number] for _, number in batch]
        changed = [_changed(self.states[number], variant, number) for variant, number in batch]
        normed = self.model.finish(prompts, self.index, changed)
        chosen = [self.predicted[number] for _, number in batch]
        rows = [
            own[part.start - 1 : part.stop - 1] for own, part in zip(normed, chosen, strict=True)
        ]
        targets = [torch.tensor(ids[part]) for ids, part in zip(prompts, chosen, strict=True)]
        losses = self._token_losses(torch.cat(rows), torch.cat(targets))
        return [float(own.mean()) for own in losses.split([len(own) for own in targets])]

    def _token_losses(self, rows: Tensor, targets: Tensor) -> Tensor:
        """(n,) float64 the loss of each token that a state in ``rows`` (n, width) predicts."""
        parts, first = [], 0
        step = 64
        while first < len(rows):
            logits = self.model.logits(rows[first : first + step])
            wide = logits if logits.dtype == torch.float64 else logits.float()
            wanted = targets[first : first + step].to(wide.device)
            parts.append(
                torch.nn.functional.cross_entropy(wide, wanted, reduction="none").double().cpu()
            )
            first += step
            step = max(1, LOGIT_VALUES // wide.shape[1])
        return torch.cat(parts)


def cost_of(plain: Sequence[float], changed: Sequence[float]) -> Cost:
    """The cost of a change, from the losses of the same prompts before and after it."""
    each = torch.tensor(changed, dtype=torch.float64) - torch.tensor(plain, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randint(len(each), (RESAMPLES, len(each)), generator=generator)
    quantiles = torch.tensor(INTERVAL, dtype=torch.float64)
    low, high = each[draws].mean(1).quantile(quantiles).tolist()
    return Cost(float(each.mean()), low, high, tuple(each.tolist()))


def _changed(states: Tensor, variant: Variant, number: int) -> Tensor:
    if variant.values is None:
        return states
    changed = states.clone()
    changed[:, variant.dimension] = variant.values[number].to(changed)
    return changed
