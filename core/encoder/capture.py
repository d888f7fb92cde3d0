"""Hidden states at any layers of a decoder language model, from one truncated forward pass.

The same code serves ComfyUI's text encoders and transformers' models: both keep their blocks in
``decoder.layers`` and end in ``decoder.norm``. What it reads is the *input* of a block, never its
output: ComfyUI's next block overwrites that output in place, and Qwen3-VL's DeepStack features are
added only after the block has returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..checks import LayerLabError
from .layers import hidden_state_index

RECORDING = ("output_hidden_states", "output_attentions")


class NotADecoderError(LayerLabError, TypeError):
    """The module is no decoder language model with blocks and a final norm, or one whose blocks
    pass on more than one state a token."""


@dataclass
class Capture:
    """What :func:`capture_hidden_states` saw.

    Attributes:
        blocks: number of blocks of the whole decoder.
        blocks_run: how many of them a pass runs.
        passes: for every forward pass, hidden state index -> (batch, tokens, width).
    """

    blocks: int
    blocks_run: int
    passes: list[dict[int, Tensor]] = field(default_factory=list)


def find_decoder(module: nn.Module) -> nn.Module:
    """The decoder stack (``layers`` and ``norm``) inside a language model or its wrapper.

    Raises:
        NotADecoderError: if there is none, for example in CLIP or T5.
    """
    names = ("model", "language_model", "transformer")
    seen = [module]
    for candidate in seen:
        if isinstance(getattr(candidate, "layers", None), nn.ModuleList) and isinstance(
            getattr(candidate, "norm", None), nn.Module
        ):
            return candidate
        children = (getattr(candidate, name, None) for name in names)
        seen.extend(child for child in children if isinstance(child, nn.Module))
    raise NotADecoderError(
        f"{type(module).__name__} is not a decoder language model (it has no blocks `layers` that "
        "end in a final `norm`)"
    )


@contextmanager
def capture_hidden_states(
    decoder: nn.Module,
    layers: Sequence[int],
    receive: Callable[[int, Tensor], None] | None = None,
) -> Iterator[Capture]:
    """Within the context every forward pass of ``decoder`` is cut short and recorded.

    Blocks above the highest layer asked for are not run (block 0 always is, so that the decoder's
    own code finds something to loop over); the result of the pass itself must not be used.

    Args:
        decoder: from :func:`find_decoder`.
        layers: Hugging Face layer numbers, negative or not; see :mod:`.layers`.
        receive: is given each hidden state's index and its states (batch, tokens, width) as the
            pass comes to them, once a pass, instead of their being kept: one layer in memory at a
            time. They are the decoder's own and change when the hook returns.

    Raises:
        LayerRangeError: if a layer does not exist.
        NotADecoderError: in a pass, if a state is not (batch, tokens, width).
        ValueError: if ``layers`` is empty.
    """
    if not layers:
        raise ValueError("no layer was asked for")
    blocks = len(decoder.layers)
    wanted = sorted({hidden_state_index(layer, blocks) for layer in layers})
    top = wanted[-1]
    capture = Capture(blocks=blocks, blocks_run=max(top, 1))
    stack = BlockSwap(decoder, lambda own: own[: capture.blocks_run])
    seen: set[int] = set()  # In this pass.

    def start_pass(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        capture.passes.append({})
        seen.clear()
        stack.swap()
        # transformers would install its own recording hooks now, on the blocks left, for good.
        quiet = {name: False for name in RECORDING if kwargs.get(name)}
        return args, {**kwargs, **quiet}

    def end_pass(module: nn.Module, args: tuple, output: object) -> None:
        stack.restore()

    def keep(index: int, hidden: Tensor) -> None:
        if index in seen:
            return  # ComfyUI's decoders give their norm an intermediate state too, after the last.
        seen.add(index)
        if hidden.ndim != 3:
            # Such as the four streams of Gemma 3n, or hyper-connections.
            raise NotADecoderError(
                f"{type(decoder).__name__} has no one hidden state a token: hidden state {index} "
                f"is of the shape {tuple(hidden.shape)}, not (batch, tokens, width)"
            )
        if receive is not None:
            receive(index, hidden.detach())
        else:
            capture.passes[-1][index] = hidden.detach().clone()

    def on_input(index: int):
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            keep(index, hidden_argument(args, kwargs))

        return hook

    def on_norm_output(module: nn.Module, args: tuple, output: Tensor) -> None:
        keep(blocks, output)

    with ExitStack() as hooks:
        for index in wanted:
            if index == blocks:
                handle = decoder.norm.register_forward_hook(on_norm_output)
            else:
                place = decoder.layers[index] if index < capture.blocks_run else decoder.norm
                handle = place.register_forward_pre_hook(on_input(index), with_kwargs=True)
            hooks.callback(handle.remove)
        start = decoder.register_forward_pre_hook(start_pass, with_kwargs=True)
        hooks.callback(start.remove)
        hooks.callback(decoder.register_forward_hook(end_pass, always_call=True).remove)
        hooks.callback(stack.restore)
        yield capture


class BlockSwap:
    """For one pass, other blocks in place of ``decoder.layers``, as ``choose`` makes them of these.

    Only while the decoder itself runs: ComfyUI walks the module tree when it loads, patches and
    unloads a model, and would lose LoRA patches of blocks that it cannot see.
    """

    def __init__(
        self, decoder: nn.Module, choose: Callable[[list[nn.Module]], Sequence[nn.Module]]
    ):
        self.decoder = decoder
        self.choose = choose
        self.whole: nn.ModuleList | None = None

    def swap(self) -> None:
        """Put the other blocks in, if they are others. Of two swaps of one pass the later one must
        be restored first, unless one of them has nothing to do."""
        own = list(self.decoder.layers)
        others = list(self.choose(own))
        if others != own:
            self.whole = self.decoder.layers
            self.decoder.layers = nn.ModuleList(others)

    def restore(self) -> None:
        """Put the decoder's own blocks back."""
        if self.whole is not None:
            self.decoder.layers = self.whole
            self.whole = None


def hidden_name(kwargs: dict) -> str:
    """The name under which a block was given its hidden state."""
    for name in ("hidden_states", "x"):
        if isinstance(kwargs.get(name), torch.Tensor):
            return name
    raise NotADecoderError(f"a block was called without a hidden state (it got {sorted(kwargs)})")


def hidden_argument(args: tuple, kwargs: dict) -> Tensor:
    """The hidden state that a block was called with, by place or by name."""
    return args[0] if args else kwargs[hidden_name(kwargs)]
