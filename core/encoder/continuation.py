"""Going on with a pass from a hidden state that was changed, without the blocks below it.

What the blocks below compute is known: they are passed over. ComfyUI's and transformers' decoders
both loop over ``decoder.layers`` and hand each block one tensor, the hidden state, and its own
extras (masks, rotary embeddings), so that blocks that return what they get can stand in for others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .capture import BlockSwap, hidden_argument, hidden_name


class _PassedOver(nn.Module):
    """Returns its hidden state in the ``form`` of a real ``block``, whose other attributes it
    shows (some decoders read a block's kind of attention before they call it)."""

    def __init__(self, block: nn.Module, form: int):
        super().__init__()
        self.__dict__["_block"] = block  # Past nn.Module: the block is no part of this one.
        self.form = form

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_block"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hidden = hidden_argument(args, kwargs)
        return hidden if self.form == 0 else (hidden, *[None] * (self.form - 1))


@contextmanager
def observed_form(decoder: nn.Module) -> Iterator[list[int]]:
    """Within the context, passes append the form of what block 0 returns: 0 for the hidden state
    alone, n for a tuple of n things of which it is the first."""
    forms: list[int] = []

    def look(module: nn.Module, args: tuple, output: Any) -> None:
        forms.append(len(output) if isinstance(output, tuple) else 0)

    handle = decoder.layers[0].register_forward_hook(look)
    try:
        yield forms
    finally:
        handle.remove()


@contextmanager
def continued_from(decoder: nn.Module, index: int, states: Tensor, form: int) -> Iterator[None]:
    """Within the context a pass of ``decoder`` has ``states`` as its hidden state ``index``.

    Blocks below are not run. Within a capture those above the layers that it wants are not either.
    The pass must be of as many tokens as the states are, with the mask
    that they have; which tokens they are plays no part.

    Args:
        decoder: from :func:`.capture.find_decoder`.
        index: 0..blocks - 1: the input of this block is replaced.
        states: (batch, tokens, width).
        form: from :func:`observed_form`.
    """
    stack = BlockSwap(
        decoder,
        lambda own: [*(_PassedOver(block, form) for block in own[:index]), *own[index:]],
    )

    def start_pass(module: nn.Module, args: tuple, kwargs: dict) -> None:
        stack.swap()

    def end_pass(module: nn.Module, args: tuple, output: object) -> None:
        stack.restore()

    def replace(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        hidden = hidden_argument(args, kwargs)
        # A copy: ComfyUI's blocks write into what they are given.
        given = states.to(hidden.device, hidden.dtype, copy=True)
        if args:
            return (given, *args[1:]), kwargs
        return args, {**kwargs, hidden_name(kwargs): given}

    with ExitStack() as hooks:
        place = decoder.layers[index]
        hooks.callback(place.register_forward_pre_hook(replace, with_kwargs=True).remove)
        start = decoder.register_forward_pre_hook(start_pass, with_kwargs=True)
        hooks.callback(start.remove)
        # First of the hooks, for within a capture it has swapped last.
        end = decoder.register_forward_hook(end_pass, always_call=True, prepend=True)
        hooks.callback(end.remove)
        hooks.callback(stack.restore)
        yield


def effective_norm_weight(norm: nn.Module, width: int, like: Tensor) -> Tensor:
    """(width,) float32, what a final norm multiplies each dimension with, however it keeps it.

    Gemma keeps the weight less 1; ComfyUI may cast or patch it. So the norm itself is asked, with
    a vector of mean 0 and variance 1, which neither an RMSNorm nor a LayerNorm changes but by its
    weight and bias.

    Args:
        like: a tensor of the device and dtype that the norm takes.
    """
    signs = torch.ones(width, dtype=like.dtype, device=like.device)
    signs[1::2] = -1
    with torch.no_grad():
        up, down = norm(signs[None, None]), norm(-signs[None, None])
    return ((up - down)[0, 0].float() / 2 * signs.float()).cpu()
