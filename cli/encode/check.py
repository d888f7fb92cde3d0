"""``layerlab encode --check``: what a folder of caption caches holds."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ...core.caption_cache.cached import SUFFIX, CacheFileError
from ...core.caption_cache.formats import format_of
from ...core.tables import enumerate_some
from ..model.errors import readable
from ..profile.progress import PromptProgress
from .cache_folder import REPORT, CacheFolderError, crc32, read_report

SOUND, UNSOUND = 0, 3
"""Exit statuses."""
NAMED = 3
"""Files that a line names."""
UNKNOWN = "unknown"
"""How the states were made, where neither the file nor the report says."""


@dataclass
class Contents:
    """What the caches of a folder hold, added up.

    Attributes:
        formats, dtypes, widths, origins: how many files have each; an origin is layer, edits and
            model in words.
        tokens: of each file.
        twins: digest of the states -> the files that hold them.
        bad: a sentence for each file that no trainer should read.
        others: safetensors files that are no caption caches, such as latents.
    """

    formats: Counter[str] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    origins: dict[str, list[str]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    twins: dict[str, list[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    others: int = 0

    def add(self, path: Path, report: Mapping[str, Any] | None) -> None:
        """Look at one file; ``report`` is that of the folder."""
        name = readable(path.name)
        try:
            kind = format_of(path)
            if kind is None:
                self.others += 1
                return
            states, _, settings = kind.read(path)
        except CacheFileError as error:
            self.bad.append(readable(str(error)))
            return
        self.formats[kind.name] += 1
        self.dtypes[str(states.dtype).removeprefix("torch.")] += 1
        self.widths[states.shape[1]] += 1
        self.tokens[name] = states.shape[0]
        self.twins.setdefault(_digest(states), []).append(name)
        if wrong := int((~states.isfinite()).sum()):
            self.bad.append(f"{name} holds {wrong} values that are NaN or infinite: make it again")
        listed = _listed(report).get(path.name)
        if listed is not None and listed.get("crc32") == crc32(path):
            settings = report["settings"]
        self.origins.setdefault(_origin(settings), []).append(name)


def run_check(folder: Path, console: Console) -> int:
    """Print what ``folder`` holds; returns the exit status.

    Raises:
        CacheFolderError: if it is no folder, or holds no cache.
    """
    if not folder.is_dir():
        raise CacheFolderError(f"--check {folder}: there is no such folder")
    report = read_report(folder / REPORT)
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    contents = Contents()
    with PromptProgress(console) as progress:
        with progress.prompts("Reading", len(paths), unit="files", speed_of="files") as done:
            for path in paths:
                contents.add(path, report)
                done(1, 0)
    if not contents.tokens and not contents.bad:
        raise CacheFolderError(
            f"--check {folder} holds no caption cache: name the folder that layerlab encode or the "
            "trainer wrote into"
        )
    for line in _facts(contents):
        console.print(line, markup=False)
    problems = _problems(contents, folder, report)
    for problem in problems:
        console.print(f"Problem: {problem}.", markup=False)
    verdict = "No problem was found." if not problems else f"{len(problems)} found: see above."
    console.print(verdict, style="bold", markup=False)
    return UNSOUND if problems else SOUND


def _facts(contents: Contents) -> list[str]:
    tokens = contents.tokens.values()
    lines = [f"{len(tokens)} caches: {_counted(contents.formats)}"]
    if contents.others:
        are = "file that is no caption cache" if contents.others == 1 else "files that are none"
        lines[0] += f" (and {contents.others} {are})"
    if tokens:
        lines.append(
            f"{min(tokens)} to {max(tokens)} tokens, {sum(tokens)} in all; width "
            f"{_counted(contents.widths)}; {_counted(contents.dtypes)}"
        )
    lines += [f"{len(names)} x {origin}" for origin, names in contents.origins.items()]
    twins = [names for names in contents.twins.values() if len(names) > 1]
    if twins:
        more = sum(len(names) - 1 for names in twins)
        named = enumerate_some(twins[0], NAMED)
        lines.append(
            f"{more} {'file holds' if more == 1 else 'files hold'} the same states as another one, "
            f"as those of equal captions do: {named}"
        )
    return lines


def _problems(contents: Contents, folder: Path, report: Mapping[str, Any] | None) -> list[str]:
    problems = list(contents.bad)
    if len(contents.origins) > 1:
        rarest = min(contents.origins.values(), key=len)
        problems.append(
            "the caches are a mix of layers, edits or models, and a trainer would mix them too. "
            f"The fewest are {enumerate_some(rarest, NAMED)}"
        )
    kinds: tuple[tuple[str, Counter], ...] = (
        ("formats", contents.formats),
        ("widths", contents.widths),
        ("dtypes", contents.dtypes),
    )
    problems += [
        f"the caches are of {len(held)} {what}: {_counted(held)}"
        for what, held in kinds
        if len(held) > 1
    ]
    if report is not None:
        gone = [name for name in _listed(report) if not (folder / name).exists()]
        if gone:
            files, are = ("file", "is") if len(gone) == 1 else ("files", "are")
            problems.append(
                f"{len(gone)} {files} that {REPORT} lists {are} gone: {enumerate_some(gone, NAMED)}"
            )
        if not report.get("finished"):
            problems.append("the run did not come to its end: start it again")
    return problems


def _listed(report: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    files = report.get("files") if report is not None else None
    files = files if isinstance(files, dict) else {}
    return {name: entry for name, entry in files.items() if isinstance(entry, dict)}


def _origin(settings: Mapping[str, Any] | None) -> str:
    """Layer, edits and model of ``settings`` in words."""
    if not settings:
        return f"{UNKNOWN} layer and model: not made by layerlab encode, or changed since"
    edits = settings.get("edits") or []
    edits = edits if isinstance(edits, list) else [edits]
    words = [f"layer {settings.get('layer', 'mix')}", *(_kind(str(edit)) for edit in edits)]
    model = f"{settings.get('model', UNKNOWN)}, fingerprint {settings.get('fingerprint', UNKNOWN)}"
    return f"{'; '.join(words)}; {model}"


def _kind(edit: str) -> str:
    """``edit`` without what it found in the one caption, which a node's record has too."""
    kind, joint, did = edit.partition(": ")
    if kind.startswith("layer mix"):
        return edit
    return kind + joint + re.split(r" to |; |: ", did)[0]


def _counted(held: Counter) -> str:
    """ "2 musubi, 1 plain", or the only one alone."""
    if len(held) == 1:
        return str(next(iter(held)))
    return ", ".join(f"{number} x {one}" for one, number in held.most_common())


def _digest(states: Tensor) -> str:
    data = states.contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{tuple(states.shape)}".encode() + data).hexdigest()
