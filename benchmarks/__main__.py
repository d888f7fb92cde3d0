"""``python -m benchmarks``: the table, its JSON and the picture of how the cost grows."""

from __future__ import annotations

import argparse
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

from . import encoding, graphs, growth, importing, profiling, queueing, states  # noqa: E402
from .measure import QUIET, Row, share_of_machine  # noqa: E402
from .table import machine, markdown, text  # noqa: E402

TOPICS = {
    "states": ("masking", "editing"),
    "profiling": ("profiling",),
    "encoding": ("encoding",),
    "graph": ("graph",),
    "import": ("import",),
    "queue": ("queue",),
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
    return {
        "states": lambda: states.rows(device, rounds, 0.0 if options.quick else 0.2),
        "profiling": lambda: profiling.rows(rounds, (20, 40) if options.quick else (100, 1000)),
        "encoding": lambda: encoding.rows(1 if options.quick else 3),
        "graph": lambda: graphs.rows(rounds),
        "import": lambda: importing.rows(rounds),
        "queue": lambda: queueing.rows(20 if options.quick else queueing.PROMPTS),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = (*TOPICS, "growth")
    found.add_argument("--only", nargs="+", choices=names, default=names, metavar="TOPIC")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    found.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    found.add_argument("--quick", action="store_true", help="few repetitions: a smoke test")
    return found


def main() -> None:
    command = parser()
    options = command.parse_args()
    if options.quick and options.out == command.get_default("out"):
        command.error("--quick is no measurement: give it a folder of its own with --out")
    options.out.mkdir(parents=True, exist_ok=True)
    about = machine(options.device)
    show(about)
    earlier = earlier_results(options.out, about)
    rows: list[Row] = []
    refused: list[str] = []
    for name, measure in topics(options).items():
        if name not in options.only:
            rows += [Row(**row) for row in earlier.get("rows", []) if row["topic"] in TOPICS[name]]
            continue
        before = share_of_machine()
        for row in measure():
            after = share_of_machine()
            share, before = min(before, after), after
            if share < QUIET and not options.quick:
                refused.append(row.what)
                show(f"not published, as others had {1 - share:.0%} of the machine: {text(row)}")
            else:
                rows.append(row)
                show(text(row))
    document = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": about,
        "python": platform.python_version(),
        "rows": [asdict(row) for row in rows],
        "refused": refused,
    }
    if "growth" in earlier:
        document["growth"] = earlier["growth"]
    if "growth" in options.only:
        show("growth")
        before = share_of_machine()
        found = growth.measure((10, 100) if options.quick else growth.PROMPTS)
        if min(before, share_of_machine()) < QUIET and not options.quick:
            refused.append("growth")
            show("growth is not published: the machine was not quiet")
        else:
            document["growth"] = found
            growth.draw(found, options.out / "growth.png", about)
    write(options.out / "results.json", json.dumps(document, indent=1) + "\n")
    write(options.out / "results.md", f"{about}\n\n{markdown(rows)}\n")
    show(f"written: {options.out}")
    if refused:
        sys.exit(f"{len(refused)} figures are not published: the machine was not quiet")


def show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(path: Path, content: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
