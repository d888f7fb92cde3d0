"""Lists of prompts, one a line, and running all of them through an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from ..core.encoder.prompt import build_prompt, require_text
from ..core.files.file_names import is_below
from .encoder import Encoding, encode


def prompt_file(prompts: str) -> Path | None:
    """The .txt file in ComfyUI's input folder that ``prompts`` names, None if it names none.

    Raises:
        ValueError: if it can only be meant as a file (one word that ends in .txt) and is outside
            the input folder or not there.
    """
    name = prompts.strip()
    if "\n" in name or not name.lower().endswith(".txt"):
        return None
    folder = Path(folder_paths.get_input_directory()).resolve()
    inside = is_below(folder, name)
    try:
        if inside and (folder / name).is_file():
            return (folder / name).resolve()
    except OSError:  # A prompt that is longer than a file's name can be.
        pass
    if any(character.isspace() for character in name):
        return None
    if not inside:
        raise ValueError(f"{name!r} is outside ComfyUI's input folder: put the file there")
    raise ValueError(f"{name!r} is not in ComfyUI's input folder: put it there, or type prompts")


def read_prompts(prompts: str) -> list[str]:
    """One prompt a line, empty lines left out; from the file if ``prompts`` names one.

    Raises:
        ValueError: if the file is missing, outside, or not UTF-8, or there is no prompt at all.
    """
    require_text("prompts", prompts)
    path = prompt_file(prompts)
    text = prompts if path is None else read_text(path)
    found = [line.strip() for line in text.split("\n") if line.strip()]
    if not found:
        where = "prompts is empty" if path is None else f"{path.name} holds no prompt"
        raise ValueError(
            f"{where}: give one prompt a line, or name a .txt file of the input folder"
        )
    return found


def read_text(path: Path) -> str:
    """The contents of a UTF-8 file, with or without byte order mark.

    Raises:
        ValueError: naming the first byte that is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}): "
            "save it as UTF-8"
        ) from error


def prompts_fingerprint(prompts: str | None) -> str:
    """Changes when the file that ``prompts`` names does; "" for typed prompts."""
    path = prompt_file(prompts) if prompts else None
    return "" if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def read_optional_prompts(prompts: str) -> list[str]:
    """As :func:`read_prompts`, but where there is no text there is no prompt."""
    require_text("prompts", prompts)
    return read_prompts(prompts) if prompts.strip() else []


def check_prompts(prompts: str | None, optional: bool = False) -> bool | str:
    """Validation before the graph runs; None is a connected input, checked when it runs.

    ``optional``: whether there need be none.
    """
    try:
        if prompts is not None:
            (read_optional_prompts if optional else read_prompts)(prompts)
    except (ValueError, OSError) as error:
        return str(error)
    return True


def encode_each(
    clip: Any, prompts: Sequence[str], layers: Sequence[int]
) -> Iterator[list[Encoding]]:
    """Encode prompt after prompt in Z-Image's template, with progress; interruptible in between."""
    progress = comfy.utils.ProgressBar(len(prompts))
    for prompt in prompts:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield encode(clip, build_prompt(prompt), layers)
        progress.update(1)
    comfy.model_management.throw_exception_if_processing_interrupted()
