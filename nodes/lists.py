"""Nodes that take whole lists: the host's rule for the inputs that are no lists to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def runs(inputs: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """One set of values per run: as many as the longest list, shorter lists repeat their last.

    That is what ComfyUI does itself for a node without ``is_input_list``.

    Raises:
        ValueError: if one of the lists is empty; the message names the input.
    """
    for name, values in inputs.items():
        require_values(name, values)
    for number in range(max(len(values) for values in inputs.values())):
        yield {name: values[min(number, len(values) - 1)] for name, values in inputs.items()}


def only(name: str, values: Sequence[Any]) -> Any:
    """The value of an input that counts once for the whole list.

    Raises:
        ValueError: if there are several different ones, or none.
    """
    require_values(name, values)
    first, *others = values
    if any(other != first for other in others):
        raise ValueError(
            f"{name} is a list of {len(values)} values, but it holds for all images: connect one"
        )
    return first


def require_values(name: str, values: Sequence[Any]) -> None:
    """Raise ValueError, naming the input, if its list is empty."""
    if not values:
        raise ValueError(
            f"input {name} is an empty list: the node that it comes from gave nothing; connect one "
            "that gives at least one value"
        )
