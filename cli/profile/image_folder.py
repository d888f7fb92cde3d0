"""A folder of images, each read when it is asked for."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...core.checks import LayerLabError
from ..model.errors import readable

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of the files that are taken as images, in upper or lower case."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's names of what such files may hold, whichever ending they have."""
SIXTEEN_BITS = 65535
ADVICE = "save it again as PNG or JPEG, or take it out"


class ImageFolderError(LayerLabError, ValueError):
    """A folder or an image that cannot be used; the message names it, says why, and what to do."""


class ImageFolder(Sequence[Tensor]):
    """The images of a folder in the order of their names, code point by code point.

    That order depends neither on the file system nor on the locale. Folders inside it, files with
    other endings than :data:`ENDINGS`, and names that begin with a dot are passed over.
    Only names are kept in memory.

    Attributes:
        path: the folder.
        names: the files' names.

    Raises:
        ImageFolderError: if it is no folder, cannot be listed or holds no image.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        shown = readable(str(path))
        try:
            if not self.path.exists():
                raise ImageFolderError(f"{shown}: there is no such folder; give --images a folder")
            if not self.path.is_dir():
                raise ImageFolderError(
                    f"{shown} is not a folder; give --images the folder that holds the images"
                )
            with os.scandir(self.path) as entries:
                self.names = sorted(
                    entry.name for entry in entries if _is_image(entry.name) and not entry.is_dir()
                )
        except OSError as error:
            raise ImageFolderError(f"{shown} cannot be read: {error.strerror}") from error
        if not self.names:
            raise ImageFolderError(
                f"{shown} holds no image: put at least one into it (files whose names end in "
                f"{', '.join(ENDINGS)}; folders inside it are not looked into)"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Tensor:
        """Image ``number``, from 0; see :meth:`decode`."""
        return self.decode(number, self.contents(number))

    def file(self, number: int) -> str:
        """The path of image ``number`` for messages."""
        return readable(str(self.path / self.names[number]))

    def contents(self, number: int) -> bytes:
        """The file of image ``number``. Raises ImageFolderError if it cannot be read."""
        path = self.path / self.names[number]
        try:
            if not path.is_file():  # For example a link to nowhere, or a pipe.
                raise ImageFolderError(f"{self.file(number)} is no file: {ADVICE}")
            return path.read_bytes()
        except OSError as error:
            raise ImageFolderError(
                f"{self.file(number)} cannot be read: {error.strerror}"
            ) from error

    def decode(self, number: int, contents: bytes) -> Tensor:
        """The pixels in the ``contents`` of image ``number``: (height, width, 3) uint8.

        Turned as its EXIF orientation says. Transparency is dropped, as ComfyUI's Load Image does:
        the colours under it count. Of several frames it is the first; grey of 16 bits is brought
        to 8.

        Raises:
            ImageFolderError: if it cannot be decoded, to its last pixel.
        """
        try:
            # Pillow warns of large images and of odd ones that it reads all the same.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _pixels(contents)
        except Exception as error:  # Damaged files make Pillow's readers raise what they like.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageFolderError(
                f"{self.file(number)} cannot be read as an image: {reason}; {ADVICE}"
            ) from error


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in ENDINGS


def _pixels(contents: bytes) -> Tensor:
    try:
        opened = Image.open(io.BytesIO(contents), formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError(f"it holds none of the formats {', '.join(FORMATS)}") from None
    with opened as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise ValueError("its pixels are floating-point numbers")
        if upright.mode.startswith("I"):
            grey = np.asarray(upright).astype(np.int64)
            if grey.min() < 0 or grey.max() > SIXTEEN_BITS:
                raise ValueError("its pixels are numbers of more than 16 bits")
            eight = np.rint(grey * (255 / SIXTEEN_BITS)).astype(np.uint8)
            return torch.from_numpy(np.repeat(eight[..., None], 3, axis=-1))
        # A copy: what Pillow lends out cannot be written to, of which torch warns.
        return torch.from_numpy(np.array(upright.convert("RGB")))
