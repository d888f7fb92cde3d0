"""What a node's run says on the node: verdict, table and rest, drawn by ``web/reports.js``."""

from __future__ import annotations

from typing import Any

from ..core.tables import split_report

PARTS = "layer_lab_report"
"""The key of a node's answer that holds the three parts; ``text`` is the whole, as ever."""


def shown_report(text: str, verdict: str = "", picture: Any = None) -> dict[str, Any]:
    """The ``ui`` of a node's answer.

    Lists, as the host takes every dict in a node's answer for one more picture.

    Args:
        text: the whole report.
        verdict: in one line what it comes to; its first line if not given.
        picture: the host's own preview of an image that the node shows too.
    """
    first, table, rest = split_report(text)
    if verdict:
        rest = "\n".join(filter(None, (first, rest)))
    answer = {} if picture is None else dict(picture.as_dict())
    return {**answer, "text": (text,), PARTS: [verdict or first, table, rest]}
