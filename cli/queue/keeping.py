"""Bringing everything that a prompt made into the results folder, each file whole or not at all."""

from __future__ import annotations

import filecmp
import json
import threading
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ...core.files.atomic import WriteError, unfinished
from ...core.files.file_names import plain_file_name
from ..comfy.address import Address
from ..comfy.client import fetch_file
from ..comfy.errors import FileNotGiven
from ..comfy.outputs import NamedOutput, named_outputs
from ..comfy.prompt import Limits, patiently
from ..out_folder import writing_in

RESUME = "it goes on where it stopped"
LONGEST_IN_LINE = 20_000
"""Most characters of a text or value that the line of results.jsonl repeats."""


class Kept(NamedTuple):
    """What came of one prompt.

    ``outputs``: for results.jsonl, a dict for each thing that history names, with ``node``,
    ``title`` and ``key``, and the name of its ``file`` here, its ``text`` or its ``value``.
    ``missing``: a line for each file that the server did not give out.
    """

    outputs: tuple[dict[str, Any], ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        """The names of the files, each once."""
        return list(dict.fromkeys(one["file"] for one in self.outputs if "file" in one))


class Keeper:
    """Saves into ``out``; may be used from several threads.

    Args:
        title: from a node's id to what it is called.
        only_images: the saved images alone, or else the previews.
    """

    def __init__(self, out: Path, title: Callable[[str], str], only_images: bool = False) -> None:
        self._out = out
        self._title = title
        self._only_images = only_images
        self._naming = threading.Lock()

    def keep(self, address: Address, number: int, entry: Mapping[str, Any], limits: Limits) -> Kept:
        """Everything that the history entry of row ``number`` names.

        Raises:
            ServerUnreachable: if the server does not answer for ``limits.contact``.
            OutFolderError: if a file cannot be written.
        """
        kept, missing = [], []
        with writing_in(self._out, RESUME):
            for output in named_outputs(entry, self._only_images):
                line = {"node": output.node, "title": self._title(output.node), "key": output.key}
                try:
                    kept.append({**line, **self._one(address, number, output, limits)})
                except FileNotGiven as error:
                    missing.append(str(error))
                    kept.append({**line, **(output.file or {}), "missing": str(error)})
        return Kept(tuple(kept), tuple(missing))

    def _one(
        self, address: Address, number: int, output: NamedOutput, limits: Limits
    ) -> dict[str, Any]:
        """The parts of its line that depend on what it is."""
        named = output.file
        if named is not None:
            path = self.save(
                number,
                named["filename"],
                lambda target: patiently(
                    lambda: fetch_file(address, named, target, limits.answer), limits.contact
                ),
            )
            more = {key: named[key] for key in ("subfolder", "type") if named.get(key)}
            return {"file": path.name, **more}
        title = self._title(output.node)
        if output.text is not None:
            shown = {"text": output.text} if len(output.text) <= LONGEST_IN_LINE else {}
            path = self.save(number, f"{title}.txt", _writer(output.text))
            return {"file": path.name, **shown}
        text = json.dumps(output.value)
        if len(text) <= LONGEST_IN_LINE:
            return {"value": output.value}
        return {"file": self.save(number, f"{title}_{output.key}.json", _writer(text)).name}

    def save(self, number: int, name: str, write: Callable[[Path], Any]) -> Path:
        """What ``write`` puts into a file, under ``name`` behind the row's number.

        What is there is never replaced: another file of that name gets a number, an equal one is
        taken for it. Raises WriteError.
        """
        plain = plain_file_name(name)
        path = self._out / f"{number:04d}_{plain}"
        try:
            with unfinished(path) as temporary:
                write(temporary)
                with self._naming:
                    return self._put(temporary, path)
        except OSError as error:
            raise WriteError(path, error) from error

    @staticmethod
    def _put(temporary: Path, wanted: Path) -> Path:
        path = wanted
        for turn in count(2):
            if not path.exists():
                return temporary.replace(path)
            if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
                return path
            path = wanted.with_name(f"{wanted.stem}_{turn}{wanted.suffix}")
        raise AssertionError("unreachable")


def _writer(text: str) -> Callable[[Path], Any]:
    return lambda target: target.write_bytes(text.encode("utf-8", "replace"))
