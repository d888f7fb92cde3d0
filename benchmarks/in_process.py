"""Run one task of a benchmark in this process and write its answer; see ``in_own_process``."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def peak_bytes() -> int:
    """The most memory that this process ever held at once. 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main() -> None:
    module, task, answer, *arguments = sys.argv[1:]
    # ComfyUI has packages of the same names as this folder's parent.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path.cwd()]
    found = importlib.import_module(f"benchmarks.{module}").main(task, *arguments)
    Path(answer).write_text(json.dumps({**found, "peak_bytes": peak_bytes()}), encoding="utf-8")


if __name__ == "__main__":
    main()
