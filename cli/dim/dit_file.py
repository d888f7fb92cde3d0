"""The first layer of an image model, read from its safetensors file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...core.checks import LayerLabError
from ...core.dit.gain import Gains
from ..model.scaled_weights import ScaledWeights

NORM, MATRIX = "cap_embedder.0.weight", "cap_embedder.1.weight"


class DitFileError(LayerLabError, ValueError):
    """``--dit`` names a file that cannot be used; the message says why and what to do."""


class DitFirstLayer(NamedTuple):
    """Attributes:
    gains: of the first layer, its norm's weight included.
    norm: (width,) float32, the weight of its RMSNorm.
    """

    gains: Gains
    norm: Tensor


def read_first_layer(path: Path, width: int) -> DitFirstLayer:
    """The ``cap_embedder`` of a diffusion model of the Lumina family, such as Z-Image.

    Args:
        width: of the states that it is to take.

    Raises:
        DitFileError: if it is no such file, or takes states of another width.
    """
    if not Path(path).is_file():
        raise DitFileError(
            f"--dit {path}: there is no such file; give the diffusion model's .safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            prefix = _prefix(path, list(file.keys()))
            weights = ScaledWeights(file, prefix)
            weights.require_known(path)
            shapes = [file.get_slice(prefix + name).get_shape() for name in (NORM, MATRIX)]
            if len(shapes[0]) != 1 or len(shapes[1]) != 2 or shapes[1][1] != shapes[0][0]:
                raise DitFileError(f"--dit {path}: its {NORM} and {MATRIX} do not fit each other")
            if shapes[0][0] != width:
                raise DitFileError(
                    f"--dit {path} takes states of {shapes[0][0]} dimensions, and this model's "
                    f"have {width}: give a diffusion model that goes with it"
                )
            norm, matrix = (weights.read(name).double() for name in (NORM, MATRIX))
    except (SafetensorError, OSError) as error:
        raise DitFileError(
            f"--dit {path} cannot be read: {error}; give the diffusion model's .safetensors"
        ) from error
    gains = norm.abs() * torch.linalg.vector_norm(matrix, dim=0)
    return DitFirstLayer(Gains(gains), norm.float())


def _prefix(path: Path, names: list[str]) -> str:
    """What stands before the names of the first layer."""
    for name in sorted(names, key=len):
        if name.endswith(NORM) and name.removesuffix(NORM) + MATRIX in names:
            return name.removesuffix(NORM)
    raise DitFileError(
        f"--dit {path} has no {NORM} and {MATRIX}: give the diffusion model of Z-Image or another "
        "of the Lumina family as one .safetensors file"
    )
