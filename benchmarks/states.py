"""Measuring and editing states: the core's functions against the plain formulas."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from zimage_layer_lab.core import Reference, blend, mask_outlier_dimensions, mask_states
from zimage_layer_lab.core.edit.normalizing import normalize

from . import llm_dit
from .measure import Row, in_turn, part_of, times_faster

WIDTH = 2560
TOKENS = (1504, 4096)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OUTLIERS = (2, 50)
VISION_TOKENS = 1024


def rows(device: torch.device, rounds: int, seconds: float) -> Iterator[Row]:
    """Detect and mask, normalise and blend at Z-Image's width."""
    after = torch.cuda.synchronize if device.type == "cuda" else None
    timing = {"rounds": rounds, "seconds": seconds, "after": after}
    for tokens in TOKENS:
        for name, dtype in DTYPES.items():
            for outliers in OUTLIERS:
                yield from _masking(tokens, name, dtype, outliers, device, timing)
    for tokens in TOKENS:
        for name, dtype in DTYPES.items():
            yield from _editing(tokens, name, dtype, device, timing)


def _states(tokens: int, outliers: int, seed: int) -> Tensor:
    """(tokens, width) float32 of std 5 and, in the first dimensions, 500."""
    states = torch.randn(tokens, WIDTH, generator=torch.Generator().manual_seed(seed)) * 5
    states[:, :outliers] *= 100
    return states


def _reference() -> Reference:
    std = torch.full((WIDTH,), 5.0, dtype=torch.float64)
    return Reference(torch.zeros(WIDTH, dtype=torch.float64), std, 0.0, 5.0)


def _masking(
    tokens: int, name: str, dtype: torch.dtype, outliers: int, device: torch.device, timing: dict
) -> Iterator[Row]:
    states = _states(tokens, outliers, 0).to(device, dtype)
    reference = _reference()
    std = reference.std.to(device, dtype)
    what = f"detect + mask, ({tokens}, {WIDTH}) {name}, {outliers} outliers"

    def ours() -> object:
        return mask_outlier_dimensions(states, reference=reference)

    masked, info = ours()
    assert len(info["masked_dimensions"]) == outliers
    assert torch.equal(masked, llm_dit.detect_and_zero(states, std))
    pair = in_turn(ours, lambda: llm_dit.detect_and_zero(states, std), **timing)
    yield times_faster("masking", what, "std(dim=0) and llm-dit's formulas", pair, 5.0)

    def two_lines() -> Tensor:
        return llm_dit.detect_and_zero(states, std, std=llm_dit.std_in_two_lines)

    assert torch.equal(masked, two_lines())
    pair = in_turn(ours, two_lines, **timing)
    yield times_faster("masking", what, "E[x^2] - mean^2 in two lines", pair, None)
    pair = in_turn(ours, states.clone, **timing)
    times = pair.ours * 1e3, pair.theirs * 1e3
    yield part_of("masking", what, "tensor.clone()", *times, "ms", 4.0)
    pair = in_turn(lambda: mask_states(states, reference=reference), states.clone, **timing)
    times = pair.ours * 1e3, pair.theirs * 1e3
    what += ", with sinks and the token that carries each"
    yield part_of("masking", what, "tensor.clone()", *times, "ms", None)


def _editing(
    tokens: int, name: str, dtype: torch.dtype, device: torch.device, timing: dict
) -> Iterator[Row]:
    text = _states(tokens, 2, 1).to(device, dtype)
    vision = _states(tokens, 2, 2).to(device, dtype)
    short = _states(VISION_TOKENS, 2, 3).to(device, dtype)
    reference = _reference()
    mean, std = (each.to(device, dtype) for each in (reference.mean, reference.std))
    batch = text[None]

    def mixed(method: str, side: Tensor):
        return lambda: blend(text, side, 0.3, method, "none", keep_sinks=False).hidden

    cases = (
        (
            "normalise per dimension",
            lambda: normalize(batch, "per dimension", reference, keep_sinks=False).hidden,
            lambda: llm_dit.per_dimension(text, mean, std),
        ),
        ("AdaIN per token", mixed("adain", vision), lambda: llm_dit.adain(text, vision)),
        (
            "AdaIN per dimension",
            mixed("adain per dimension", vision),
            lambda: llm_dit.adain_per_dimension(text, vision),
        ),
        (
            f"interpolate blend of {VISION_TOKENS} vision tokens",
            mixed("interpolate (llm-dit)", short),
            lambda: llm_dit.interpolate(text, short),
        ),
    )
    for what, ours, theirs in cases:
        _require_equal(ours()[0], theirs(), what)
        pair = in_turn(ours, theirs, **timing)
        label = f"{what}, ({tokens}, {WIDTH}) {name}"
        yield times_faster("editing", label, "the plain formula", pair, 3.0)


def _require_equal(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Both sides do the same work, as far as the dtype lets the plain one."""
    # torch works out in float32 where a resized row falls; rows far down it misses by 1e-5.
    limit = 5e-5 if ours.dtype == torch.float32 else 0.05
    error = float((ours - theirs).float().norm() / theirs.float().norm())
    if error > limit:
        raise RuntimeError(f"{what}: the two sides differ by {error:.2g}")
