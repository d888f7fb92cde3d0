"""The record of a conditioning: what each of its tokens is, from which encoder and layer."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch
from torch import Tensor

from ..checks import UPDATE
from ..encoder.layers import negative_layer
from ..tables import enumerate_some
from ..taps.layout import Taps

log = logging.getLogger(__name__)

RECORD_KEY = "layer_lab"
"""The key of the conditioning dict under which a :class:`Record` travels."""
UNKNOWN_SOURCE = "unknown encoder"
"""``source`` of a conditioning that came without a record."""
PROMPT_JOINT = "\n[followed by tokens of another prompt]\n"
"""Between the prompts of two records that were joined."""
MISTRAL_MARKERS = {
    "<s>": ("between", ""),
    "[SYSTEM_PROMPT]": ("body", "system"),
    "[/SYSTEM_PROMPT]": ("between", ""),
    "[INST]": ("body", "user"),
    "[/INST]": ("between", ""),
}
"""Special tokens of Mistral's template: the place that follows, and whose body it is."""
VERSION = 1
"""Version of the fields of :class:`Record`; a record of a newer one is not read."""


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
"""The roles of content: every token that is not padding. Attention sinks are content too."""


@dataclass(frozen=True)
class Record:
    """Where the states of one conditioning entry come from, token by token. Immutable.

    Attributes:
        layer: Hugging Face layer number (negative); None if it is not known or the tokens' layers
            differ.
        source: the encoder, in words.
        ids: token id per token, -1 where there is none (image tokens, textual inversion).
        texts: the token as text, one per token.
        roles: one :class:`Role` per token.
        edits: what was done to the states, oldest first.
        fingerprint: the encoder's (:func:`.fingerprint.fingerprint`), empty if not known.
        version: :data:`VERSION` of the pack that made it.
        layers: one layer number per token where they differ (``layer`` is None then), else empty.
        prompt: the whole prompt that was encoded, special tokens included; <|image_pad|> stands
            for an image. Some of its tokens may have been removed since. Where tokens of another
            prompt were appended, both prompts with :data:`PROMPT_JOINT` between them.
        images: rows and columns of tokens of each image in ``prompt``.
        checksum: CRC-32 of the states that the record was written for (:meth:`sealed`), empty if
            there is none.
        taps: the layers that lie side by side in every token's state (``layer`` is None then); None
            for states of one layer.
    """

    layer: int | None
    source: str
    ids: tuple[int, ...]
    texts: tuple[str, ...]
    roles: tuple[Role, ...]
    edits: tuple[str, ...] = ()
    fingerprint: str = ""
    version: int = VERSION
    layers: tuple[int | None, ...] = ()
    prompt: str = ""
    images: tuple[tuple[int, int], ...] = ()
    checksum: str = ""
    taps: Taps | None = None

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.texts) == len(self.roles):
            raise ValueError(
                f"a record needs one id, text and role per token, not "
                f"{len(self.ids)}, {len(self.texts)} and {len(self.roles)}"
            )
        if self.layers and len(self.layers) != len(self.roles):
            raise ValueError(
                f"a record of {len(self.roles)} tokens has {len(self.layers)} layers: give one per "
                "token, or none"
            )

    def __len__(self) -> int:
        return len(self.roles)

    def with_edit(self, edit: str) -> Record:
        """A copy with one more edit at the end of its list."""
        return replace(self, edits=(*self.edits, edit))

    def take(self, positions: Sequence[int]) -> Record:
        """The record of the tokens at ``positions``, in that order."""
        if list(positions) == list(range(len(self))):
            return self
        taken = replace(
            self,
            ids=tuple(self.ids[i] for i in positions),
            texts=tuple(self.texts[i] for i in positions),
            roles=tuple(self.roles[i] for i in positions),
            layers=(),
        )
        return taken.with_layers([self.layers[i] for i in positions]) if self.layers else taken

    def with_layers(self, layers: Sequence[int | None]) -> Record:
        """A copy with one layer per token; ``layer`` is theirs if they agree, else None."""
        if len(set(layers)) == 1:
            return replace(self, layer=layers[0], layers=())
        return replace(self, layer=None, layers=tuple(layers))

    def token_layers(self) -> tuple[int | None, ...]:
        """One layer per token, None where it is not known."""
        return self.layers or (self.layer,) * len(self)

    def followed_by(self, other: Record) -> Record:
        """The record of these tokens followed by ``other``'s; encoder and edits are this one's."""
        joined = replace(
            self,
            ids=self.ids + other.ids,
            texts=self.texts + other.texts,
            roles=self.roles + other.roles,
            layers=(),
            prompt=PROMPT_JOINT.join(filter(None, (self.prompt, other.prompt))),
            images=self.images + other.images,
        )
        return joined.with_layers(self.token_layers() + other.token_layers())

    def of_tap(self, tap: int) -> Record:
        """The record of one tap's states alone; its layer is unknown where the encoder's number of
        blocks is."""
        layer, blocks = self.taps.layers[tap], self.taps.blocks
        number = negative_layer(layer, blocks) if layer is not None and blocks else None
        return replace(self, layer=number, layers=(), taps=None, checksum="")

    def sealed(self, hidden: Tensor) -> Record:
        """A copy with the checksum of its states, ``hidden`` (batch, tokens, width)."""
        return replace(self, checksum=_checksum(hidden))

    def with_edits_of(self, other: Record, side: str) -> Record:
        """A copy whose list of edits goes on with ``other``'s, each after the word ``side``.

        For an edit that brings the states of ``other`` into these, such as a blend.
        """
        return replace(self, edits=(*self.edits, *(f"{side}: {edit}" for edit in other.edits)))

    @property
    def layer_in_words(self) -> str:
        """ "layer -2", "layers -6 and -2", "layers 9, 18, 27 side by side", "a mix of layers" or
        "unknown layer"."""
        if self.taps is not None:
            return f"{self.taps.in_words} side by side"
        unknown = "unknown layer" if self.source == UNKNOWN_SOURCE else "a mix of layers"
        layers = list(dict.fromkeys(self.token_layers()))
        numbers = [str(layer) for layer in layers if layer is not None]
        words = [f"layer{'s' * (len(numbers) > 1)} {' and '.join(numbers)}"] if numbers else []
        return " and ".join([*words, *([unknown] if None in layers or not layers else [])])

    def names(self, positions: Sequence[int], most: int = 5) -> str:
        """The first ``most`` of these tokens in words, and how many more there are."""
        return enumerate_some(map(self.describe, positions[:most]), most, len(positions))

    def describe(self, position: int) -> str:
        """The token at ``position`` in words: number, text and role."""
        return f"{position} {self.texts[position]!r} ({self.roles[position].value})"


