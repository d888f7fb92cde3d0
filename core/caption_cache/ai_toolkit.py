"""Caches of ostris/ai-toolkit for Z-Image.

Read in its version 0.12.26 (commit 27a03a9): ``toolkit/dataloader_mixins.py`` makes captions and
names, ``toolkit/prompt_utils.py`` puts in the trigger word, writes and reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from ..record.record import Record
from .cached import Cached, CacheFormat, only_states, read_tensors, reading, write_tensor

FOLDER = "_t_e_cache"
"""The folder inside that of the images, in which the trainer looks."""
TENSOR = "text_embed_0"
PLACEHOLDERS = ("[name]", "[trigger]")
SPACE = {"text_embedding_space_version": "zimage", "text_embedding_version": 1}
"""What the trainer hashes beside the caption."""


@dataclass(frozen=True)
class AiToolkit(CacheFormat):
    """``{stem}_{hash of the caption}.safetensors``, with no metadata.

    ``trigger``: the trigger word of the trainer's configuration, empty if there is none.
    """

    trigger: str = ""

    name = "ai-toolkit"

    def caption(self, text: str) -> str:
        """``text`` as it is, a new line at its end included, with a blank more after each comma,
        and with the trigger word.

        >>> AiToolkit("sks").caption("a fox, red")
        'sks a fox,  red'
        """
        return self._with_trigger(", ".join(text.split(",")))

    @property
    def dropped_caption(self) -> str:
        """The caption in whose place the trainer puts those that it drops."""
        return self._with_trigger("")

    def _with_trigger(self, caption: str) -> str:
        for placeholder in PLACEHOLDERS:
            caption = caption.replace(placeholder, self.trigger)
        if self.trigger.strip() and self.trigger not in caption:
            return f"{self.trigger} {caption}"
        return caption

    def file_name(self, stem: str, caption: str) -> str:
        text = json.dumps({"caption": caption, **SPACE}, sort_keys=True)
        digest = hashlib.md5(text.encode("utf-8"), usedforsecurity=False).digest()
        name = base64.urlsafe_b64encode(digest).decode("ascii").replace("=", "")
        return f"{stem}_{name}{self.ending}"

    def write(self, path: Path, cached: Cached, record: Record) -> None:
        write_tensor(path, TENSOR, cached.states, None)

    def read(self, path: Path) -> Cached:
        with reading(path, "a cache of ai-toolkit"):
            tensors, _ = read_tensors(path)
            name, states = only_states(tensors, "")
            if name != TENSOR:
                raise ValueError(f"its tensor is called {name}, not {TENSOR}")
            return Cached(states, None, None)
