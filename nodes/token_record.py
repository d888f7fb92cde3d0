"""The record of an encoding: what each token is, from the tokens that the host encoded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from comfy.text_encoders.bpe_tokenizer import BPETokenizer

from ..core.record.record import Record, Role, assign_roles

log = logging.getLogger(__name__)

PAD = 151643
"""``<|endoftext|>``, with which the host pads Qwen's prompts."""


def token_record(
    sections: list[list[tuple]],
    call: Mapping[str, Any],
    tokenizer: Any,
    source: str,
    fingerprint: str = "",
) -> Record:
    """The record of all tokens of one call of the encoder; its layer is not set.

    Args:
        sections: the host's (token, weight) pairs.
        call: ``embeds_info`` and ``attention_mask`` of that call.
        tokenizer: that made the sections, for the tokens' texts.
    """
    mask = call["attention_mask"]
    ids, texts, exact = _expand(sections, call["embeds_info"], tokenizer, mask)
    roles = tuple(
        # Only the host's image tokens have no id: with one, somebody typed the placeholder.
        Role.TEXT if role is Role.IMAGE and number != -1 else role
        for role, number in zip(assign_roles(texts), ids, strict=True)
    )
    return Record(
        layer=None,
        source=source,
        ids=ids,
        texts=texts,
        roles=_with_padding(roles, mask, ids, len(sections)),
        fingerprint=fingerprint,
        prompt=exact,
        images=tuple(_grid(info) for info in call["embeds_info"] if info["type"] == "image"),
    )


def _expand(
    sections: list[list[tuple]], embeds_info: list[dict], tokenizer: Any, mask: torch.Tensor | None
) -> tuple[tuple[int, ...], tuple[str, ...], str]:
    """Ids and texts of every token as the decoder saw them, and the prompt as one string."""
    ids: list[int] = []
    texts: list[str] = []
    spelled: list[int | str] = []
    embeds = list(embeds_info)
    for section in sections:
        for entry, *_ in section:
            if isinstance(entry, int):
                ids.append(entry)
                texts.append(decode_tokens(tokenizer, [entry]))
                spelled.append(entry)
                continue
            if not embeds or embeds[0]["index"] != len(ids):
                continue  # The host ignored it, with a warning: it has another width.
            info = embeds.pop(0)
            text = "<|image_pad|>" if info["type"] == "image" else "<embedding>"
            ids.extend([-1] * info["size"])
            texts.extend([text] * info["size"])
            spelled.append(text)
    # For every ignored embedding the host appends a pad token, which is masked.
    missing = 0 if mask is None else mask.shape[-1] * len(sections) - len(ids)
    ids += [PAD] * missing
    texts += [decode_tokens(tokenizer, [PAD])] * missing
    return tuple(ids), tuple(texts), _spell(spelled, tokenizer)


def _grid(info: dict) -> tuple[int, int]:
    """Rows and columns of one image's tokens: the vision tower's patches, merged 2 x 2."""
    _, rows, columns = info["extra"]["grid"].flatten().tolist()
    return rows // 2, columns // 2


def _spell(spelled: list[int | str], tokenizer: Any) -> str:
    """Runs of ids decoded together (a character may span tokens), other parts as they are."""
    parts: list[str] = []
    run: list[int] = []
    for part in [*spelled, ""]:
        if isinstance(part, int):
            run.append(part)
            continue
        if run:
            parts.append(decode_tokens(tokenizer, run))
            run = []
        parts.append(part)
    return "".join(parts)


def decode_tokens(tokenizer: Any, ids: list[int]) -> str:
    """The text of ``ids``, special tokens included."""
    own = isinstance(tokenizer, BPETokenizer)  # ComfyUI's; the others are transformers'.
    keywords = {} if own else {"clean_up_tokenization_spaces": False}
    return tokenizer.decode(ids, skip_special_tokens=False, **keywords)


def _with_padding(
    roles: tuple[Role, ...], mask: torch.Tensor | None, ids: tuple[int, ...], sections: int
) -> tuple[Role, ...]:
    """``roles`` with PAD where the encoder was told not to attend."""
    if mask is None:
        return roles
    attended = mask[:sections].flatten().tolist()
    if len(attended) != len(roles) or all(attended):
        return roles
    hidden = {number for number, seen in zip(ids, attended, strict=True) if not seen}
    if hidden != {PAD}:  # Else it is the padding that the model's own loader adds.
        log.warning(
            "%d of %d tokens are masked in the text encoder (an <|endoftext|> in the prompt hides "
            "everything after it) and count as padding.",
            attended.count(0),
            len(attended),
        )
    return tuple(role if seen else Role.PAD for role, seen in zip(roles, attended, strict=True))
