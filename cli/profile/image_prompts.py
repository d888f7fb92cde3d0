"""Images as prompts: each in a turn of its own, with or without a text beside it.

The prompt and the size of an image are those of the node VL Image Token Encode, so that the command
and the nodes measure the same thing.
"""

from __future__ import annotations

import hashlib
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ...core.checks import LayerLabError
from ...core.encoder.image_size import DEFAULT_TOKENS, fit_bytes, require_budget, token_grid
from ...core.encoder.prompt import build_prompt, require_text_beside_image
from ..model.errors import readable
from ..model.prompt_tokenizer import PromptTokenizer
from .batches import TokenLimits
from .image_folder import ImageFolder, ImageFolderError
from .prompt_file import PromptFile, PromptFileError

IMAGE, ALL = "image", "all"
"""Which tokens are measured: those of the image, or every one of the prompt."""


class ImageOptionError(LayerLabError, ValueError):
    """An option about images that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class ImageBatch:
    """One forward pass over a prompt with an image.

    Attributes:
        number: the image's, from 0.
        ids: the prompt's tokens, one ``<|image_pad|>`` per 32 x 32 pixels of the image.
        image: (height, width, 3) uint8, both sides multiples of 32 pixels.
        selected: (1, tokens) bool, which tokens are measured.
        words: (1, tokens) int64, the ids again, -1 for the tokens of the image, which are no word.
    """

    number: int
    ids: list[int]
    image: Tensor
    selected: Tensor
    words: Tensor


@dataclass(frozen=True)
class ImageSource:
    """What was asked for.

    Attributes:
        folder: the images.
        texts: the texts after them, one for all or one for each; None for none.
        chosen: :data:`IMAGE` or :data:`ALL`.
        budget: most tokens of an image.
    """

    folder: ImageFolder
    texts: PromptFile | None
    chosen: str
    budget: int

    @classmethod
    def find(
        cls, images: Path, prompts: Path | None, chosen: str | None, budget: int | None
    ) -> ImageSource:
        """From the options of the command; None is an option that was not given.

        Raises:
            ImageFolderError: for a folder without images.
            PromptFileError: for a file of texts that cannot be used.
            ImageOptionError: for a bad budget, and texts that are neither one nor as many as there
                are images.
        """
        budget = DEFAULT_TOKENS if budget is None else budget
        try:
            require_budget("--max-image-tokens", budget)
        except ValueError as error:
            raise ImageOptionError(f"{error}; the usual budget is {DEFAULT_TOKENS}") from error
        folder = ImageFolder(images)
        texts = None if prompts is None else PromptFile(prompts)
        if texts is not None and len(texts) not in (1, len(folder)):
            raise ImageOptionError(
                f"--prompts {texts.path} holds {len(texts)} prompts and --images {folder.path} "
                f"{len(folder)} images: give one prompt for all images, or one for each, in the "
                "order of their names"
            )
        return cls(folder, texts, chosen or IMAGE, budget)

    def text(self, number: int) -> str:
        """The text after image ``number``, "" for none.

        Raises:
            PromptFileError: if it holds a token that stands for an image.
        """
        if self.texts is None:
            return ""
        place = number if len(self.texts) > 1 else 0
        text = self.texts[place]
        try:
            require_text_beside_image("prompt", text)
        except ValueError as error:
            where = f"{self.texts.path}, line {self.texts.lines[place]}"
            raise PromptFileError(f"{where}: {error}") from error
        return text


@dataclass(frozen=True)
class ImageTokenizer:
    """Makes the prompt of an image.

    Attributes:
        tokenizer: the model's.
        image_token: the id of ``<|image_pad|>``.
        limits: what the model can take in.
    """

    tokenizer: PromptTokenizer
    image_token: int
    limits: TokenLimits

    def ids(self, text: str, tokens: int) -> list[int]:
        """The prompt of an image of so many tokens with ``text`` after it."""
        ids = self.tokenizer.plain_ids(build_prompt(text, images=1))
        place = ids.index(self.image_token)
        return [*ids[:place], *[self.image_token] * tokens, *ids[place + 1 :]]

    def require_room(self, file: str, ids: Sequence[int]) -> None:
        """Raise ImageFolderError, naming the ``file``, if the model cannot take its prompt."""
        context, vocabulary = self.limits.context, self.limits.vocabulary
        if context is not None and len(ids) > context:
            raise ImageFolderError(
                f"{file}: the image and its prompt have {len(ids)} tokens and the model's context "
                f"is {context}; lower --max-image-tokens"
            )
        if vocabulary is not None and max(ids) >= vocabulary:
            raise ImageFolderError(
                f"{file}: the tokenizer gives token {max(ids)} and the model knows {vocabulary}: "
                "it is another model's tokenizer"
            )


@dataclass(frozen=True)
class ImagePrompts:
    """Images in their prompts; each is read again when its turn comes, so memory does not grow.

    Attributes:
        source: the images, and what is measured of them.
        how: makes their prompts.
        image_tokens: of every image.
        lengths: tokens of every prompt, image and text.
        checksums: CRC-32 of every file.
        digest: sha256 of names, contents and token ids, in order.
    """

    source: ImageSource
    how: ImageTokenizer
    image_tokens: array
    lengths: array
    checksums: array
    digest: str

    unit: ClassVar[str] = "images"

    @classmethod
    def count(
        cls,
        source: ImageSource,
        how: ImageTokenizer,
        done: Callable[[int], None] = lambda images: None,
    ) -> ImagePrompts:
        """Read and decode every image once, to the last pixel; ``done`` is called with 1 for each.

        Raises:
            ImageFolderError: naming an image that cannot be read or that the model cannot take.
            PromptFileError: naming the line of a text that cannot stand beside an image.
        """
        folder = source.folder
        image_tokens, lengths, checksums = array("q"), array("q"), array("Q")
        digest = hashlib.sha256()
        for number, name in enumerate(folder.names):
            contents = folder.contents(number)
            height, width, _ = folder.decode(number, contents).shape
            try:
                rows, columns = token_grid(height, width, source.budget)
            except ValueError as error:
                raise ImageFolderError(f"{folder.file(number)}: {error}") from error
            ids = how.ids(source.text(number), rows * columns)
            how.require_room(folder.file(number), ids)
            image_tokens.append(rows * columns)
            lengths.append(len(ids))
            checksums.append(zlib.crc32(contents))
            own = name.encode("utf-8", "surrogateescape")
            digest.update(array("q", [len(own), len(contents), len(ids), *ids]).tobytes() + own)
            digest.update(hashlib.sha256(contents).digest())
            done(1)
        return cls(source, how, image_tokens, lengths, checksums, digest.hexdigest())

    @property
    def chosen(self) -> str:
        """:attr:`.Profile.image_tokens`."""
        return self.source.chosen

    @property
    def tokens(self) -> int:
        """How many tokens are measured."""
        return sum(self.image_tokens if self.chosen == IMAGE else self.lengths)

    @property
    def tokenizer(self) -> PromptTokenizer:
        return self.how.tokenizer

    def __len__(self) -> int:
        return len(self.source.folder)

    def tokens_per_pass(self, batch_tokens: int) -> int:
        """Each image has a pass of its own, whatever ``batch_tokens``."""
        return 1

    def ids(self, number: int) -> list[int]:
        """Token ids of the prompt of image ``number``, which is not read for it.

        Raises:
            PromptFileError: if the file of texts was changed since :meth:`count`.
        """
        ids = self.how.ids(self.source.text(number), self.image_tokens[number])
        if len(ids) != self.lengths[number]:
            path = self.source.texts.path
            raise PromptFileError(f"{path} was changed while it was being read: run it again")
        return ids

    def batch(self, numbers: Sequence[int]) -> ImageBatch:
        """What a pass over the one image in ``numbers`` needs.

        Raises:
            ImageFolderError: if the file was changed since :meth:`count`.
        """
        [number] = numbers
        folder = self.source.folder
        contents = folder.contents(number)
        if zlib.crc32(contents) != self.checksums[number]:
            raise ImageFolderError(
                f"{folder.file(number)} was changed while the folder was being read: run it again"
            )
        image = fit_bytes(folder.decode(number, contents), self.source.budget)
        ids = self.ids(number)
        row = torch.tensor([ids])
        is_image = row == self.how.image_token
        selected = is_image if self.chosen == IMAGE else torch.ones_like(is_image)
        return ImageBatch(number, ids, image, selected, row.masked_fill(is_image, -1))

    def decisive(self) -> dict[str, object]:
        """What of the images decides the numbers, by name."""
        return {
            "images": self.digest,
            "tokens": self.chosen,
            "max image tokens": self.source.budget,
        }

    def origin(self) -> dict[str, str]:
        """Where the images are from, for provenance."""
        texts = self.source.texts
        return {
            "images": str(len(self)),
            "image_tokens": self.chosen,
            "image_folder": readable(str(self.source.folder.path)),
            "max_image_tokens": str(self.source.budget),
            "prompt_file": "none" if texts is None else readable(str(texts.path)),
            "chat_template": "Qwen3-VL's, one image a prompt",
        }

    @property
    def introduction(self) -> str:
        """What will be measured, in a sentence."""
        kind = "image tokens" if self.chosen == IMAGE else "tokens, image and text,"
        texts = self.source.texts
        beside = "without text"
        if texts is not None:
            beside = "with one text for all" if len(texts) == 1 else "each with its text"
        return (
            f"{len(self)} images, {self.tokens} {kind} in Qwen3-VL's prompt, {beside}; at most "
            f"{self.source.budget} tokens an image"
        )