def plain_record(tokens: int, source: str = UNKNOWN_SOURCE) -> Record:
    """The record for a conditioning without one: every token is TEXT, the layer unknown."""
    return Record(None, source, (-1,) * tokens, ("?",) * tokens, (Role.TEXT,) * tokens)


def current_record(record: object, hidden: Tensor) -> Record:
    """``record`` if it still describes ``hidden`` (batch, tokens, width), else a plain one.

    A record that no longer fits the states, or that this version of the pack cannot read, is
    dropped with a warning in the log; the plain one says so among its edits.
    """
    tokens = hidden.shape[1]
    if record is None:
        return plain_record(tokens)
    problem = _problem(record, hidden)
    if problem is None:
        return record
    log.warning(
        "The conditioning's layer_lab record is dropped and every token counts as text: %s.",
        problem,
    )
    return plain_record(tokens).with_edit(f"record dropped: {problem}")


def _problem(record: object, hidden: Tensor) -> str | None:
    """Why ``record`` does not describe ``hidden``, None if it does."""
    version = getattr(record, "version", None)
    if isinstance(version, int) and version > VERSION:
        return f"it is of version {version} and this pack reads {VERSION}; {UPDATE}"
    if not isinstance(record, Record) or version != VERSION:
        return "it is of an unknown kind"
    if len(record) != hidden.shape[1]:
        return (
            f"it describes {len(record)} tokens but the conditioning has {hidden.shape[1]}; "
            "another node changed the length"
        )
    if record.taps is not None and record.taps.total != hidden.shape[-1]:
        return (
            f"it describes {record.taps.total} dimensions but the conditioning has "
            f"{hidden.shape[-1]}; another node changed the width"
        )
    if record.checksum and record.checksum != _checksum(hidden):
        return "another node changed the values after it was written"
    return None


def _checksum(hidden: Tensor) -> str:
    """CRC-32 of the values as float32, so that moving or widening a tensor keeps it."""
    return f"{zlib.crc32(hidden.detach().float().cpu().contiguous().numpy()):08x}"


def role_mask(roles: Sequence[Role], wanted: Iterable[Role]) -> Tensor:
    """(tokens,) bool: which tokens have one of the ``wanted`` roles."""
    wanted = set(wanted)
    return torch.tensor([role in wanted for role in roles], dtype=torch.bool)


def assign_roles(texts: Sequence[str]) -> tuple[Role, ...]:
    """Roles of a ChatML prompt (Qwen, SmolLM), or one of Mistral's, from its tokens as text.

    ChatML's template is ``<|im_start|>NAME\\n ... <|im_end|>\\n``: what stands between the newline
    and ``<|im_end|>`` belongs to the named speaker. A newline that the tokenizer merged with the
    first characters of the text counts as template. Mistral's has a marker before and after.
    """
    roles: list[Role] = []
    speaker = ""
    place = "between"  # "between" turns, in a speaker's "name", in a "body", in a "think tail"
    thinking = False
    for text in texts:
        role = Role.TEMPLATE
        if text == "<|im_start|>":
            place, speaker, thinking = "name", "", False
        elif text == "<|im_end|>":
            place, thinking = "between", False
        elif text in MISTRAL_MARKERS:
            place, speaker = MISTRAL_MARKERS[text]
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
