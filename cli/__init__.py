"""The command ``layerlab``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status (0 done, 1 failed with a message)."""
    options = _parser().parse_args(arguments)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="layerlab", description="Look into the hidden states that Z-Image is conditioned on."
    )
    parser.add_argument("--version", action="version", version=f"layerlab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="profile a real small language model, and run a workflow where ComfyUI is found",
        description="Profiles SmolLM2-135M-Instruct over a dozen image prompts, prints which "
        "dimension is out of line and which token carries it, and writes report.html, "
        "profile.json and PNGs. Where a ComfyUI is found it also runs layer_compare there, on "
        "tiny random weights.",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("layerlab-demo"),
        help="folder for what is written (default: %(default)s)",
    )
    demo.add_argument("--no-comfyui", action="store_true", help="leave the ComfyUI part out")
    demo.set_defaults(run=_demo)
    return parser


def _demo(options: argparse.Namespace) -> int:
    # The demo shows its own progress; transformers' bars would write across it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        from .demo import run_demo
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"layerlab demo needs the package {error.name}: "
            'python -m pip install "zimage-layer-lab[demo]"\n'
        )
        return 1
    return run_demo(options.out, with_comfyui=not options.no_comfyui)
