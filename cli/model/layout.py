"""Where a model's files lie, in the shapes in which people have them on their disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import ModelError, readable

TAKEN = (
    "a folder with config.json and safetensors, a diffusers pipeline, a Hugging Face cache folder, "
    "a GGUF file, or ComfyUI's single file of a text encoder"
)
PICKLED = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
SHOWN = 5
"""Names that a message lists."""


@dataclass(frozen=True)
class Layout:
    """Where what lies.

    Attributes:
        weights: a folder with config.json and safetensors, or one file.
        tokenizer: the folder that has the tokenizer's files; None where there is none.
        name: for reports: the name of the folder, the file, or the repository in a cache.
        kind: of the weights.
    """

    weights: Path
    tokenizer: Path | None
    name: str
    kind: Literal["folder", "GGUF", "single file"]


def find_layout(path: Path) -> Layout:
    """The layout of what ``path`` names. Raises ModelError if it is no model."""
    path = Path(path)
    try:
        there = path.exists()
    except OSError:  # For example a name that is too long.
        there = False
    if not there:
        raise ModelError(f"{path}: there is no such model; give {TAKEN} (nothing is downloaded)")
    if path.is_dir():
        return _folder(path.resolve())
    # The file's own name stays: in a Hugging Face cache it is a link to a file named by its hash.
    return _file(path.parent.resolve() / path.name)


def _file(path: Path) -> Layout:
    named = path.suffix.lower()
    if _first_bytes(path) == b"GGUF" or named == ".gguf":
        # Without the ending, what follows a dot is part of the name, as in "Qwen3-4B.Q4_1".
        return Layout(path, None, readable(path.stem if named == ".gguf" else path.name), "GGUF")
    if named == ".safetensors":
        return Layout(path, None, readable(path.stem), "single file")
    if named in PICKLED:
        raise ModelError(
            f"{path} is a file in Python's pickle format, which can run code and is never opened: "
            "give the model as safetensors or GGUF"
        )
    raise ModelError(f"{path} is neither a GGUF nor a .safetensors file: give {TAKEN}")


def _folder(path: Path) -> Layout:
    if (path / "config.json").is_file():
        if path.name.startswith("text_encoder") and (path.parent / "model_index.json").is_file():
            # Beside text_encoder_2 it is tokenizer_2.
            tokenizer = path.parent / path.name.replace("text_encoder", "tokenizer")
            there = tokenizer.is_dir()
            named = _folder_name(path.parent)
            return Layout(path, tokenizer if there else path, named, "folder")
        return Layout(path, path, _folder_name(path), "folder")
    if (path / "model_index.json").is_file():
        if (path / "text_encoder" / "config.json").is_file():
            return _folder(path / "text_encoder")
        raise ModelError(
            f"{path} is a diffusers pipeline without text_encoder/config.json: download its "
            "folders text_encoder/ and tokenizer/"
        )
    if path.name.startswith("models--") and (path / "snapshots").is_dir():
        return _folder(_snapshot(path))
    files = sorted(file.name for file in path.iterdir() if file.is_file())
    single = [name for name in files if name.lower().endswith((".gguf", ".safetensors"))]
    if single:
        raise ModelError(
            f"{path} has no config.json, so it is no transformers model. Give one of the files in "
            f"it: {_listed(single)}"
        )
    raise ModelError(f"{path} is no model: it has no config.json. Give {TAKEN}")


def _snapshot(cache: Path) -> Path:
    """The snapshot that ``refs/main`` of a Hugging Face cache names, else the only one."""
    there = sorted(entry for entry in (cache / "snapshots").iterdir() if entry.is_dir())
    reference = cache / "refs" / "main"
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8", errors="replace").strip()
        for snapshot in there:
            if snapshot.name == commit:
                return snapshot
    if len(there) == 1:
        return there[0]
    if not there:
        raise ModelError(f"{cache}/snapshots is empty: the model has not been downloaded")
    raise ModelError(
        f"{cache} has {len(there)} snapshots, and refs/main names none of them. Give one: "
        f"{_listed([f'snapshots/{snapshot.name}' for snapshot in there])}"
    )


def _folder_name(folder: Path) -> str:
    if folder.parent.name == "snapshots":
        repository = folder.parent.parent.name.removeprefix("models--")
        return readable(repository.replace("--", "/"))
    return readable(folder.name)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return readable(", ".join(names[:SHOWN])) + more


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4)
