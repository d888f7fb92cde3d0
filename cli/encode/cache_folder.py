"""The folder of the caches: what is there already, and ``layerlab-encode.json``."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ...core.caption_cache.cached import CacheFileError, CacheFormat
from ...core.checks import LayerLabError
from ...core.files.atomic import write_whole

REPORT = "layerlab-encode.json"
FORMAT, VERSION = "layer_lab_caption_caches", 1


class CacheFolderError(LayerLabError, ValueError):
    """The folder holds what must not be overwritten; the message names it and says what to do."""


class Target(NamedTuple):
    """A file to be made: its ``name``, the ``caption``, and the ``prompt`` that is encoded."""

    name: str
    caption: str
    prompt: str


@dataclass
class CacheFolder:
    """Attributes:
    path: the folder.
    kind: the format of its caches.
    settings: everything that decides their contents, but for the captions.
    files: what is known of each: its CRC-32 and its tokens.
    """

    path: Path
    kind: CacheFormat
    settings: Mapping[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def find_missing(self, targets: Sequence[Target], overwrite: bool) -> list[Target]:
        """The files that are to be made.

        With ``overwrite`` those that are of other settings are removed, and made again.

        Raises:
            CacheFolderError: if there are such, and they must not be overwritten.
        """
        report = read_report(self.path / REPORT)
        same = report is not None and report.get("settings") == dict(self.settings)
        # A run that came to its end has listed all of its files.
        unlisted = same and not report.get("finished")
        if same:
            known = report.get("files")
            self.files = dict(known) if isinstance(known, dict) else {}
        elif report is not None and not overwrite:
            raise CacheFolderError(
                f"--out {self.path} holds caches that were made in another way "
                f"({_differences(report.get('settings'), self.settings)}): name another --out, or "
                "say --overwrite"
            )
        missing, foreign = [], []
        for target in targets:
            path = self.path / target.name
            if not path.exists():
                missing.append(target)
            elif not self._is_own(path, unlisted):
                foreign.append(target)
            elif not self._is_of(path, target):
                missing.append(target)  # Its caption has been changed since.
        if foreign and not overwrite:
            first = foreign[0].name
            raise CacheFolderError(
                f"--out {self.path} holds {len(foreign)} files that this command would overwrite "
                f"and that were not made with these settings, for example {first}: name another "
                "--out, or say --overwrite"
            )
        for target in foreign:
            # First of all: a run that is killed now must not take them for its own later.
            (self.path / target.name).unlink()
        for target in missing + foreign:
            # Nor may it find a new file unlike the old one that is listed.
            self.files.pop(target.name, None)
        return missing + foreign

    def _is_own(self, path: Path, unlisted: bool) -> bool:
        """Whether the file was made with these settings; ``unlisted``: what to say of one that is
        not listed and does not tell."""
        known = self.files.get(path.name)
        if known is not None and known.get("crc32") != crc32(path):
            return False
        try:
            said = self.kind.read(path).settings
        except CacheFileError:
            return False
        if said is None:
            return known is not None or unlisted
        return all(self.settings.get(key) == value for key, value in said.items())

    def _is_of(self, path: Path, target: Target) -> bool:
        held = self.kind.read(path).caption
        return held is None or held in (target.caption, target.prompt)

    def add(self, name: str, tokens: int) -> None:
        """Note a file that was written."""
        self.files[name] = {"tokens": tokens, "crc32": crc32(self.path / name)}

    def complete(self, targets: Sequence[Target]) -> None:
        """Note what earlier runs have written of ``targets``."""
        for target in targets:
            path = self.path / target.name
            if target.name not in self.files and path.exists():
                self.add(target.name, len(self.kind.read(path).states))

    def write_report(self, **facts: Any) -> Path:
        """Write ``layerlab-encode.json`` with ``facts`` in it."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "settings": dict(self.settings),
            **facts,
            "files": dict(sorted(self.files.items())),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        return write_whole(self.path / REPORT, text + "\n")


def read_report(path: Path) -> dict[str, Any] | None:
    """``layerlab-encode.json``; None if there is none.

    Raises:
        CacheFolderError: if it cannot be read.
    """
    try:
        if not path.exists():
            return None
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("it is of another kind")
        if document.get("version") != VERSION:
            raise ValueError(f"its version is {document.get('version')!r}, not {VERSION}")
        return document
    except (ValueError, OSError, RecursionError) as error:
        raise CacheFolderError(
            f"{path} cannot be read: {error}; remove it, or name another folder"
        ) from error


def crc32(path: Path) -> str:
    """CRC-32 of a file's bytes."""
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _differences(other: Any, own: Mapping[str, Any]) -> str:
    """What of the settings differs: "layer -2 there, -6 here"."""
    if not isinstance(other, dict):
        return "its settings cannot be read"
    keys = sorted(key for key in {*other, *own} if other.get(key) != own.get(key))
    return "; ".join(f"{key} {other.get(key)!r} there, {own.get(key)!r} here" for key in keys[:4])
