"""Images for tests of grids: plain ones, patterned ones, and what is left of one in 8 bits."""

import numpy as np
import torch


def flat(level: int, height: int = 40, width: int = 30, batch: int = 1) -> torch.Tensor:
    """Images of one saturated colour of their own, which neither text nor frames have."""
    colour = torch.tensor([level, 255 - level, (7 * level) % 256]) / 255
    return colour.expand(batch, height, width, 3)


def textured(seed: int, height: int = 40, width: int = 30, batch: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    # 255 k / 1001 is never halfway between two 8-bit levels.
    return torch.randint(1002, (batch, height, width, 3), generator=rng) / 1001


def rounded(image: torch.Tensor) -> np.ndarray:
    return np.floor(image.double().numpy() * 255 + 0.5).astype(np.uint8)
