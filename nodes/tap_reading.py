"""What an image model's own first layers leave of a conditioning of several taps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.dit.view import DitChange, FirstMatrix, dit_change
from ..core.taps.layout import Taps
from .caption_path import CaptionPath, caption_path
from .tap_fusion import TapFusion, tap_fusion


class TapReading(NamedTuple):
    """The first layers of a model that takes several taps, loaded.

    Attributes:
        kind: of which image model.
        where: behind which of its layers ``change`` looks, in words.
        column, values: what the model gives each tap: a heading, and a cell for each.
        change: what two (batch, tokens, total) states differ by there.
    """

    kind: str
    where: str
    column: str
    values: tuple[str, ...]
    change: Callable[[Tensor, Tensor], DitChange]


def read_taps_with(model: Any, taps: Taps) -> TapReading:
    """The first layers of ``model``, which is loaded for it.

    Raises:
        ValueError: if the model takes another width or number of taps; it says what to connect.
    """
    diffusion = getattr(getattr(model, "model", None), "diffusion_model", None)
    if fusion := tap_fusion(model):
        _require(taps, fusion.width, "Krea 2")
        fusion.load()
        return _krea(fusion)
    if hasattr(diffusion, "llm_cond_norm"):
        norm, matrix = diffusion.llm_cond_norm, diffusion.llm_cond_proj
        path = CaptionPath(model, "Ideogram 4", norm, matrix, matrix.in_features, len(taps))
    else:
        path = caption_path(model)
    _require(taps, path.width, path.kind)
    path.load()
    return _flux(path, taps) if path.norm is None else _normed(path, taps)


def _require(taps: Taps, width: int, kind: str) -> None:
    if taps.total != width:
        raise ValueError(
            f"the conditioning has {taps.total} dimensions ({len(taps)} taps of {taps.width}), and "
            f"this model ({kind}) takes {width}: connect the model that the text encoder belongs to"
        )


def _krea(fusion: TapFusion) -> TapReading:
    diffusion = fusion.model.model.diffusion_model

    def fused(hidden: Tensor) -> Tensor:
        x = hidden.to(fusion.model.load_device, fusion.model.model.get_dtype_inference())
        x = x.unflatten(-1, (fusion.taps, fusion.tap_width))
        return diffusion.txtmlp[0](fusion.fusion(x, mask=None)).float().cpu()

    return TapReading(
        "Krea 2",
        "after its txtfusion and the norm behind it",
        "projector",
        tuple(f"{weight:.4g}" for weight in fusion.weights().tolist()),
        lambda before, after: dit_change(fused(before), fused(after)),
    )


def _flux(path: CaptionPath, taps: Taps) -> TapReading:
    """Flux.2 has no norm before its matrix; its first block begins with one."""

    def normed(hidden: Tensor) -> Tensor:
        projected = path.project(hidden)
        return torch.nn.functional.layer_norm(projected, projected.shape[-1:], eps=1e-6)

    return TapReading(
        path.kind,
        "after its txt_in and its first block's norm",
        "median gain",
        _median_gains(path, taps),
        lambda before, after: dit_change(normed(before), normed(after)),
    )


def _normed(path: CaptionPath, taps: Taps) -> TapReading:
    weight = path.norm_weight()
    matrix = FirstMatrix(torch.empty(0), path.project)
    return TapReading(
        path.kind,
        "after its norm and first matrix",
        "median gain",
        _median_gains(path, taps, weight),
        lambda before, after: dit_change(before, after, weight, matrix),
    )


def _median_gains(path: CaptionPath, taps: Taps, weight: Tensor | None = None) -> tuple[str, ...]:
    gains = path.column_lengths()
    gains = gains if weight is None else gains * weight.abs()
    parts = taps.split(gains[None, None])
    return tuple(f"{float(part.quantile(0.5)):.4g}" for part in parts)
