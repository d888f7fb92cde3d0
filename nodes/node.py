"""The base of the pack's nodes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ..core.checks import LayerLabError


class Node(io.ComfyNode):
    """A node whose errors reach the page as one sentence.

    ComfyUI shows an exception as "type: message", and a type that is not Python's own with the path
    of its module, which for this pack is the path of its folder. So the pack's own errors leave
    ``execute`` as the built-in error that they are a kind of.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = cls.__dict__.get("execute")
        # The host copies a class with all its attributes for every run: those are wrapped already.
        if own is not None and not hasattr(own.__func__, "__wrapped__"):
            cls.execute = classmethod(_with_plain_errors(own.__func__))


def _with_plain_errors(execute: Callable) -> Callable:
    @functools.wraps(execute)
    def plain(cls: type, *args: Any, **inputs: Any) -> Any:
        try:
            return execute(cls, *args, **inputs)
        except LayerLabError as error:
            plain_type = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
            raise plain_type(str(error)).with_traceback(error.__traceback__) from None

    return plain
