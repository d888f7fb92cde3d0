"""The files that are to be made, and the tokens of what they hold."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from ...core.caption_cache.cached import CacheFormat
from ...core.encoder.prompt import require_text
from ..model.errors import readable
from ..profile.batches import TokenLimits
from .cache_folder import Target
from .captions import Caption
from .tokens import CaptionTokenizer


@dataclass
class Targets:
    """Every file, and every different caption once.

    Attributes:
        kind: the format of the files.
        tokenizer: makes the tokens.
        limits: of the model.
        max_tokens: of a caption in its template.
        cut: whether a longer caption is cut there instead of left out.
        files: per caption, the files that hold it.
        ids: per caption, its token ids.
        problems: a sentence for each caption that is left out.
    """

    kind: CacheFormat
    tokenizer: CaptionTokenizer
    limits: TokenLimits
    max_tokens: int
    cut: bool = False
    files: dict[str, list[Target]] = field(default_factory=dict)
    ids: dict[str, array] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_all(self, captions: list[Caption], done: Callable[[int, int], None]) -> None:
        """Tokenize ``captions``; ``done`` is called with 1 and 0 after each."""
        for stem, text, where in captions:
            caption = self.kind.caption(text)
            problem = self._add(stem, caption)
            if problem:
                self.problems.append(f"{readable(where)}: {problem}")
            done(1, 0)

    def add_dropped(self, stems: list[str], caption: str) -> None:
        """For each image a file of ``caption``, which a trainer takes where it drops its own."""
        for stem in stems:
            if problem := self._add(stem, caption):
                self.problems.append(f"the caption of dropped ones: {problem}")
                return

    def _add(self, stem: str, caption: str) -> str:
        """Add a file; why it cannot be made, or nothing."""
        if caption not in self.ids:
            try:
                require_text("the caption", caption)
                ids = self.tokenizer.ids(caption)
            except Exception as error:  # jinja2 and the template itself raise what they like
                return f"it cannot be tokenized: {error}"
            if problem := self._objection(ids):
                return problem
            self.ids[caption] = array("i", ids[: self.max_tokens])
        target = Target(self.kind.file_name(stem, caption), caption, self.prompt(caption))
        files = self.files.setdefault(caption, [])
        if target not in files:
            files.append(target)
        return ""

    def _objection(self, ids: list[int]) -> str:
        context, vocabulary = self.limits.context, self.limits.vocabulary
        if not ids:
            return "the tokenizer makes no token of it; take it out"
        if len(ids) > self.max_tokens and not self.cut:
            return (
                f"it has {len(ids)} tokens, the template's included, and --max-tokens is "
                f"{self.max_tokens}: shorten it, or say --cut, which cuts it there as trainers do"
            )
        if context is not None and min(len(ids), self.max_tokens) > context:
            return (
                f"it has {len(ids)} tokens and the model's context is {context}: shorten it, or "
                "give a smaller --max-tokens with --cut"
            )
        if vocabulary is not None and max(ids) >= vocabulary:
            return (
                f"the tokenizer gives token {max(ids)} and the model knows {vocabulary}: it is "
                "another model's tokenizer"
            )
        return ""

    @property
    def captions(self) -> list[str]:
        """Every caption once."""
        return list(self.files)

    @property
    def all(self) -> list[Target]:
        """Every file."""
        return [target for targets in self.files.values() for target in targets]

    def prompt(self, caption: str) -> str:
        """The prompt of ``caption`` as the model reads it."""
        return self.tokenizer.prompt(self.ids[caption].tolist())
