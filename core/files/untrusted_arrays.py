"""Arrays from foreign files: no pickle runs, and no small file can fill the memory.

An .npz is a zip of .npy files (numpy.lib.format). Both state the size of their
contents, and both may lie, so the two sizes are compared before an array is made. A safetensors
file may be sparse: large without taking up any disk.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checks import LayerLabError

WIDEST = 2**21
"""Most dimensions of a vector."""
MOST_BYTES = 8 * WIDEST
"""Most bytes of one array after decompression: a vector of :data:`WIDEST` float64."""
NUMBERS, TEXT = "fiu", "U"
"""The kinds of numpy dtypes that are read (``numpy.dtype.kind``): floats and integers; text."""
LONGEST_REASON = 200
"""Most characters of another library's message that ours repeats; numpy quotes whole headers."""
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The ones that numpy writes; others can ask for gigabytes of working memory."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpzError(LayerLabError, ValueError):
    """A file that is no usable .npz; the message says why."""


def npz_names(path: Path) -> set[str]:
    """The names of the arrays in an .npz. Raises NpzError, or OSError if it cannot be opened."""
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return {name.removesuffix(".npy") for name in archive.namelist()}
        except Exception as error:  # zipfile raises nearly anything on foreign bytes.
            raise NpzError(_reason(error)) from error


def read_npz(path: Path, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The ``wanted`` arrays that the file has, by name, read-only.

    Raises:
        NpzError: if it is no .npz, is damaged, or one of them is too large or neither numbers
            nor text.
        OSError: if it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                return {name: _array(archive, members[name]) for name in wanted if name in members}
        except NpzError:
            raise
        except Exception as error:  # zipfile and numpy raise nearly anything on foreign bytes.
            raise NpzError(_reason(error)) from error


def read_vectors(file: Any, wanted: Collection[str]) -> dict[str, Tensor]:
    """The ``wanted`` vectors that an open safetensors file has, by name, as float64.

    Raises:
        ValueError: if one is no vector, wider than :data:`WIDEST` or of no float dtype.
    """
    vectors = {}
    for name in wanted:
        if name not in file.keys():
            continue
        shape = file.get_slice(name).get_shape()
        if len(shape) != 1 or shape[0] > WIDEST:
            raise ValueError(f"{name} is of shape {shape}, not (up to {WIDEST},)")
        tensor = file.get_tensor(name)
        if not tensor.is_floating_point():
            raise ValueError(f"{name} is of {tensor.dtype}, no float dtype")
        # A copy: a mapped file that is cut short while its tensor is in use ends the process.
        vectors[name] = tensor.to(torch.float64, copy=True)
    return vectors


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    name = member.filename
    if member.compress_type not in COMPRESSIONS:
        raise NpzError(f"{name!r} is compressed in a way that numpy does not write")
    if member.file_size > MOST_BYTES:
        raise NpzError(f"{name!r} holds {member.file_size} bytes, more than {MOST_BYTES}")
    with archive.open(member) as opened:
        content = opened.read(MOST_BYTES)  # zipfile stops at the size that was checked.
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise NpzError(f"{name!r} is of .npy version {version}, which is not known here")
    shape, by_column, dtype = _HEADERS[version](stream)
    if dtype.kind not in NUMBERS + TEXT:
        raise NpzError(f"{name!r} is of {dtype}, neither numbers nor text; pickles are never read")
    promised, held = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if promised != held:
        raise NpzError(f"{name!r} promises {promised} bytes and holds {held}")
    if not held:
        return np.empty(shape, dtype)
    array = np.frombuffer(content, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if by_column else "C")


def _reason(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
