"""The data files that the pack ships in ``stats/``, each with its provenance."""

from pathlib import Path

STATS_DIRECTORY = Path(__file__).resolve().parent.parent / "stats"

CORPUS = STATS_DIRECTORY / "corpus.txt"
"""Varied image prompts, English and Chinese, one a line: what a profile or a reference is measured
on where no prompts are given."""
DEMO_PROMPTS = STATS_DIRECTORY / "demo_prompts.txt"
"""The dozen prompts of ``layerlab demo``."""
PUBLISHED_REFERENCE = STATS_DIRECTORY / "qwen3_4b_layer-2_published.json"
"""What was published of Qwen3-4B at layer -2."""
Z_IMAGE = STATS_DIRECTORY / "z_image.json"
"""Published figures of Z-Image itself."""
