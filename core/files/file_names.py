"""Checks of file names from outside: below a folder, and a plain file on Windows too.

The rules of Windows are those of Microsoft, "Naming Files, Paths, and Namespaces". They are checked
on the name alone, before the disk is touched: resolving a name such as ``\\\\server\\share`` would
contact that server.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PureWindowsPath

ON_WINDOWS = os.name == "nt"
LONGEST = 200
"""Most bytes of a name in UTF-8: file systems allow 255, and a number may be put in front."""

_NO_NAME = r'[\x00-\x1f<>:"/\\|?*]'
_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
}


def windows_objection(name: str) -> str:
    """Why the path ``name`` is no plain relative path on Windows; "" if it is one.

    Refused are drives, servers, devices, streams (a colon), characters that Windows does not allow
    and parts that end in a dot or a space, which Windows drops.

    >>> windows_objection("layer_lab/reference")
    ''
    >>> windows_objection("layer_lab/con.txt")
    "'con.txt' is a device of Windows"
    """
    path = PureWindowsPath(name)
    if path.drive or path.root:
        return f"it begins with {path.anchor!r}, a drive, a server or the root"
    for part in re.split(r"[/\\]", name):
        if found := re.search(_NO_NAME, part):
            return f"{part!r} has {found[0]!r}, which Windows keeps for itself"
        if part not in ("", ".", "..") and part[-1] in ". ":
            return f"{part!r} ends with a dot or space, which Windows drops"
        if part.partition(".")[0].rstrip(" ").upper() in _DEVICES:
            return f"{part!r} is a device of Windows"
    return ""


def objection(name: str) -> str:
    """:func:`windows_objection` on Windows; "" elsewhere, where such names are files."""
    return windows_objection(name) if ON_WINDOWS else ""


def is_below(folder: Path, name: str) -> bool:
    """Whether ``name`` leads to somewhere below ``folder``, links followed."""
    if "\0" in name or objection(name):
        return False
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError, ValueError):  # A link to itself, half a surrogate pair.
        return False
    return path != folder.resolve() and path.is_relative_to(folder.resolve())


def plain_file_name(name: str) -> str:
    """The last part of ``name`` as a file name that is valid on every system.

    Characters that a system refuses become "_"; a long name is cut before its ending.

    >>> plain_file_name("..\\\\..\\\\layer:2.png")
    'layer_2.png'
    """
    last = re.split(r"[/\\]", name)[-1].encode("utf-8", "replace").decode("utf-8")
    last = re.sub(_NO_NAME, "_", last).rstrip(". ")
    if windows_objection(last):
        last = f"_{last}"
    stem, suffix = os.path.splitext(last)
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    room = LONGEST - len(suffix.encode())
    if len(last.encode()) > LONGEST:
        last = stem.encode()[:room].decode("utf-8", "ignore") + suffix
    return last or "_"
