"""A loaded model that measures shards of prompts: in this process, or in a worker of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from ...core.encoder.fingerprint import fingerprint
from ...core.profile.profile import ProfileStats
from ..model.files import ModelFiles
from ..model.language_model import LoadedDecoder, load_decoder, padded_ids
from ..model.vision import stream_image_states
from .batches import Batch
from .image_prompts import ImageBatch

Done = Callable[[int, int], None]
"""A function that is told how many further prompts and tokens are done."""


@dataclass(frozen=True)
class ModelFacts:
    """What a loaded model is; a worker of Ray can send it."""

    name: str
    fingerprint: str
    blocks: int
    width: int
    device: str
    dtype: str


class HeldModel:
    """Holds the model at ``path``; see :func:`.load_decoder` for the other arguments.

    The model is loaded when it is first needed, so that an error of a worker reaches the caller.
    """

    def __init__(self, path: Path, device: str, dtype: str, vision: bool = False):
        self._arguments = (path, device, dtype, vision)

    @cached_property
    def _model(self) -> LoadedDecoder:
        path, *options = self._arguments
        return load_decoder(ModelFiles.find(path), *options)

    def facts(self) -> ModelFacts:
        """What was loaded."""
        model = self._model
        return ModelFacts(
            name=model.name,
            fingerprint=fingerprint(model.decoder),
            blocks=model.blocks,
            width=model.width,
            device=str(model.device),
            dtype=str(model.dtype).removeprefix("torch."),
        )


class ProfileMeter(HeldModel):
    """Measures with the model that it holds."""

    def measure(
        self,
        shard: Sequence[Batch | ImageBatch],
        indices: Sequence[int],
        done: Done = lambda prompts, tokens: None,
    ) -> ProfileStats:
        """Statistics of one shard alone at the hidden states ``indices``."""
        stats = ProfileStats(self._model.blocks, self._model.width, tuple(indices))
        for batch in shard:
            run = self._run_image if isinstance(batch, ImageBatch) else self._run_prompts
            selected = run(batch, stats)
            stats.finish_batch(selected)
            done(len(selected), int(selected.sum()))
        return stats

    def _run_prompts(self, batch: Batch, stats: ProfileStats) -> Tensor:
        """One pass over prompts; (batch, tokens) bool, which tokens were measured."""
        numbers = [number for number, _ in batch]
        ids = padded_ids([ids for _, ids in batch])
        return self._model.stream_states(
            [ids for _, ids in batch],
            stats.indices,
            lambda index, hidden, valid: stats.update_layer(index, hidden, valid, numbers, ids),
        )

    def _run_image(self, batch: ImageBatch, stats: ProfileStats) -> Tensor:
        """One pass over an image; (1, tokens) bool, which tokens were measured."""
        stream_image_states(
            self._model,
            batch.ids,
            batch.image,
            stats.indices,
            lambda index, hidden: stats.update_layer(
                index, hidden, batch.selected, [batch.number], batch.words
            ),
        )
        return batch.selected

    def measure_all(
        self, shards: Iterable[Sequence[Batch | ImageBatch]], indices: Sequence[int], done: Done
    ) -> Iterator[tuple[ProfileStats, int]]:
        """Statistics of each shard, in order, and of how many shards they are: one."""
        for shard in shards:
            yield self.measure(shard, indices, done), 1
