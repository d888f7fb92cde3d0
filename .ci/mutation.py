#!/usr/bin/env python3
"""Puts faults into the code, one at a time, and prints how many of them the tests notice.

    python -m pip install -e ".[test,mutation]"
    python .ci/mutation.py [--only findings masking] [--every 50] [--jobs 2]

Not part of .ci/run: it takes hours for all faults. The faults are cosmic-ray's (another operator,
another comparison, another number, a negated condition ...), put into copies of the tracked files.
First the quick tests run once, and coverage.py notes which of them executes which line. A fault is
then given to the tests that execute its line, those of its own module first and the quick ones
first; if none of them fails, to the whole files of the nearest. What nobody notices is shown as a
diff. Needs an os.fork: no Windows.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACK = "zimage_layer_lab"
WORDS_OF_THE_COMMANDS = (
    "cli/profile/findings.py",
    "cli/profile/compare.py",
    "cli/profile/ratios.py",
    "cli/profile/against.py",
    "cli/profile/report.py",
    "cli/dim/report.py",
)
WITH_A_HOST = ("core/dit/gain.py", "core/dit/response.py", "core/draw/gain_picture.py")
"""Not measured: the tests of these run in a ComfyUI, tests/nodes."""
QUICK_TESTS = ("-m", "not slow and not comfy")
LEFT_OUT = (
    "BitOr",
    "RemoveDecorator",
    "ExceptionReplacer",
    "VariableReplacer",
    "VariableInserter",
)
"""Operators that are not used: in annotations, which nothing reads, or with hundreds of variants.
"""
FAR_SECONDS = 40.0
"""Tests of other folders than the fault's are tried as long as they take no more than this."""


class Fault(NamedTuple):
    """One fault: which place of a module, by the name of cosmic-ray's operator and its count."""

    module: str
    operator: str
    occurrence: int
    line: int


class Covered(NamedTuple):
    """Which tests execute which line of which module, and the seconds that each of them takes."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]


COVERED = Covered({}, {})
"""What a worker knows of it."""


@functools.cache
def modules() -> list[str]:
    """What can be measured: all of core/, and the words of the commands."""
    core = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("core/**/*.py"))
    return [
        name
        for name in (*core, *WORDS_OF_THE_COMMANDS)
        if "__init__" not in name and name not in WITH_A_HOST
    ]


def faults_of(module: str) -> Iterator[Fault]:
    """Every place and operator once, in the order of the operators."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast_from_path(ROOT / module)
    for name in operator_names():
        if any(part in name for part in LEFT_OUT):
            continue
        operator = get_operator(name)()
        places = (place for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(places):
            yield Fault(module, name, occurrence, start[0])


def mutant_of(fault: Fault, source: str) -> str | None:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    return mutate_code(source, get_operator(fault.operator)(), fault.occurrence)


class Watched:
    """A pytest plugin: tells coverage.py which test runs, and keeps how long each takes."""

    def __init__(self, coverage: Any) -> None:
        import pytest

        self.seconds: dict[str, float] = defaultdict(float)

        @pytest.hookimpl(wrapper=True)
        def protocol(item: Any) -> Iterator[None]:
            coverage.switch_context(item.nodeid)
            try:
                return (yield)
            finally:
                coverage.switch_context("")

        self.pytest_runtest_protocol = protocol

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] += report.duration


class Quick:
    """A pytest plugin: a failing example is enough, hypothesis need not look for a smaller one."""

    def pytest_sessionstart(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "faults", settings.get_profile("layerlab"), derandomize=True, phases=phases
        )
        settings.load_profile("faults")


def run_tests(tests: Sequence[str], *plugins: object) -> int:
    import pytest

    return pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], plugins=[Quick(), *plugins])


def in_child(function: Any, limit: int) -> bool:
    """Whether ``function`` answers 0, in a silent process of its own that ends after ``limit``
    seconds of a processor, or ten times as many of waiting."""
    child = os.fork()
    if not child:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        signal.alarm(10 * limit)
        os._exit(function())
    return os.waitpid(child, 0)[1] == 0


def cover(folder: Path, tests: Sequence[str]) -> Covered:
    """Run ``tests`` of ``folder`` once."""
    answer = folder.parent / "covered.json"

    def measure() -> int:
        import coverage

        running = coverage.Coverage(
            data_file=None, include=[str(folder / name) for name in modules()]
        )
        running.start()
        watched = Watched(running)
        failed = run_tests([*tests, *QUICK_TESTS], watched)
        running.stop()
        data = running.get_data()
        lines = {name: data.contexts_by_lineno(str(folder / name)) for name in modules()}
        answer.write_text(json.dumps([lines, watched.seconds]), encoding="utf-8")
        return failed

    if not in_child(measure, 3600):
        raise SystemExit(f"the tests fail as they are: {' '.join(tests)}")
    lines, seconds = json.loads(answer.read_text(encoding="utf-8"))
    return Covered(
        {name: {int(line): tests for line, tests in of.items()} for name, of in lines.items()},
        seconds,
    )


