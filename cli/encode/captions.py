"""Captions as trainers have them: beside images, in a .jsonl, or one a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ...core.caption_cache.cached import IMAGE_ENDINGS
from ...core.checks import LayerLabError, shortened
from ...core.files.file_names import windows_objection
from ..model.errors import readable

CAPTION_ENDING = ".txt"
IMAGE_KEYS = ("image_path", "image", "file_name", "image_path_0")
"""Names under which a .jsonl may hold an image's path; the first that is there counts."""
LINE_DIGITS = 6
"""Digits of the names that captions of a text file get: the number of their line."""


class CaptionsError(LayerLabError, ValueError):
    """CAPTIONS cannot be used at all; the message says why and what to do."""


class Caption(NamedTuple):
    """``stem``: of its image's name, and so of its cache; ``text``: as its file holds it;
    ``where``: for messages."""

    stem: str
    text: str
    where: str


class Captions(NamedTuple):
    """What can be encoded, and in a sentence each what cannot."""

    usable: list[Caption]
    problems: list[str]


def read_captions(path: Path) -> Captions:
    """The captions at ``path``: a folder of images with .txt files, a .jsonl, or a text file.

    Raises:
        CaptionsError: if there is no such file or folder, it cannot be read, or no caption of it
            can be encoded.
    """
    shown = readable(str(path))
    try:
        if path.is_dir():
            found, problems = _from_folder(path)
        elif path.is_file():
            read = _from_jsonl if path.suffix.lower() == ".jsonl" else _from_lines
            found, problems = read(path)
        else:
            raise CaptionsError(
                f"{shown}: there is no such file or folder; give a folder of images with .txt "
                "files, a .jsonl, or a text file with one caption a line"
            )
    except OSError as error:
        raise CaptionsError(f"{shown} cannot be read: {error.strerror}") from error
    usable, more = _sorted_out(found)
    problems += more
    if not usable:
        listed = "".join(f"\n  {problem}" for problem in problems[:10])
        raise CaptionsError(f"{shown} holds no caption that can be encoded{listed}")
    return Captions(usable, problems)


def _from_folder(folder: Path) -> tuple[list[Caption], list[str]]:
    images: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() in IMAGE_ENDINGS:
            images.setdefault(stem, []).append(name)
        elif ending.lower() == CAPTION_ENDING:
            texts[stem] = name
    found: list[Caption] = []
    problems = [
        f"{readable(name)} has no image beside it: its name must be that of the image, but for "
        "the ending"
        for stem, name in texts.items()
        if stem not in images
    ]
    for stem, [first, *others] in images.items():
        if others:
            problems.append(
                f"{readable(first)} and {readable(', '.join(others))} would share one cache, for "
                "its name is theirs without the ending: rename all but one"
            )
        elif stem not in texts:
            problems.append(
                f"{readable(first)} has no caption: write {readable(stem)}{CAPTION_ENDING}, for a "
                "trainer may encode it by itself, at its own layer"
            )
        else:
            name = texts[stem]
            try:
                # As the trainers do: UTF-8, with any line ending read as a new line.
                text = (folder / name).read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                problems.append(
                    f"{readable(name)} is not UTF-8: byte {error.start + 1}; save it as UTF-8"
                )
            else:
                found.append(Caption(stem, text, name))
    return found, problems


def _from_jsonl(path: Path) -> tuple[list[Caption], list[str]]:
    found: list[Caption] = []
    problems: list[str] = []
    for number, line in _lines(path):
        where = f"{path.name}, line {number}"
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{where} is not JSON: {error}")
            continue
        image = None
        if isinstance(row, dict):
            image = next((row[key] for key in IMAGE_KEYS if key in row), None)
        if not isinstance(image, str) or not isinstance(row.get("caption"), str):
            problems.append(
                f'{where} is {shortened(row)}: it must be an object with "image_path" and '
                '"caption", both texts'
            )
            continue
        stem = PurePath(image.replace("\\", "/")).stem
        found.append(Caption(stem, row["caption"], where))
    return found, problems


def _from_lines(path: Path) -> tuple[list[Caption], list[str]]:
    return [
        Caption(f"{number:0{LINE_DIGITS}}", line, f"{path.name}, line {number}")
        for number, line in _lines(path)
    ], []


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CaptionsError(
            f"{readable(str(path))} is not UTF-8: byte {error.start + 1}; save it as UTF-8 text"
        ) from error
    # Not splitlines: a caption may hold one of the characters that it takes for a line's end.
    lines = enumerate(text.split("\n"), 1)
    return ((number, line) for number, line in lines if line.strip())


def _sorted_out(found: list[Caption]) -> tuple[list[Caption], list[str]]:
    """Those that can be encoded, and in a sentence each those that cannot."""
    problems: list[str] = []
    places: dict[str, list[str]] = {}
    for caption in found:
        places.setdefault(caption.stem, []).append(caption.where)
    usable = []
    for caption in found:
        where = readable(caption.where)
        others = [place for place in places[caption.stem] if place != caption.where]
        objection = windows_objection(f"{caption.stem}.txt") if caption.stem else "it has no name"
        if readable(caption.stem) != caption.stem:
            objection = "its name is not UTF-8"
        if others:
            problems.append(
                f"{where}: its image has the name {caption.stem!r}, without folder and ending, as "
                f"that of {readable(', '.join(others[:3]))} has, and their caches would have one "
                "name: rename it"
            )
        elif objection or any(mark in caption.stem for mark in "/\\"):
            problems.append(f"{where}: {objection or 'its name has a slash'}: rename the image")
        elif not caption.text.strip():
            problems.append(
                f"{where} is empty: write a caption, for a trainer may encode the empty one by "
                "itself, at its own layer"
            )
        else:
            usable.append(caption)
    return usable, problems
