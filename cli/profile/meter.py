"""A loaded model that measures shards of prompts: in this process, or in a worker of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...core.encoder.fingerprint import fingerprint
from ...core.profile.profile import ProfileStats
from ..model.files import ModelFiles
from ..model.language_model import LoadedDecoder, load_decoder, padded_ids
from .batches import Batch

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


class ProfileMeter:
    """Holds the model at ``path``; see :func:`.load_decoder` for ``device`` and ``dtype``.

    The model is loaded when it is first needed, so that an error of a worker reaches the caller.
    """

    def __init__(self, path: Path, device: str, dtype: str):
        self._arguments = (path, device, dtype)

    @cached_property
    def _model(self) -> LoadedDecoder:
        path, device, dtype = self._arguments
        return load_decoder(ModelFiles.find(path), device, dtype)

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

    def measure(
        self,
        shard: Sequence[Batch],
        indices: Sequence[int],
        done: Done = lambda prompts, tokens: None,
    ) -> ProfileStats:
        """Statistics of one shard alone at the hidden states ``indices``."""
        stats = ProfileStats(self._model.blocks, self._model.width, tuple(indices))
        for batch in shard:
            numbers = [number for number, _ in batch]
            ids = padded_ids([ids for _, ids in batch])
            valid = self._model.stream_states(
                [ids for _, ids in batch],
                indices,
                lambda index, hidden, valid, numbers=numbers, ids=ids: stats.update_layer(
                    index, hidden, valid, numbers, ids
                ),
            )
            stats.finish_batch(valid)
            done(len(batch), int(valid.sum()))
        return stats

    def measure_all(
        self, shards: Iterable[Sequence[Batch]], indices: Sequence[int], done: Done
    ) -> Iterator[ProfileStats]:
        """Statistics of each shard, in order."""
        for shard in shards:
            yield self.measure(shard, indices, done)
