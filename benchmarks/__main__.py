"""``python -m benchmarks``: the table, its JSON and the picture of how the cost grows.

A row that was measured while the machine was at work on other things is shown and not published:
table and JSON keep the figures of an earlier run on this machine, if there is one, and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

# ComfyUI has a module `nodes` too, which this folder's parent would hide.
ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

import torch  # noqa: E402

from . import (  # noqa: E402
    encoding,
    graphs,
    growth,
    importing,
    overhead,
    profiling,
    queueing,
    states,
    waiting,
)
from .measure import Row  # noqa: E402
from .quiet import Probe, judged, probe, wait_until_quiet  # noqa: E402
from .table import machine, markdown, text  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
"""What docs/speed.md shows."""
TOPICS = {
    "states": ("masking", "editing"),
    "profiling": ("profiling",),
    "encoding": ("encoding",),
    "graph": ("graph",),
    "import": ("import",),
    "queue": ("queue",),
    "waiting": ("waiting",),
    "overhead": ("overhead",),
}
"""Which rows each choice of ``--only`` measures; the others keep the figures of an earlier run."""


def earlier_results(folder: Path, about: str) -> dict[str, Any]:
    """What a run on the same machine with the same versions left in ``folder``, else nothing."""
    path = folder / "results.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if found.get("machine") == about else {}


def topics(options: argparse.Namespace) -> dict[str, Callable[[], Iterator[Row]]]:
    """What can be measured, by name."""
    device = torch.device(options.device)
    rounds = 2 if options.quick else 5
    prompts = (20, 40) if options.quick else profiling.PROMPTS
    return {
        "states": lambda: states.rows(device, rounds, 0.0 if options.quick else 0.2),
        "profiling": lambda: profiling.rows(rounds, prompts),
        "encoding": lambda: encoding.rows(1 if options.quick else 3),
        "graph": lambda: graphs.rows(rounds),
        "import": lambda: importing.rows(rounds),
        "queue": lambda: queueing.rows(20 if options.quick else queueing.PROMPTS),
        "waiting": lambda: waiting.rows(rounds),
        "overhead": lambda: overhead.rows(rounds),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = (*TOPICS, "growth")
    found.add_argument("--only", nargs="+", choices=names, default=names, metavar="TOPIC")
    found.add_argument("--out", type=Path, default=RESULTS)
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    found.add_argument(
        "--quick", action="store_true", help="few repetitions, quiet or not: a smoke test"
    )
    found.add_argument(
        "--patience",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="how long to wait for a quiet machine before each row (default: 20)",
    )
    return found


def main() -> None:
    options = parser().parse_args()
    if options.quick and options.out.resolve() == RESULTS.resolve():
        parser().error("--quick measures too little to be published: give another folder as --out")
    options.out.mkdir(parents=True, exist_ok=True)
    look = (lambda: Probe(1.0, 1.0)) if options.quick else probe
    about = machine(options.device)
    show(about)
    earlier = earlier_results(options.out, about)
    known = [Row(**row) for row in earlier.get("rows", [])]
    rows = {name: [row for row in known if row.topic in TOPICS[name]] for name in TOPICS}
    figures = {"growth": earlier["growth"]} if "growth" in earlier else {}
    refused = 0
    for name, measure in topics(options).items():
        if name not in options.only:
            continue
        new = []
        for row, found in judged(measure(), options.patience, look):
            show(text(row) if found.is_quiet else f"NOT PUBLISHED: {text(row)} ({found})")
            same = [one for one in known if (one.what, one.against) == (row.what, row.against)]
            new += [row] if found.is_quiet else same
            refused += not found.is_quiet
        rows[name] = new
        save(options.out, about, all_of(rows), figures)
    if "growth" in options.only:
        found = wait_until_quiet(options.patience, look)
        show("growth" if found.is_quiet else f"growth is not measured: {found}")
        refused += not found.is_quiet
        if found.is_quiet:
            figures["growth"] = growth.measure((10, 100) if options.quick else growth.PROMPTS)
            growth.draw(figures["growth"], options.out / "growth.png", about)
            save(options.out, about, all_of(rows), figures)
    show(f"written: {options.out}\n\n{page(about, all_of(rows))}")
    if refused:
        raise SystemExit(f"not published, for the machine was at work on other things: {refused}")


def save(folder: Path, about: str, rows: list[Row], figures: dict[str, Any]) -> None:
    """What was measured so far, after each topic: a run that is cut off loses one."""
    document = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": about,
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
        **figures,
    }
    write(folder / "results.json", json.dumps(document, indent=1) + "\n")
    write(folder / "results.md", page(about, rows))


def all_of(rows: dict[str, list[Row]]) -> list[Row]:
    return [*itertools.chain.from_iterable(rows.values())]


def page(about: str, rows: list[Row]) -> str:
    return f"{about}\n\n{markdown(rows)}\n"


def show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(path: Path, content: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
