"""Pictures as the host's IMAGE, and the one package they need that the host does not bring."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np
import torch
from comfy_api.latest import io

from ..core.checks import require_choice

THEMES = ("light", "dark")


def theme_input() -> io.Combo.Input:
    """The colours of the node's picture; a page of the host sets those of its own on a new node."""
    return io.Combo.Input(
        "theme",
        options=list(THEMES),
        default="light",
        optional=True,
        advanced=True,
        tooltip="Colours of the picture: dark text on white, or light text on dark. On a new node: "
        "as the page has them.",
    )


def require_matplotlib(theme: str = "light") -> None:
    """Raise before any work is done if pictures cannot be drawn, or not in this ``theme``.

    Raises:
        RuntimeError: naming the command that installs matplotlib.
        ValueError: if there is no such theme.
    """
    require_choice("theme", theme, THEMES)
    if importlib.util.find_spec("matplotlib") is None:
        raise RuntimeError(
            "This node draws with matplotlib, which is not installed. Install it into the Python "
            'that runs ComfyUI (python -m pip install "matplotlib>=3.8") and restart ComfyUI'
        )


def to_image(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """(pictures, height, width, 3) float32 of arrays of one size in 0..1."""
    return torch.from_numpy(np.stack(pictures))
