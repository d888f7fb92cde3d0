"""What each token of a conditioning is, and the record that carries it through a graph."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

log = logging.getLogger(__name__)

RECORD_KEY = "layer_lab"
"""The key of the conditioning dict under which a :class:`Record` travels."""


class Role(str, Enum):
    """What a token is there for."""

    TEMPLATE = "template"
    SYSTEM = "system"
    THINK = "think"
    TEXT = "text"
    VISION_MARKER = "vision marker"
    IMAGE = "image"
    PAD = "pad"


CONTENT_ROLES = tuple(role for role in Role if role is not Role.PAD)
"""Every role but padding."""


@dataclass(frozen=True)
class Record:
    """Where the states of one conditioning entry come from. Never changed, only replaced.

    Attributes:
        layer: Hugging Face layer number (negative), None if it is not known.
        source: the encoder, in words.
        ids: token id per token, -1 where there is none (image tokens, textual inversion).
        texts: the token as text, one per token.
        roles: one :class:`Role` per token.
        edits: what was done to the states, oldest first.
        fingerprint: of the encoder (:mod:`.fingerprint`), empty if not known.
        version: of this class's layout.
    """

    layer: int | None
    source: str
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    roles: tuple[Role, ...]
    edits: tuple[str, ...] = ()
    fingerprint: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.texts) == len(self.roles):
            raise ValueError(
                f"a record needs one id, text and role per token, not "
                f"{len(self.ids)}, {len(self.texts)} and {len(self.roles)}"
            )

    def __len__(self) -> int:
        return len(self.roles)

    def with_edit(self, edit: str) -> Record:
        """The same record with one more edit at the end of its list."""
        return replace(self, edits=(*self.edits, edit))

    def take(self, positions: Sequence[int]) -> Record:
        """The record of the tokens at ``positions``, in that order."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in positions),
            texts=tuple(self.texts[i] for i in positions),
            roles=tuple(self.roles[i] for i in positions),
        )

    def describe(self, position: int) -> str:
        """``position`` as people read it: number, text and role."""
        return f"{position} {self.texts[position]!r} ({self.roles[position].value})"


def plain_record(tokens: int, source: str = "unknown encoder") -> Record:
    """The record of a conditioning that brought none: every token is TEXT, the layer unknown."""
    return Record(None, source, (-1,) * tokens, ("?",) * tokens, (Role.TEXT,) * tokens)


def current_record(record: object, tokens: int) -> Record:
    """``record`` if it still fits ``tokens`` tokens, else a plain one (with a warning if stale)."""
    if record is None:
        return plain_record(tokens)
    if not isinstance(record, Record) or record.version != 1:
        log.warning("The conditioning's layer_lab record is of an unknown kind and is ignored.")
        return plain_record(tokens)
    if len(record) != tokens:
        log.warning(
            "The conditioning has %d tokens but its layer_lab record describes %d: another node "
            "changed the length. The record is dropped and every token counts as text.",
            tokens,
            len(record),
        )
        return plain_record(tokens)
    return record


def role_mask(roles: Sequence[Role], wanted: Iterable[Role]) -> Tensor:
    """(tokens,) bool: which tokens have one of the ``wanted`` roles."""
    wanted = set(wanted)
    return torch.tensor([role in wanted for role in roles], dtype=torch.bool)


def assign_roles(texts: Sequence[str]) -> tuple[Role, ...]:
    """Roles of a ChatML prompt (Qwen, SmolLM) from its tokens as text.

    The template is ``<|im_start|>NAME\\n ... <|im_end|>\\n``: what stands between the newline and
    ``<|im_end|>`` belongs to the named speaker. A newline that the tokenizer merged with the
    first characters of the content counts as template.
    """
    roles: list[Role] = []
    speaker = ""
    place = "between"  # between turns, in a turn's name, in its body
    thinking = False
    for text in texts:
        role = Role.TEMPLATE
        if text == "<|im_start|>":
            place, speaker, thinking = "name", "", False
        elif text == "<|im_end|>":
            place, thinking = "between", False
        elif text in ("<|vision_start|>", "<|vision_end|>"):
            role = Role.VISION_MARKER
        elif text == "<|image_pad|>":
            role = Role.IMAGE
        elif text in ("<think>", "</think>"):
            role, thinking = Role.THINK, text == "<think>"
            # The blank line after an empty block is part of it.
            place = "body" if thinking else "think tail"
        elif place == "think tail" and not text.strip():
            role, place = Role.THINK, "body"
        elif place == "name":
            speaker += text
            if "\n" in text:
                place, speaker = "body", speaker.split("\n")[0].strip()
        elif thinking:
            role = Role.THINK
        elif place in ("body", "think tail"):
            place = "body"
            role = Role.SYSTEM if speaker == "system" else Role.TEXT
        elif text.strip():
            # No template at all (a base model's plain prompt).
            role = Role.TEXT
        roles.append(role)
    return tuple(roles)
