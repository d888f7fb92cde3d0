"""Encoding captions on Ray: every worker holds the model and takes batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.edit.state_edits import LayerChoice
from ..profile.meter import ModelFacts
from ..profile.on_ray import in_order, ray_workers, same_facts
from .encoder import CaptionEncoder, Ids


class RayEncoders:
    """Workers of Ray with one :class:`.CaptionEncoder` each."""

    def __init__(self, encoders: Sequence[Any]):
        self._encoders = list(encoders)

    def facts(self) -> ModelFacts:
        """What every worker has loaded. Raises ClusterError if they do not have the same model."""
        return same_facts(self._encoders)

    def encode_all(
        self, batches: Iterable[Sequence[Ids]], choice: LayerChoice
    ) -> Iterator[list[Tensor]]:
        """The states of each batch, in order, whichever worker was first.

        Raises:
            ClusterError: if a worker has died too often.
        """
        return in_order(
            self._encoders, lambda encoder, batch: encoder.encode.remote(batch, choice), batches
        )


@contextmanager
def ray_encoders(
    address: str, workers: int, path: Path, device: str, dtype: str
) -> Iterator[RayEncoders]:
    """Workers that encode, as :func:`.ray_workers` starts them."""
    with ray_workers(address, workers, device, CaptionEncoder) as make:
        yield RayEncoders(make(path, dtype))
