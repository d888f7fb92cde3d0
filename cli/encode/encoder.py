"""A loaded model that turns batches of captions into states, here or in a worker of Ray."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from ...core.edit.state_edits import LayerChoice
from ..profile.meter import HeldModel

Ids = list[int]


class CaptionEncoder(HeldModel):
    """Holds the model; see :class:`.HeldModel` for the arguments."""

    def encode(self, batch: Sequence[Ids], choice: LayerChoice) -> list[Tensor]:
        """(tokens, width) float32 on the CPU for each prompt of the batch, without padding."""
        states, valid = self._model.batch_states(batch, choice.indices)
        chosen = choice.choose(states).cpu()
        return [row[: int(there.sum())].clone() for row, there in zip(chosen, valid, strict=True)]

    def encode_all(
        self, batches: Iterable[Sequence[Ids]], choice: LayerChoice
    ) -> Iterator[list[Tensor]]:
        """The states of each batch, in order."""
        for batch in batches:
            yield self.encode(batch, choice)
