"""Mix the hidden states of several layers into one.

Layers differ in scale, so a plain weighted sum mostly shows the loudest; the other methods bring
the layers to one scale first, token by token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..checks import as_states, require_choice, require_finite_states
from ..encoder.layers import check_weights
from ..measure.moments import to_dtype
from ..measure.scaling import token_peak, token_rms

MEAN_OF_NORMALISED = "mean of normalised layers"
"""Wang et al. 2025, "A Comprehensive Study of Decoder-Only LLMs for Text-to-Image Generation",
arXiv 2506.08210 (layer-normalized averaging across all layers)."""
METHODS = ("raw", "rms matched", MEAN_OF_NORMALISED)

NO_SPREAD = 1e-6
"""A token whose std is this part of its largest value is constant but for float32 rounding."""


def mix_layers(
    states: Sequence[Tensor], weights: Sequence[float] = (), method: str = "rms matched"
) -> Tensor:
    """One state from several layers of the same tokens.

    Args:
        states: one (batch, tokens, width) or (tokens, width) per layer, all of one shape, any
            float dtype.
        weights: one per layer. They need not add up to 1; a negative one leads away from its
            layer; one of weight 0 has no part in it. "mean of normalised layers" does not use
            them.
        method: "raw" is sum(w_i h_i) / sum(w_i). "rms matched" is the same after each token has
            been given the rms that it has in the first state with a weight. "mean of normalised
            layers" takes each token to mean 0 and variance 1 over its width (layer norm without
            weights), then the plain mean; the method asks for all hidden states of the encoder. A
            token that is constant over its width has no direction left and counts as zeros there.

    Returns:
        The shape, dtype and device of the first state. Worked out in float32; what the dtype
        cannot hold is limited to its largest value.

    Raises:
        ValueError: an unknown method, no state, shapes that differ, not one weight per layer,
            weights that are not finite or add up to 0.
        NonFiniteError: if a state holds NaN or infinity.

    >>> states = [torch.full((1, 2), 1.0), torch.full((1, 2), 5.0)]
    >>> mix_layers(states, [0.75, 0.25], "raw").tolist()
    [[2.0, 2.0]]
    """
    require_choice("method", method, METHODS)
    if not states:
        raise ValueError("there is no layer to mix: give the states of at least one")
    averaged = method == MEAN_OF_NORMALISED
    if not averaged:
        if len(weights) != len(states):
            raise ValueError(f"there are {len(states)} layers and {len(weights)} weights")
        check_weights(weights)
    for number, state in enumerate(states, 1):
        if state.shape != states[0].shape:
            raise ValueError(
                f"the layers to mix differ in shape, {tuple(states[0].shape)} and "
                f"{tuple(state.shape)}: they must be of the same prompt and encoder"
            )
        name = f"state {number} of the {len(states)} to mix"
        require_finite_states(as_states(state, name), name)
    shares = [1 / len(states)] * len(states) if averaged else _shares(weights)
    dtype, device = states[0].dtype, states[0].device
    weighted = [pair for pair in zip(states, shares, strict=True) if pair[1]]
    first = weighted[0][0].to(device)
    target = None if method == "raw" or averaged else token_rms(first.float())
    mixed = torch.zeros_like(first, dtype=torch.float32)
    for number, (state, share) in enumerate(weighted):
        values = state.to(device, torch.float32)
        if averaged:
            values = _normalised(values)
        elif target is not None and number:
            values = _unit_rms(values) * target
        mixed.add_(values, alpha=share)
    return to_dtype(mixed, dtype)


def _shares(weights: Sequence[float]) -> list[float]:
    """The weights over their sum, safe for a sum that is no float."""
    largest = max(abs(weight) for weight in weights)
    total = sum(weight / largest for weight in weights)
    return [weight / largest / total for weight in weights]


def _unit_rms(hidden: Tensor) -> Tensor:
    """Each token scaled to an rms of 1; a token of zeros stays zeros."""
    scaled = hidden / token_peak(hidden)
    rms = scaled.pow(2).mean(dim=-1, keepdim=True).sqrt()
    return torch.where(rms > 0, scaled / rms, 0.0)


def _normalised(hidden: Tensor) -> Tensor:
    """Each token with mean 0 and variance 1 over its width; zeros if nothing varies."""
    # No epsilon: the usual 1e-5 would make a layer of small values count for less than the others.
    scaled = hidden / token_peak(hidden)
    centred = scaled - scaled.mean(dim=-1, keepdim=True)
    std = centred.pow(2).mean(dim=-1, keepdim=True).sqrt()
    return torch.where(std > NO_SPREAD, centred / std, 0.0)
