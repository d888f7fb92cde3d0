"""Find a ComfyUI on this machine, read its version, and put node packs into a base directory.

Nothing of ComfyUI is imported or executed.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

_NOT_IN_A_PACK = (
    ".git",
    "__pycache__",
    ".venv",
    "venv",
    "node_modules",
    "tests",
    "benchmarks",
    ".pytest_cache",
    ".ruff_cache",
    "*.egg-info",
)


def find_comfyui(start: Path | None = None) -> Path | None:
    """The ComfyUI to use, or None.

    Looked for in ``COMFYUI_PATH``, then among the parents of ``start`` (default: this pack's
    folder), then comfy-cli's default workspace, then ``~/comfy/ComfyUI``. A folder counts when it
    holds ``main.py`` and ``comfy/``. Raises FileNotFoundError if ``COMFYUI_PATH`` is set to one
    that does not.
    """
    named = os.environ.get("COMFYUI_PATH", "").strip()
    if named:
        path = Path(named).expanduser()
        if not is_comfyui(path):
            raise FileNotFoundError(
                f"COMFYUI_PATH is set to {named!r}, which is no ComfyUI folder "
                "(it needs main.py and comfy/)"
            )
        return path.resolve()
    for path in _candidates(Path(start) if start else Path(__file__).parents[2]):
        if is_comfyui(path):
            return path.resolve()
    return None


def is_comfyui(path: Path) -> bool:
    """True when ``path`` holds ``main.py`` and the folder ``comfy``."""
    return (path / "main.py").is_file() and (path / "comfy").is_dir()


def comfyui_version(path: Path) -> str | None:
    """The version written in ComfyUI's ``comfyui_version.py``, or None. It is not executed."""
    try:
        text = (Path(path) / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def comfyui_python(path: Path) -> str:
    """The interpreter that runs the ComfyUI at ``path``: its own environment's, else this one.

    Looked for in ``.venv`` and ``venv`` inside it (the manual install and comfy-cli) and in
    ``python_embeded`` beside it (the Windows portable build, which spells it so).
    """
    scripts = ("bin/python", "Scripts/python.exe")
    inside = [Path(path) / folder / script for folder in (".venv", "venv") for script in scripts]
    beside = Path(path).parent / "python_embeded" / "python.exe"
    found = next((candidate for candidate in [*inside, beside] if candidate.is_file()), None)
    return str(found or sys.executable)


def missing_requirements(path: Path, python: str) -> list[str]:
    """Packages that the ComfyUI at ``path`` requires and the interpreter ``python`` does not have.

    Those that its requirements.txt calls non essential do not count.
    """
    text = (Path(path) / "requirements.txt").read_text(encoding="utf-8")
    needed = text.lower().partition("#non essential")[0]
    names = re.findall(r"^\s*([a-z0-9][a-z0-9._-]*)", needed, re.MULTILINE)
    script = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: m.version(name)\n"
        "    except m.PackageNotFoundError: sys.stdout.write(name + ' ')\n"
    )
    result = subprocess.run(
        [python, "-c", script, *names], capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.split()


def comfy_cli_config() -> Path:
    """Where comfy-cli keeps its settings on this system."""
    home = Path.home()
    if sys.platform == "win32":
        folder = home / "AppData" / "Local" / "comfy-cli"
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support" / "comfy-cli"
    else:
        folder = home / ".config" / "comfy-cli"
    return folder / "config.ini"


def install_pack(base_directory: Path, pack: Path, name: str) -> Path:
    """Make the folder ``pack`` a custom node pack ``name`` of the server in ``base_directory``.

    A symbolic link where the system allows one, else a copy without version control, tests and
    virtual environments. Returns the new path. Raises ValueError for a name with a dot, which
    ComfyUI cannot import, and FileNotFoundError for a folder without ``__init__.py``.
    """
    pack, base_directory = Path(pack).resolve(), Path(base_directory).resolve()
    if "." in name or "/" in name or "\\" in name:
        raise ValueError(f"a pack's folder name must have no dot or slash: {name!r}")
    if not (pack / "__init__.py").is_file():
        raise FileNotFoundError(f"{pack} is no node pack: it has no __init__.py")
    target = base_directory / "custom_nodes" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    elif target.resolve() == pack:
        return target
    try:
        target.symlink_to(pack, target_is_directory=True)
    except (OSError, NotImplementedError):
        # Windows without developer mode, some network drives; or a copy from an earlier run.
        ignore = shutil.ignore_patterns(*_NOT_IN_A_PACK)

        def skip(folder: str, names: list[str]) -> set[str]:
            own = {n for n in names if (Path(folder) / n).resolve() == base_directory}
            return ignore(folder, names) | own

        shutil.copytree(pack, target, ignore=skip, dirs_exist_ok=True)
    return target


def _candidates(start: Path) -> Iterator[Path]:
    # A linked pack has two chains of parents: where ComfyUI sees it and where it really lies.
    for origin in (Path(os.path.abspath(start)), start.resolve()):
        yield from origin.parents
    workspace = _comfy_cli_workspace()
    if workspace is not None:
        yield workspace
    yield Path.home() / "comfy" / "ComfyUI"


def _comfy_cli_workspace() -> Path | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(comfy_cli_config(), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        logger.warning("comfy-cli's settings cannot be read: %s", error)
        return None
    workspace = parser.defaults().get("default_workspace", "").strip()
    return Path(workspace).expanduser() if workspace else None
