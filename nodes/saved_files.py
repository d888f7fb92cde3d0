"""The pack's own files in ComfyUI's output and input folders: naming, finding and listing them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import folder_paths
from safetensors import SafetensorError, safe_open

from ..core.encoder.prompt import require_text
from ..core.files.atomic import is_unfinished
from ..core.files.file_names import is_below, objection


def new_file(filename_prefix: str, suffix: str) -> tuple[Path, str]:
    """A path in the output folder that is not taken, and how to show it to people.

    Raises:
        ValueError: if the prefix does not name a file inside the output folder.
    """
    output = _output_folder("filename_prefix", filename_prefix)
    folder, name, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, str(output))
    path = Path(folder) / f"{name}_{counter:05}_{suffix}"
    return path, path.relative_to(output).as_posix()


def output_path(given: str, name: str) -> Path:
    """The path in the output folder that ``name`` stands for, without an ending.

    ``given`` is the input's name, for the messages.

    Raises:
        ValueError: if it does not name a file inside the output folder.
    """
    output = _output_folder(given, name)
    if name[-1] in "/\\" or Path(name).name == "..":
        raise ValueError(f"{given} {name!r} is a folder: put a file's name behind it")
    return output / name


def named_file(path: Path) -> dict[str, list[dict[str, str]]]:
    """The part of a node's answer from which clients know that it wrote this file.

    As stock nodes do for latents and audio, so that history names the file and /view gives it out.
    """
    place = path.relative_to(folder_paths.get_output_directory())
    subfolder = place.parent.as_posix()
    file = {
        "filename": place.name,
        "subfolder": "" if subfolder == "." else subfolder,
        "type": "output",
    }
    return {"files": [file]}


def find_file(name: str, suffixes: Sequence[str], kind: str) -> Path:
    """The file that ``name``, as :func:`list_files` spells it, stands for.

    ``kind`` is what the file should be, for the messages: "reference".

    Raises:
        ValueError: if it is outside the output and input folders, is what a killed process was
            writing, ends in none of ``suffixes``, or is not there.
    """
    require_text("name", name)
    plain, base = folder_paths.annotated_filepath(name)
    allowed = (folder_paths.get_output_directory(), folder_paths.get_input_directory())
    folder = Path(base or folder_paths.get_input_directory()).resolve()
    known = folder in [Path(one).resolve() for one in allowed]
    if not known or (plain and not is_below(folder, plain)):
        raise ValueError(f"{name!r} is outside ComfyUI's output and input folders{_why(plain)}")
    path = (folder / plain).resolve()
    if is_unfinished(plain):
        raise ValueError(f"{name!r} was never finished: choose another {kind} file")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{name!r} is no {kind} file: those end in {' or '.join(suffixes)}")
    try:
        found = path.is_file()
    except OSError:  # For example a name that is too long.
        found = False
    if not found:
        raise ValueError(f"{name!r} does not exist: choose a file that is there")
    return path


def list_files(suffixes: Sequence[str], kind: str, belongs: Callable[[Path], bool]) -> list[str]:
    """Every file under output/ and input/ that :func:`find_file` accepts and ``belongs`` wants.

    Names are annotated as the host does: "layer_lab/reference_00001_.safetensors [output]".
    """
    names = []
    for folder, label in (
        (folder_paths.get_output_directory(), "output"),
        (folder_paths.get_input_directory(), "input"),
    ):
        files, _ = folder_paths.recursive_search(folder)
        for file in folder_paths.filter_files_extensions(files, suffixes):
            name = f"{Path(file).as_posix()} [{label}]"
            try:
                if belongs(find_file(name, suffixes, kind)):
                    names.append(name)
            except (ValueError, OSError):
                continue
    return names


def safetensors_format(path: Path) -> str | None:
    """The format that a safetensors file says it has; None if it says nothing or is none."""
    state = path.stat()
    return _format(str(path), state.st_mtime_ns, state.st_size)


def contents_hash(path: Path) -> str:
    """SHA-256 of a file, read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _format(path: str, modified: int, size: int) -> str | None:
    """Only the header is read, and again only when the file changes."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format")
    except (OSError, SafetensorError):
        return None


def _output_folder(given: str, name: str) -> Path:
    """The output folder, if ``name`` leads to somewhere below it."""
    require_text(given, name)
    output = Path(folder_paths.get_output_directory())
    if not is_below(output, name):
        raise ValueError(
            f"{given} {name!r} does not name a file inside ComfyUI's output folder{_why(name)}"
        )
    return output


def _why(name: str) -> str:
    reason = objection(name)
    return f": {reason}" if reason else ""
