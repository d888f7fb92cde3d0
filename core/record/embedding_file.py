"""A conditioning in one safetensors file: states, record and those options that a file can hold.

The states of the first entry are the tensor "hidden", those of further ones "hidden.1" and so on,
so that ``safetensors.torch.load_file(path)["hidden"]`` reads them without this pack. Everything
else is JSON in the file's metadata; tensors among an entry's options are further tensors.
"""

from __future__ import annotations

import json
import math
import reprlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checks import UPDATE, LayerLabError, as_states, require_finite_states
from ..files.atomic import replacing
from .record import RECORD_KEY, Record
from .record_json import record_from_json, record_to_json

FORMAT = "layer_lab_embedding"
VERSION = 1
SUFFIX = ".safetensors"
STATE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OPTION_DTYPES = (
    *STATE_DTYPES,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)
MOST_JSON = 2**25
"""Characters of JSON in the metadata: enough for the prompts of thousands of entries."""
MOST_DEPTH = 8
"""Levels of lists inside lists among the options; deeper ones are not kept."""
UNREADABLE = (SafetensorError, ValueError, TypeError, OSError, RuntimeError)
"""What reading a damaged or foreign file raises (RecursionError is a RuntimeError)."""


class EmbeddingFileError(LayerLabError, ValueError):
    """A file that is no usable embedding; the message names it and says why."""


class Entry(NamedTuple):
    """One entry of a conditioning.

    Attributes:
        hidden: (batch, tokens, width), float16 to float64.
        record: of these states, None if there is none.
        options: the rest of the entry's dict, without the record.
    """

    hidden: Tensor
    record: Record | None
    options: Mapping[str, Any]


def save_embedding(path: Path, entries: Sequence[Entry]) -> list[str]:
    """Write ``path`` (.safetensors) whole or not at all; tensors keep their dtypes.

    Of an entry's options those are kept that are None, numbers, strings, tensors, or lists and
    tuples of these.

    Returns:
        The options that were left out, one line each.

    Raises:
        EmbeddingFileError: if the path does not end in .safetensors, there is no entry, or an
            entry cannot be saved.
        NonFiniteError: if states hold NaN or infinity.
    """
    path = Path(path)
    if path.suffix.lower() != SUFFIX:
        raise EmbeddingFileError(f"{path.name}: an embedding is saved as {SUFFIX}")
    if not entries:
        raise EmbeddingFileError("the conditioning is empty: there is nothing to save")
    tensors: dict[str, Tensor] = {}
    documents, left_out = [], []
    for number, entry in enumerate(entries):
        what = f"entry {number + 1} of the conditioning"
        hidden = as_states(entry.hidden, what)
        require_finite_states(hidden, what)
        name = f"hidden.{number}" if number else "hidden"
        tensors[name] = _owned(hidden)
        options, without = _keep(entry.options, f"option.{number}", tensors)
        left_out += [f"{kind} of entry {number + 1}" for kind in without]
        record = None if entry.record is None else record_to_json(entry.record)
        documents.append({"hidden": name, "record": record, "options": options})
    try:
        text = json.dumps(documents, allow_nan=False)
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "entries": text,
            "checksum": _checksum(text, tensors),
        }
        _entries(metadata, tensors)  # What could not be read back is not written either.
    except (TypeError, ValueError) as error:
        raise EmbeddingFileError(f"the conditioning cannot be saved: {error}") from error
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)
    return left_out


def load_embedding(path: Path) -> list[Entry]:
    """The entries that :func:`save_embedding` wrote, on the CPU.

    Raises:
        EmbeddingFileError: if the file is missing, damaged, changed, of another kind or of a newer
            version of this pack.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "fox.safetensors"
    ...     left_out = save_embedding(path, [Entry(torch.zeros(1, 5, 8), None, {"strength": 1.0})])
    ...     [entry] = load_embedding(path)
    >>> tuple(entry.hidden.shape), entry.options
    ((1, 5, 8), {'strength': 1.0})
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise EmbeddingFileError(f"{path}: there is no such file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            _require_kind(metadata)
            # Copies: the file may change while the states are still in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        return _entries(metadata, tensors)
    except EmbeddingFileError:
        raise
    except UNREADABLE as error:
        advice = "" if isinstance(error, ValueError) else "; choose another, or save it again"
        raise EmbeddingFileError(
            f"{path.name} cannot be read as an embedding: {error}{advice}"
        ) from error


def _require_kind(metadata: Mapping[str, str]) -> None:
    kind, version = metadata.get("format"), metadata.get("version", "")
    if kind != FORMAT:
        raise ValueError(
            f"it is of another kind (its format is {reprlib.repr(kind)}, not {FORMAT!r}); only "
            "files that Save Embedding wrote can be loaded"
        )
    if version != str(VERSION):
        newer = version.isascii() and version.isdigit() and version.lstrip("0") > "1"
        raise ValueError(
            f"its version is {reprlib.repr(version)} and this pack reads {VERSION}"
            + (f"; {UPDATE}" if newer else "")
        )


def _entries(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> list[Entry]:
    """The entries that the file's metadata describes, each part checked against the tensors."""
    text = metadata.get("entries", "")
    if len(text) > MOST_JSON:
        raise ValueError(f"its metadata has {len(text)} characters, more than {MOST_JSON}")
    if metadata.get("checksum") != _checksum(text, tensors):
        raise ValueError(
            "it is not what was saved: the file is damaged or was changed; save the conditioning "
            "again"
        )
    documents = json.loads(text)
    if not isinstance(documents, list) or not documents or len(documents) > len(tensors):
        raise ValueError("it has no list of entries, or one that does not fit its tensors")
    entries, named = [], set()
    for number, document in enumerate(documents, 1):
        try:
            entries.append(_entry(document, tensors))
            # Thousands of entries that share one large tensor would check it thousands of times.
            if document["hidden"] in named:
                raise ValueError("its states are another entry's")
            named.add(document["hidden"])
        except ValueError as error:
            raise ValueError(f"entry {number}: {error}") from error
    return entries


