"""Hidden states at any layer from a ComfyUI CLIP, through the host's own encoding call.

The host loads, patches, schedules and moves the model as for its own nodes; this module only
listens in (:mod:`core.encoder.capture`) and takes the captured states instead of the host's output.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_basic, optimized_attention_for_device
from comfy.sd1_clip import SD1ClipModel, SDTokenizer
from comfy.text_encoders.qwen3vl import Qwen3VL

from ..core.encoder.capture import Capture, NotADecoderError, capture_hidden_states, find_decoder
from ..core.encoder.fingerprint import fingerprint
from ..core.encoder.layers import hidden_state_index, negative_layer
from ..core.record.record import RECORD_KEY, Record
from .encoded_once import captured_once
from .loaded_as import as_loaded, require_own_weights, source_in_words
from .token_record import decode_tokens, token_record

log = logging.getLogger(__name__)

IMAGE_PAD = 151655
"""``<|image_pad|>``, which stands for an image."""

WHAT_IS_NEEDED = (
    "Connect a CLIPLoader (type lumina2) with a Qwen3 text encoder such as "
    "qwen_3_4b.safetensors, or a Qwen3-VL one"
)


class Encoding(NamedTuple):
    """One layer's CONDITIONING and the exact prompt that was encoded."""

    conditioning: list
    prompt: str
    record: Record


def encode(
    clip: Any,
    prompt: str,
    layers: Sequence[int],
    images: Sequence[torch.Tensor] = (),
    once: bool = False,
) -> list[Encoding]:
    """Encode a whole ChatML ``prompt`` and return one :class:`Encoding` per layer.

    Args:
        clip: a ComfyUI CLIP that wraps a Qwen3 or Qwen3-VL language model.
        prompt: with ``<|im_start|>`` template; one ``<|image_pad|>`` per image.
        layers: Hugging Face layer numbers.
        images: (1, height, width, 3) each, in the order of their places in the prompt.
        once: what the model computed for this prompt and these images a while ago is not computed
            again (:mod:`.encoded_once`); only for a pass that nobody else changes.

    Raises:
        ValueError: if the CLIP is of another kind (the message says what is needed).
        LayerRangeError: if the encoder has no such layer.
    """
    reader = _read_with(clip)
    if images:
        _require_vision(clip, reader.encoder)
    indices = [hidden_state_index(layer, len(reader.decoder.layers)) for layer in layers]
    sections = _tokenize(clip, reader.tokenizer, prompt, images)
    entries, capture, call = _run(clip, reader, sections, layers, once=once)
    base = _record(clip, reader, sections, call)
    encodings = []
    for index in indices:
        record = replace(base, layer=negative_layer(index, capture.blocks))
        states = _conditioning(entries, capture, index, record, len(sections))
        encodings.append(Encoding(states, record.prompt, record))
    return encodings


def encode_beside(
    clip: Any, sections: list[list[tuple]], layer: int, visible: torch.Tensor
) -> tuple[Encoding, list[torch.Tensor]]:
    """Encode a prompt and others of as many tokens beside it, all in one pass.

    Args:
        sections: the (token, weight) pairs of the prompt, then of each other one.
        layer: Hugging Face layer number.
        visible: (prompts, tokens, tokens) bool, which token (last) each token may see; causality
            and the host's own mask hold besides.

    Returns:
        The first prompt's encoding, and for each of its entries the others' states, (others,
        tokens, width).

    Raises:
        ValueError, LayerRangeError: as :func:`encode`.
    """
    reader = _read_with(clip)
    index = hidden_state_index(layer, len(reader.decoder.layers))
    entries, capture, call = _run(clip, reader, sections, [layer], visible)
    base = _record(clip, reader, sections[:1], call)
    record = replace(base, layer=negative_layer(index, capture.blocks))
    conditioning = _conditioning(entries, capture, index, record, 1)
    device = conditioning[0][0].device
    others = [states[index][1:].float().to(device) for states in capture.passes]
    return Encoding(conditioning, record.prompt, record), others


class _Reader(NamedTuple):
    """The parts of a CLIP that encode: the host's SDClipModel and its decoder, its tokenizer and
    the one inside that."""

    encoder: Any
    decoder: torch.nn.Module
    tokenizer: SDTokenizer
    inner: Any


