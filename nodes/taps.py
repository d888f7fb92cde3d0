"""Several layers of an encoder side by side, as the image model that it is loaded for takes them.

The host's own encoding call gives them: its list of layers is exchanged for the call where others
are wanted, and put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from comfy.text_encoders.flux import Flux2TEModel
from comfy.text_encoders.gpt_oss import LensTEModel
from comfy.text_encoders.ideogram4 import Ideogram4Qwen3VLTEModel, Ideogram4TEModel
from comfy.text_encoders.krea2 import Krea2TEModel

from ..core.encoder.capture import NotADecoderError, find_decoder
from ..core.encoder.fingerprint import fingerprint
from ..core.record.record import CONTENT_ROLES, RECORD_KEY, role_mask
from ..core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps
from ..core.taps.template import OWN, fill_template
from .encoder import Encoding, language_model, listen, warn_of_memory
from .loaded_as import as_loaded, require_own_weights, source_in_words
from .token_record import token_record

ORDERS = {
    Flux2TEModel: LAYER_MAJOR,
    Krea2TEModel: LAYER_MAJOR,
    Ideogram4TEModel: INTERLEAVED,
    Ideogram4Qwen3VLTEModel: INTERLEAVED,
}
"""Only a stage's class tells how it puts its layers side by side."""
WHAT_IS_NEEDED = (
    "Connect a CLIPLoader of type flux2 (Flux.2 Klein and dev), krea2 or ideogram4 with the text "
    "encoder of that model"
)


class TappedClip(NamedTuple):
    """A CLIP whose image model takes several layers of it.

    Attributes:
        encoder: the host's SDClipModel.
        taps: what the image model takes.
    """

    clip: Any
    encoder: Any
    taps: Taps

    @property
    def template(self) -> str:
        """The tokenizer's own prompt, with ``{}`` for the text."""
        return self.clip.tokenizer.llama_template


def is_tapped(clip: Any) -> bool:
    """Whether ``clip`` gives its image model several layers that can be chosen."""
    return isinstance(getattr(clip, "cond_stage_model", None), tuple(ORDERS))


def tapped_clip(clip: Any) -> TappedClip:
    """``clip`` with the list of layers that its image model takes.

    Raises:
        ValueError: if it takes one layer, or is no language model; it says what to connect.
    """
    encoder = language_model(clip)
    stage = clip.cond_stage_model
    if isinstance(stage, LensTEModel):
        raise ValueError(
            f"This CLIP{as_loaded(clip)} is Lens', whose layers cannot be chosen here: use CLIP "
            "Text Encode. The other nodes know its conditioning by its width."
        )
    order = next((order for kind, order in ORDERS.items() if isinstance(stage, kind)), None)
    layers = getattr(encoder, "options_default", (None,))[0]
    if order is None or not isinstance(layers, list):
        raise ValueError(
            f"This CLIP{as_loaded(clip)} gives its image model one layer, not several. "
            f"{WHAT_IS_NEEDED}."
        )
    require_own_weights(clip)
    decoder = encoder.transformer.model
    width, blocks = decoder.config.hidden_size, len(decoder.layers)
    return TappedClip(clip, encoder, Taps(tuple(layers), width, order, blocks))


def encode_taps(
    tapped: TappedClip,
    text: str,
    layers: Sequence[int] | None = None,
    system_prompt: str = "",
    think_block: str = OWN,
) -> Encoding:
    """Encode ``text`` in the model's own template.

    Args:
        layers: one hidden state (0..blocks) for each of the model's taps, in any order, also
            repeated; None for its own, which is exactly what CLIP Text Encode gives.
        system_prompt, think_block: as :func:`core.taps.template.fill_template`.

    Raises:
        ValueError: if ``layers`` are another number than the model takes.
    """
    clip, own = tapped.clip, tapped.taps
    wanted = own.layers if layers is None else tuple(layers)
    if len(wanted) != len(own):
        raise ValueError(
            f"{len(wanted)} layers are listed, and this CLIP's image model takes {len(own)}: give "
            f"{len(own)}, or leave layers empty for its own ({', '.join(map(str, own.layers))})"
        )
    filled = fill_template(tapped.template, text, system_prompt, think_block)
    own_prompt = not system_prompt and think_block == OWN
    tokens = clip.tokenize(text) if own_prompt else clip.tokenize(filled, llama_template="{}")
    warn_of_memory(clip, tapped.encoder, tokens[clip.cond_stage_model.clip_name])
    with listen(tapped.encoder.transformer) as calls, _layers(tapped.encoder, wanted, own.layers):
        entries = clip.encode_from_tokens_scheduled(tokens)
    name = clip.cond_stage_model.clip_name
    tokenizer = getattr(clip.tokenizer, clip.tokenizer.clip).tokenizer
    source = source_in_words(clip, tapped.encoder)
    record = token_record(tokens[name], calls[0], tokenizer, source, _fingerprint(tapped.encoder))
    record = replace(record, taps=replace(own, layers=wanted))
    content = role_mask(record.roles, CONTENT_ROLES).nonzero().flatten().tolist()
    if content:
        padding = record.texts[-1] * (len(record) - 1 - content[-1])
        record = replace(record, prompt=record.prompt.removesuffix(padding))
    conditioning = []
    for hidden, options in entries:
        own.require(hidden)
        # A model that does not take the head of its template cuts it off in front.
        cut = len(record) - hidden.shape[1]
        kept = record.take(range(cut, len(record)))
        conditioning.append([hidden, {**options, RECORD_KEY: kept.sealed(hidden)}])
    return Encoding(conditioning, record.prompt, conditioning[0][1][RECORD_KEY])


@contextmanager
def _layers(encoder: Any, wanted: tuple[int, ...], own: tuple[int, ...]) -> Iterator[None]:
    """Let ``encoder`` hand over ``wanted`` hidden states instead of its ``own``.

    The host gives each hidden state of its list once, in ascending order, whatever the list's:
    what it gives is put in the order wanted before its image model's stage sees it.
    """
    if wanted == own:
        yield
        return
    ascending = sorted(set(wanted))
    order = [ascending.index(layer) for layer in wanted]

    def reorder(module: torch.nn.Module, args: tuple, output: tuple) -> tuple:
        chosen = torch.tensor(order, device=output[1].device)
        return (output[0], output[1].index_select(1, chosen), *output[2:])

    before = encoder.options_default, encoder.layer
    handle = encoder.transformer.register_forward_hook(reorder)
    encoder.options_default = (ascending, *encoder.options_default[1:])
    try:
        yield
    finally:
        handle.remove()
        encoder.options_default, encoder.layer = before


def _fingerprint(encoder: Any) -> str:
    """Empty for an encoder that the host loads without its final norm."""
    try:
        return fingerprint(find_decoder(encoder.transformer))
    except NotADecoderError:
        return ""
