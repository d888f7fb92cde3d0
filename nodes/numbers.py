"""Validation of typed-in numbers. The host lets NaN through: it compares false with any limit."""

from __future__ import annotations

from ..core.errors import require_finite_number


def check_number(name: str, value: float | None, low: float, high: float) -> bool | str:
    """True, or the message that the host shows. None is a connected input, checked when it runs."""
    try:
        if value is not None:
            require_finite_number(name, value, low, high)
    except ValueError as error:
        return str(error)
    return True
