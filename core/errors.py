"""The base of the pack's errors, apart from what needs torch: a command starts sooner without."""

from __future__ import annotations


class LayerLabError(Exception):
    """Base of the pack's errors: its message says what was given, what is wrong and what to do.

    Commands and nodes show the message alone, without a traceback.
    """
