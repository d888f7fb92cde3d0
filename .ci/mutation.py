#!/usr/bin/env python3
"""Puts faults into the code, one at a time, and prints how many of them the tests notice.

    python -m pip install -e ".[test,mutation]"
    python .ci/mutation.py [--only findings masking] [--every 50]

Not part of .ci/run: every fault costs a run of the tests that belong to its module, forked from a
process that has imported torch and the rest. The faults are cosmic-ray's
(another operator, another comparison, another number, a negated condition ...), put into a copy of
the tracked files. A fault that no test notices is shown as a diff. Needs an os.fork: no Windows.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS_OF_THE_COMMANDS = (
    "cli/profile/findings.py",
    "cli/profile/compare.py",
    "cli/profile/ratios.py",
    "cli/profile/against.py",
    "cli/profile/report.py",
    "cli/dim/report.py",
)
ALSO = {
    "core/caption_cache": "tests/cli/encode",
    "core/concept": "tests/cli/concept",
    "core/dimension": "tests/cli/dim",
    "core/profile": "tests/cli/profile",
    "core/outliers": "tests/core/draw",
}
"""Folders of modules -> where else in tests/ a fault in them must be noticed."""
WITH_A_HOST = ("core/dit/gain.py", "core/dit/response.py", "core/draw/gain_picture.py")
"""Not measured: the tests of these run in a ComfyUI, tests/nodes."""
LEFT_OUT = (
    "BitOr",
    "RemoveDecorator",
    "ExceptionReplacer",
    "VariableReplacer",
    "VariableInserter",
)
"""Operators that are not used: in annotations, which nothing reads, or with hundreds of variants.
"""


def mutants(source: str) -> Iterator[str]:
    """The source with one fault each; every place and operator once."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    seen = {source}
    for name in operator_names():
        if any(part in name for part in LEFT_OUT):
            continue
        operator, occurrence = get_operator(name)(), 0
        while (mutant := mutate_code(source, operator, occurrence)) is not None:
            occurrence += 1
            if mutant not in seen:
                seen.add(mutant)
                yield mutant


def modules(folder: Path) -> list[str]:
    """What can be measured: all of core/, and the words of the commands."""
    core = sorted(path.relative_to(folder).as_posix() for path in folder.glob("core/**/*.py"))
    found = [*core, *(name for name in WORDS_OF_THE_COMMANDS if (folder / name).exists())]
    return [name for name in found if "__init__" not in name and name not in WITH_A_HOST]


def tests_of(folder: Path, module: str) -> list[list[str]]:
    """The test files named after a module, then those of its folder, then those of elsewhere."""
    parent, stem = Path(module).parent, Path(module).stem
    named = sorted(map(str, (folder / "tests" / parent).glob(f"test_{stem}*.py")))
    own = sorted(map(str, (folder / "tests" / parent).glob("test_*.py")))
    also = ALSO.get(str(parent))
    return [tests for tests in (named, own, [also] if also else []) if tests]


def is_noticed(stages: list[list[str]]) -> bool:
    """Whether a test fails, or takes far longer than it should; the stages come one after
    another."""
    return any(fails(tests, 30 + 10 * seconds_as_it_is(tuple(tests))) for tests in stages)


@functools.cache
def seconds_as_it_is(tests: tuple[str, ...]) -> int:
    started = time.monotonic()
    if fails(list(tests), 3600):
        raise SystemExit(f"they fail as it is: {' '.join(tests)}")
    return round(time.monotonic() - started)


def fails(tests: list[str], limit: int) -> bool:
    """Whether one of ``tests`` fails, in a process of its own that ends after ``limit`` seconds."""
    child = os.fork()
    if not child:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        signal.alarm(limit)
        import pytest

        os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]) != 0)
    return os.waitpid(child, 0)[1] != 0


def measure(folder: Path, module: str, every: int) -> tuple[int, int]:
    """Faults put in and noticed; prints those that were not."""
    path = folder / module
    source = path.read_text(encoding="utf-8")
    tests = tests_of(folder, module)
    for stage in tests:
        seconds_as_it_is(tuple(stage))
    tried = noticed = 0
    for mutant in list(mutants(source))[::every]:
        path.write_text(mutant, encoding="utf-8")
        tried += 1
        if is_noticed(tests):
            noticed += 1
        else:
            both = source.splitlines(), mutant.splitlines()
            changed = list(difflib.unified_diff(*both, module, module, lineterm="", n=0))[2:]
            sys.stdout.write("\n".join(changed) + "\n")
    path.write_text(source, encoding="utf-8")
    return tried, noticed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the modules' paths")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th fault")
    options = parser.parse_args()
    # Compiled files are told from the source by its time and size, which a fault may keep.
    sys.dont_write_bytecode = True
    rows = []
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "zimage_layer_lab"
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
        for name in listed.stdout.decode().splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        sys.path.insert(0, base)
        os.chdir(folder)
        # What every run needs, imported once; nothing of the pack itself.
        import matplotlib.figure
        import pytest
        import scipy.stats
        import torch

        del matplotlib, pytest, scipy, torch
        total = [0, 0]
        for module in modules(folder):
            if any(part in module for part in options.only):
                started = time.monotonic()
                found = measure(folder, module, options.every)
                total = [sum(pair) for pair in zip(total, found, strict=True)]
                seconds = time.monotonic() - started
                rows.append(f"{module}: {found[1]} of {found[0]} noticed, {seconds:.0f} s")
                sys.stdout.write(f"{rows[-1]}\n")
                sys.stdout.flush()
    rows.append(f"{total[1]} of {total[0]} noticed: {total[1] / max(total[0], 1):.1%}")
    sys.stdout.write("\n".join(["", *rows]) + "\n")


if __name__ == "__main__":
    main()
