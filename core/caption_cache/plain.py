"""One embedding file a caption, as the node Save Embedding writes it."""

from __future__ import annotations

from pathlib import Path

from ..record.embedding_file import EmbeddingFileError, Entry, load_embedding, save_embedding
from ..record.record import Record
from .cached import Cached, CacheFileError, CacheFormat


class Plain(CacheFormat):
    """``{stem}.safetensors``, which Load Embedding reads. The record says how it was made."""

    name = "plain"

    def write(self, path: Path, cached: Cached, record: Record) -> None:
        hidden = cached.states[None]
        save_embedding(path, [Entry(hidden, record.sealed(hidden), {})])

    def read(self, path: Path) -> Cached:
        try:
            first, *more = load_embedding(path)
        except EmbeddingFileError as error:
            raise CacheFileError(str(error)) from error
        if more or first.hidden.shape[0] != 1:
            raise CacheFileError(
                f"{path.name} holds more than one conditioning: a cache has one for its caption"
            )
        record = first.record
        if record is None:
            return Cached(first.hidden[0], None, None)
        settings = {"model": record.source, "fingerprint": record.fingerprint}
        if record.layer is not None:  # The name of a mix is in the folder's report alone.
            settings["layer"] = str(record.layer)
        return Cached(first.hidden[0], record.prompt, settings)