def copy_of_the_pack(base: Path) -> Path:
    """The tracked files in a folder under ``base``."""
    folder = base / PACK
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def work_in(folder: Path) -> None:
    """Import from this copy of the pack, and run its tests."""
    sys.path.insert(0, str(folder.parent))
    os.chdir(folder)


def stages(fault: Fault, covered: Covered) -> Iterator[list[str]]:
    """The tests that a fault is given to: those that execute its line, then whole files."""
    lines = covered.lines[fault.module]
    near = [line for line in sorted(lines) if line <= fault.line][-1:]  # a statement of many lines
    tests = {test for line in (fault.line, *near) for test in lines.get(line, ()) if test}
    named, folder = f"test_{Path(fault.module).stem}", f"tests/{Path(fault.module).parent}/"

    def distance(test: str) -> tuple[bool, bool, float]:
        file = test.split("::")[0]
        return named not in file, not file.startswith(folder), covered.seconds.get(test, 0)

    chosen, far = [], 0.0
    for test in sorted(tests, key=distance):
        if distance(test)[1]:
            far += covered.seconds.get(test, 0)
            if far > FAR_SECONDS:
                break
        chosen.append(test)
    if chosen:
        yield chosen
    # What a fixture of several tests did is put down to the first of them; what is executed once,
    # at the import, to none.
    own = sorted(file for file in covered.seconds if file.startswith(folder + named))
    files = dict.fromkeys(test.split("::")[0] for test in (*chosen, *own))
    if files:
        yield list(files)[:3]


def try_out(fault: Fault) -> str | None:
    """None where the code stays the same, "" where a test notices, else the fault as a diff."""
    path = Path(fault.module)
    source = path.read_text(encoding="utf-8")
    mutant = mutant_of(fault, source)
    if mutant is None or mutant == source:
        return None
    path.write_text(mutant, encoding="utf-8")
    try:
        for tests in stages(fault, COVERED):
            usual = sum(
                seconds
                for test, seconds in COVERED.seconds.items()
                if test in tests or test.split("::")[0] in tests
            )
            if not in_child(lambda tests=tests: run_tests(tests), 30 + round(5 * usual)):
                return ""
    finally:
        path.write_text(source, encoding="utf-8")
    both = source.splitlines(), mutant.splitlines()
    diff = difflib.unified_diff(*both, fault.module, fault.module, lineterm="", n=0)
    return "\n".join(itertools.islice(diff, 1, None))


def start_worker(original: Path, covered: Covered) -> None:
    """A copy of the pack for each worker, and what every run of tests needs, imported once;
    nothing of the pack itself."""
    COVERED.lines.update(covered.lines)
    COVERED.seconds.update(covered.seconds)
    own = original.parent.parent / str(os.getpid()) / PACK
    work_in(Path(shutil.copytree(original, own)))
    import matplotlib.figure  # noqa: F401
    import pytest  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the modules' paths")
    parser.add_argument("--every", type=int, default=1, help="take every so many-th fault")
    parser.add_argument("--tests", nargs="*", default=["tests/core", "tests/cli"], metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=2, help="how many faults at a time")
    options = parser.parse_args()
    # Compiled files are told from the source by its time and size, which a fault may keep.
    sys.dont_write_bytecode = True
    chosen = [name for name in modules() if any(part in name for part in options.only)]
    faults = [fault for name in chosen for fault in faults_of(name)][:: options.every]
    tried, noticed = defaultdict(int), defaultdict(int)
    with tempfile.TemporaryDirectory() as base:
        started = time.monotonic()
        original = copy_of_the_pack(Path(base) / "original")
        work_in(original)
        covered = cover(original, options.tests)
        print_line(f"{len(covered.seconds)} tests, {time.monotonic() - started:.0f} s")
        with ProcessPoolExecutor(
            options.jobs, multiprocessing.get_context("fork"), start_worker, (original, covered)
        ) as pool:
            found = pool.map(try_out, faults)
            for fault, answer in zip(faults, found, strict=True):
                if answer is None:
                    continue
                tried[fault.module] += 1
                noticed[fault.module] += not answer
                if answer:
                    print_line(answer)
    for name in tried:
        print_line(f"{name}: {noticed[name]} of {tried[name]} noticed")
    both = sum(noticed.values()), sum(tried.values())
    print_line(f"{both[0]} of {both[1]} noticed: {both[0] / max(both[1], 1):.1%}")


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
