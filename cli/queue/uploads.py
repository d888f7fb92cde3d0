"""Sending the local files that a workflow's loading nodes name, for ``--upload``."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..comfy.address import Address
from ..comfy.client import upload_file
from ..comfy.prompt import Limits, patiently
from ..comfy.widgets import inputs_of
from .settings import Row
from .worker import Job
from .workflow import QueueError, Target, Workflow

_PLACE = re.compile(r"\s\[(input|output|temp)\]$")
"""How a value names a folder of the server's own."""


class Uploads:
    """Finds the files, and sends each to each server once.

    Files that the workflow names are taken from ``folders`` and what is below them only, for it may
    come from a stranger; what the user sets may lie anywhere.

    Args:
        describe: from a node's class to its part of ``/object_info``.
        folders: where relative names are looked for, in order.
    """

    def __init__(
        self,
        workflow: Workflow,
        describe: Callable[[str], Mapping[str, Any]],
        folders: Sequence[Path],
        limits: Limits,
    ) -> None:
        self._workflow = workflow
        self._folders = [folder.resolve() for folder in folders]
        self._limits = limits
        self._targets = list(_loading(workflow, describe))
        self._files: dict[tuple[int, Target], Path] = {}
        self._sent: dict[tuple[Address, Path], str] = {}
        self._sending = threading.Lock()

    def find(self, rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
        """The rows with keys that tell the files' contents, and a line for each name that is no
        file here."""
        found, absent = [], {}
        for row in rows:
            chosen = {self._workflow.find(key) for key in row.settings if key != "repeat"}
            digest = hashlib.sha256()
            for target in self._targets:
                value = row.graph[target.node]["inputs"].get(target.input)
                if not isinstance(value, str) or _PLACE.search(value):
                    continue
                path = self._local(value, anywhere=target in chosen)
                if path is None:
                    named = f"{target.input!r} of {self._workflow.name(target.node)}"
                    absent[value] = f"{named}: {value} is no file here; the server's own is taken"
                    continue
                self._files[row.number, target] = path
                digest.update(_digest(path))
            files = [True for number, _ in self._files if number == row.number]
            key = f"{row.key}-{digest.hexdigest()[:16]}" if files else row.key
            found.append(row._replace(key=key))
        return found, list(absent.values())

    def prepare(self, server: Address, job: Job) -> Job:
        """The job with the names under which the server has its files now."""
        graph = dict(job.graph)
        for target in self._targets:
            path = self._files.get((job.number, target))
            if path is not None:
                node = graph[target.node]
                name = self._name_at(server, path)
                graph[target.node] = {**node, "inputs": {**node["inputs"], target.input: name}}
        return job._replace(graph=graph)

    def _name_at(self, server: Address, path: Path) -> str:
        with self._sending:
            if (server, path) not in self._sent:
                self._sent[server, path] = patiently(
                    lambda: upload_file(server, path, timeout=self._limits.contact),
                    self._limits.contact,
                )
            return self._sent[server, path]

    def _local(self, value: str, anywhere: bool) -> Path | None:
        for folder in self._folders:
            try:
                path = (folder / Path(value).expanduser()).resolve()
                if path.is_file() and (anywhere or _is_in(path, self._folders)):
                    return path
            except (OSError, ValueError, RuntimeError):  # A name that no file can have.
                continue
        return None


def _loading(workflow: Workflow, describe: Callable[[str], Mapping[str, Any]]) -> Iterable[Target]:
    """The inputs beside which the page has a button to upload a file."""
    kinds = {node["class_type"] for node in workflow.graph.values()}
    names = {
        kind: [
            one.name
            for one in inputs_of(describe(kind))
            if any(key.endswith("_upload") and on for key, on in one.options.items())
        ]
        for kind in kinds
    }
    for node_id, node in workflow.graph.items():
        for name in names[node["class_type"]]:
            if isinstance(node["inputs"].get(name), str):
                yield Target(node_id, name)


def _is_in(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise QueueError(f"--upload: {path} cannot be read: {error.strerror or error}") from None