def _entry(document: object, tensors: Mapping[str, Tensor]) -> Entry:
    if not isinstance(document, dict) or document.keys() != {"hidden", "record", "options"}:
        raise ValueError(f"{reprlib.repr(document)} is not hidden, record and options")
    hidden = _tensor(document["hidden"], tensors)
    if hidden.ndim != 3 or hidden.dtype not in STATE_DTYPES:
        raise ValueError(
            f"its states are {tuple(hidden.shape)} in {hidden.dtype}, not (batch, tokens, width) "
            "in a float dtype from float16 to float64"
        )
    as_states(hidden, "its tensor")
    require_finite_states(hidden, "its tensor")
    record = None
    if document["record"] is not None:
        record = record_from_json(document["record"], hidden.shape[1])
        if record.checksum not in ("", record.sealed(hidden).checksum):
            raise ValueError("its record was written for other states")
    options = document["options"]
    if not isinstance(options, dict) or RECORD_KEY in options:
        raise ValueError(f"{reprlib.repr(options)} are no options of a conditioning")
    return Entry(hidden, record, {key: _decode(options[key], tensors, 0) for key in options})


class _NotKept(Exception):
    """A value that the file cannot hold; the message names its kind."""


def _keep(
    options: Mapping[str, Any], prefix: str, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], list[str]]:
    """``options`` as JSON without those that a file cannot hold, and the latter in words.

    Tensors among the options are added to ``tensors``, under names that begin with ``prefix``.
    """
    kept, left_out = {}, []
    for place, (key, value) in enumerate(options.items()):
        found: dict[str, Tensor] = {}
        try:
            if type(key) is not str or not _is_plain(key):
                raise _NotKept("its name is no text")
            kept[key] = _encode(value, f"{prefix}.{place}.{key}", found, 0)
            tensors.update(found)
        except _NotKept as error:
            left_out.append(f"{key!r} ({error})")
    return kept, left_out


def _is_plain(value: object) -> bool:
    """Whether JSON keeps it exactly: None, a truth value, a number or a text."""
    if type(value) is int:
        return abs(value) < 2**63
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is str:
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or type(value) is bool


def _encode(value: object, name: str, tensors: dict[str, Tensor], depth: int) -> Any:
    """``value`` as JSON; its tensors are added to ``tensors``. _NotKept if it cannot be kept."""
    if _is_plain(value):
        return value
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.dtype not in OPTION_DTYPES:
            raise _NotKept(f"tensor of {value.layout}, {value.dtype}")
        tensors[name] = _owned(value)
        return {"tensor": name}
    if type(value) in (list, tuple) and depth < MOST_DEPTH:
        parts = [_encode(v, f"{name}/{i}", tensors, depth + 1) for i, v in enumerate(value)]
        return parts if type(value) is list else {"tuple": parts}
    raise _NotKept(type(value).__name__)


def _decode(value: object, tensors: Mapping[str, Tensor], depth: int) -> Any:
    """The value that :func:`_encode` turned into JSON."""
    if _is_plain(value):
        return value
    if isinstance(value, list) and depth < MOST_DEPTH:
        return [_decode(one, tensors, depth + 1) for one in value]
    if isinstance(value, dict) and value.keys() == {"tuple"} and isinstance(value["tuple"], list):
        return tuple(_decode(value["tuple"], tensors, depth))
    if isinstance(value, dict) and value.keys() == {"tensor"}:
        return _tensor(value["tensor"], tensors)
    raise ValueError(f"{reprlib.repr(value)} is no value of a conditioning's option")


def _tensor(name: object, tensors: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(name, str) or name not in tensors:
        raise ValueError(f"the file has no tensor {reprlib.repr(name)}")
    if tensors[name].dtype not in OPTION_DTYPES:
        raise ValueError(f"tensor {reprlib.repr(name)} is of {tensors[name].dtype}")
    return tensors[name]


def _owned(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with nothing."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of the entries' JSON and of every contiguous tensor's name, kind and bytes."""
    crc = zlib.crc32(text.encode("utf-8"))
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), crc)
    return f"{crc:08x}"