def _read_with(clip: Any) -> _Reader:
    """The parts of ``clip``. Raises ValueError as :func:`encode` does."""
    encoder = language_model(clip)
    decoder = _decoder(clip, encoder)
    tokenizer = getattr(clip.tokenizer, getattr(clip.tokenizer, "clip", ""), None)
    inner = getattr(tokenizer, "tokenizer", None)
    if not isinstance(tokenizer, SDTokenizer) or len(inner("<|im_start|>")["input_ids"]) != 1:
        raise ValueError(
            f"This CLIP{as_loaded(clip)} cannot be used: its tokenizer does not know "
            f"<|im_start|>, so Qwen's chat template means nothing to it. {WHAT_IS_NEEDED}."
        )
    require_own_weights(clip)
    return _Reader(encoder, decoder, tokenizer, inner)


def _run(
    clip: Any,
    reader: _Reader,
    sections: list[list[tuple]],
    layers: Sequence[int],
    visible: torch.Tensor | None = None,
    once: bool = False,
) -> tuple[list, Capture, dict]:
    """The host's entries for ``sections``, what was captured, and its first call of the encoder."""
    stage = clip.cond_stage_model
    warn_of_memory(clip, reader.encoder, sections)
    decoder, transformer = reader.decoder, reader.encoder.transformer
    passes = once and captured_once(clip, decoder, transformer, sections, layers)
    with passes or capture_hidden_states(decoder, layers) as capture:
        # Its own choice of layer, -2 or a list, would be sought among blocks that are not run.
        listening = listen(transformer, visible, intermediate_output=0)
        with listening as calls, _states_as_they_are(stage):
            entries = clip.encode_from_tokens_scheduled({stage.clip_name: sections})
    return entries, capture, calls[0]


def _record(clip: Any, reader: _Reader, sections: list[list[tuple]], call: dict) -> Record:
    source = source_in_words(clip, reader.encoder)
    return token_record(sections, call, reader.inner, source, fingerprint(reader.decoder))


class Tokens(NamedTuple):
    """The tokens of a text: the host's (token, weight) pairs, the ids, and what decodes ids."""

    pairs: list[tuple]
    ids: list[int]
    decode: Callable[[list[int]], str]


def tokenize(clip: Any, text: str) -> Tokens:
    """The tokens of ``text``, as :func:`encode` would have them.

    Raises:
        ValueError: as :func:`encode`, and for a textual inversion, which has no ids.
    """
    reader = _read_with(clip)
    [pairs] = _tokenize(clip, reader.tokenizer, text, ())
    ids = [token for token, *_ in pairs]
    if not all(isinstance(token, int) for token in ids):
        raise ValueError(
            "text holds an embedding beside weights, and its tokens cannot be weighed: remove the "
            "embedding, or the weights"
        )
    return Tokens(pairs, ids, functools.partial(decode_tokens, reader.inner))


def warn_of_memory(clip: Any, encoder: Any, sections: Sequence[Sequence]) -> None:
    """Log it where the pass over ``sections`` needs more memory than is free: the host does not
    ask, and the system may end it without a word. Images count as one token each."""
    device = clip.patcher.load_device
    attend = optimized_attention_for_device(device, mask=True, small_input=True)
    heads = getattr(getattr(encoder.transformer, "model", None), "config", None)
    heads = getattr(heads, "num_attention_heads", 0)
    if attend is not attention_basic or not heads:
        return  # The others need little.
    tokens = max(map(len, sections))
    # Two copies of each head's scores at a time, in float32.
    needed = 2 * 4 * heads * len(sections) * tokens**2
    free = comfy.model_management.get_free_memory(device)
    if needed > free:
        log.warning(
            "Encoding %d tokens takes some %.3g GB, for ComfyUI's attention holds %d heads x %d x "
            "%d scores twice, and %.3g GB are free: the system may end ComfyUI. Shorten the "
            "prompt, or start ComfyUI with --use-pytorch-cross-attention.",
            tokens, needed / 1e9, heads, tokens, tokens, free / 1e9,
        )  # fmt: skip


def block_count(clip: Any) -> int:
    """Blocks of ``clip``'s language model. Raises ValueError as :func:`encode` does."""
    return len(_decoder(clip, language_model(clip)).layers)


def _decoder(clip: Any, encoder: Any) -> torch.nn.Module:
    try:
        return find_decoder(encoder.transformer)
    except NotADecoderError as error:
        raise ValueError(
            f"This CLIP{as_loaded(clip)} cannot be used: {error}. {WHAT_IS_NEEDED}."
        ) from error


