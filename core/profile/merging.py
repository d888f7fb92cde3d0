"""Merging many partial results in an order that their number alone decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


def merge_groups(
    results: Iterable[Result], merge: Callable[[Result, Result], Result], size: int
) -> Iterator[tuple[Result, int]]:
    """Merge each ``size`` consecutive results as a tree, each with one of as many.

    A result is merged as soon as it can be, so a logarithm of ``size`` of them is held at once.

    Returns:
        Of each group the merged result and how many are in it: ``size``, of the last one fewer.
    """
    held: list[tuple[int, Result]] = []
    for number, result in enumerate(results, start=1):
        count = 1
        while held and held[-1][0] == count:
            result, count = merge(held.pop()[1], result), 2 * count
        held.append((count, result))
        if number % size == 0:
            yield _merge_held(held, merge)
    if held:
        yield _merge_held(held, merge)


def _merge_held(
    held: list[tuple[int, Result]], merge: Callable[[Result, Result], Result]
) -> tuple[Result, int]:
    count, merged = held.pop()
    while held:
        before, result = held.pop()
        merged, count = merge(result, merged), before + count
    return merged, count
