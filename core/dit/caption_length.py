"""How long a caption Z-Image knows; the figure and its source are in ``stats/z_image.json``."""

from __future__ import annotations

import json
from functools import cache

from ..shipped import Z_IMAGE


@cache
def trained_positions() -> int:
    """About how many caption positions Z-Image was trained on. Longer captions run, unproven."""
    facts = json.loads(Z_IMAGE.read_text(encoding="utf-8"))
    return facts["trained_positions"]


def length_remarks(tokens: int) -> list[str]:
    """One line for a report if a caption of ``tokens`` tokens is longer than that, else none."""
    known = trained_positions()
    if tokens <= known:
        return []
    return [f"{tokens} tokens: more than the about {known} positions Z-Image was trained on"]
