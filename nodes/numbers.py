"""Inputs and validation of numbers. The host lets NaN through: it compares false with any limit."""

from __future__ import annotations

from comfy_api.latest import io

from ..core.checks import require_finite_number

LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 1.0, 10000.0


def threshold_input(reference: str = "the reference's") -> io.Float.Input:
    """The ``threshold`` input of every node that looks for outliers."""
    return io.Float.Input(
        "threshold",
        default=10.0,
        min=LOWEST_THRESHOLD,
        max=HIGHEST_THRESHOLD,
        step=0.5,
        tooltip=f"A dimension is out of line when its std is over this many times {reference} "
        "(loud) or under one such part of it (quiet).",
    )


def check_threshold(threshold: float | None) -> bool | str:
    """:func:`check_number` with the limits of :func:`threshold_input`."""
    return check_number("threshold", threshold, LOWEST_THRESHOLD, HIGHEST_THRESHOLD)


def check_number(name: str, value: float | None, low: float, high: float) -> bool | str:
    """True, or the message that the host shows. None is a connected input, checked when it runs."""
    try:
        if value is not None:
            require_finite_number(name, value, low, high)
    except ValueError as error:
        return str(error)
    return True


def check_numbers(*numbers: tuple[str, float | None, float, float]) -> bool | str:
    """:func:`check_number` for several (name, value, low, high): the first message, or True."""
    verdicts = (check_number(*number) for number in numbers)
    return next((verdict for verdict in verdicts if verdict is not True), True)
