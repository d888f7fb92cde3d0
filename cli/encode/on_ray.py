"""Encoding captions on Ray: every worker holds the model and takes batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ...core.edit.state_edits import LayerChoice
from ..profile.on_ray import RayWorkers, ray_workers
from .encoder import CaptionEncoder, Ids


class RayEncoders(RayWorkers):
    """Workers of Ray with one :class:`.CaptionEncoder` each."""

    def encode_all(
        self, batches: Iterable[Sequence[Ids]], choice: LayerChoice
    ) -> Iterator[list[Tensor]]:
        """The states of each batch, in order, whichever worker was first.

        Raises:
            ClusterError: if a worker has died too often.
        """
        return self.run_all("encode", batches, choice)


@contextmanager
def ray_encoders(
    address: str, workers: int, path: Path, device: str, dtype: str
) -> Iterator[RayEncoders]:
    """Workers that encode, as :func:`.ray_workers` starts them."""
    with ray_workers(CaptionEncoder, address, workers, path, device, dtype) as actors:
        yield RayEncoders(actors)