def language_model(clip: Any) -> Any:
    """The host's SDClipModel inside ``clip``."""
    stage = getattr(clip, "cond_stage_model", None)
    encoder = getattr(stage, getattr(stage, "clip", ""), None)
    known = isinstance(stage, SD1ClipModel)
    if not known or not isinstance(getattr(encoder, "transformer", None), torch.nn.Module):
        raise ValueError(
            f"This CLIP ({type(stage).__name__}) cannot be used: it is not one decoder language "
            f"model. {WHAT_IS_NEEDED}."
        )
    return encoder


def _require_vision(clip: Any, encoder: Any) -> None:
    """Refuse an encoder that does not read images as Qwen3-VL does.

    Raises:
        ValueError: saying what to connect.
    """
    needed = (
        "Connect a CLIPLoader (type lumina2) with qwen3vl_4b_bf16.safetensors or another "
        "Qwen3-VL-4B file."
    )
    if not hasattr(encoder.transformer, "visual"):
        raise ValueError(
            f"This CLIP ({source_in_words(clip, encoder)}) has no vision tower and cannot read "
            f"images. {needed}"
        )
    if type(encoder.transformer).preprocess_embed is not Qwen3VL.preprocess_embed:
        raise ValueError(
            f"This CLIP{as_loaded(clip)} prepares images in a way of its own, so their tokens "
            f"would not be those of this node's image sizes. {needed}"
        )


def _tokenize(
    clip: Any, tokenizer: SDTokenizer, prompt: str, images: Sequence[torch.Tensor]
) -> list[list[tuple]]:
    """Sections of (token, weight), the same for every type of loader.

    Not by ``clip.tokenize``: types have templates, paddings and ways with quotation marks of their
    own there. The n-th <|image_pad|> becomes the n-th image, as in the host's Qwen3VLTokenizer.
    """
    sections = SDTokenizer.tokenize_with_weights(
        tokenizer,
        prompt,
        disable_weights=True,
        min_length=1,
        tokenizer_options=clip.tokenizer_options,
    )
    waiting = list(images)

    def place(pair: tuple) -> tuple:
        if not waiting or not isinstance(pair[0], int) or pair[0] != IMAGE_PAD:
            return pair
        return ({"type": "image", "data": waiting.pop(0), "original_type": "image"}, *pair[1:])

    return [[place(pair) for pair in section] for section in sections]


@contextmanager
def _states_as_they_are(stage: SD1ClipModel) -> Iterator[None]:
    """Keep a model's stage from cutting its template off, or putting layers side by side.

    Which types do so, and how, is the business of their classes; here one layer of all tokens is
    wanted. The call is the one that Z-Image's stage inherits.
    """
    plain = SD1ClipModel.encode_token_weights
    if type(stage).encode_token_weights is plain and "encode_token_weights" not in vars(stage):
        yield
        return
    before = vars(stage).get("encode_token_weights")
    stage.encode_token_weights = functools.partial(plain, stage)
    try:
        yield
    finally:
        del stage.encode_token_weights
        if before is not None:
            stage.encode_token_weights = before


@contextmanager
def listen(
    transformer: torch.nn.Module, visible: torch.Tensor | None = None, **exchanged: Any
) -> Iterator[list[dict]]:
    """Note each call's image places and attention mask; ``exchanged`` arguments take the place of
    the host's own. ``visible`` (prompts, tokens, tokens): what the host's mask shows and this does
    not is hidden too."""
    calls: list[dict] = []

    def before(module: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        calls.append({"embeds_info": kwargs.get("embeds_info") or [], "attention_mask": mask})
        kwargs = {**kwargs, **exchanged}
        if visible is not None:
            seen = visible.to(kwargs["embeds"].device)
            kwargs["attention_mask"] = seen if mask is None else seen & mask[:, None, :].bool()
            args = args[:1]
        return args, kwargs

    handle = transformer.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def _conditioning(
    entries: list, capture: Capture, index: int, record: Record, sections: int
) -> list:
    """The host's ``entries`` with hidden state ``index`` in place of its own choice of layer."""
    device = comfy.model_management.intermediate_device()
    conditioning = []
    for (_, options), states in zip(entries, capture.passes, strict=True):
        hidden = torch.cat([states[index][k : k + 1] for k in range(sections)], dim=-2)
        hidden = hidden.float().to(device)
        conditioning.append([hidden, {**options, RECORD_KEY: record.sealed(hidden)}])
    return conditioning
