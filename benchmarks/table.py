"""How the figures are shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from .measure import Row


def machine(device: str) -> str:
    """The machine and the versions that the figures depend on, in one line."""
    parts = [_processor(), f"{os.cpu_count()} threads", f"torch {torch.__version__}"]
    if device.startswith("cuda"):
        parts.insert(0, torch.cuda.get_device_name(device))
    for module in ("transformers", "safetensors"):
        try:
            parts.append(f"{module} {__import__(module).__version__}")
        except ImportError:
            continue
    return ", ".join([*parts, f"Python {platform.python_version()}"])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _figures(row: Row) -> tuple[str, str, str, str]:
    theirs = f"{row.theirs:.4g} {row.unit}" if row.against else ""
    met = {True: "yes", False: "no", None: ""}[row.met]
    ratio = f"{row.ratio:.2f}"
    if row.kind == "times faster":
        ratio += " x faster"
    elif row.kind == "seconds":
        ratio = ""
    return f"{row.ours:.4g} {row.unit}", theirs, ratio, f"{row.goal} {met}".strip()


def text(row: Row) -> str:
    """One row for a terminal."""
    ours, theirs, ratio, goal = _figures(row)
    against = f" | {row.against}: {theirs}" if row.against else ""
    return f"{row.what}: {ours}{against} | {ratio} {goal}"


def markdown(rows: Sequence[Row]) -> str:
    """All rows as a table for the README."""
    lines = ["| what | against | this pack | the other | ratio | goal, met |", "|" + "---|" * 6]
    for row in rows:
        note = f" ({row.note})" if row.note else ""
        lines.append(" | ".join([f"| {row.what}{note}", row.against, *_figures(row)]) + " |")
    return "\n".join(lines)
