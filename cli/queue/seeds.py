"""The seeds that ``--repeat`` moves on, whichever way they reach a sampler.

What a graph in API format tells: an input called seed is one. It may hold the number itself, or
take it from another node, which may hand it on from a third.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from .workflow import Target, Workflow

SEED_RANGE = 2**64
_SEED = re.compile(
    r"(^|[_.\s-])((?:sub)?seed|rng)(s|_?num|_?value|[_.\s-]?\d+|_?int|_[a-z])?$", re.I
)
_NUMBER_NAMES = ("value", "int", "integer", "number", "num", "int_value", "a")
"""What nodes that only give out a number call it, where they have other whole numbers too."""


class Seeds(NamedTuple):
    """``moved``: the inputs that hold a seed as a number.

    ``fixed``: a line for each input of a seed that no number was found for.
    """

    moved: list[Target]
    fixed: list[str]


def find_seeds(workflow: Workflow) -> Seeds:
    """Every seed of the graph."""
    moved: dict[Target, None] = {}
    fixed: list[str] = []
    for node_id, node in workflow.graph.items():
        for name, value in node["inputs"].items():
            if not _SEED.search(name):
                continue
            target = Target(node_id, name)
            if workflow.is_link(value):
                found = list(_behind(workflow, value[0], set()))
                moved.update(dict.fromkeys(found))
                if not found:
                    fixed.append(_unknown(workflow, target, value[0]))
            elif is_number(value):
                moved[target] = None
    for target in moved:
        value = workflow.graph[target.node]["inputs"][target.input]
        if number_of(value) < 0:
            fixed.append(
                f"{target.input!r} of {workflow.name(target.node)} is {value}: it is left so, for "
                "some nodes take that as the wish to draw one themselves"
            )
    return Seeds(list(moved), fixed)


def is_number(value: Any) -> bool:
    """A whole number, or text that is one."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*-?\d{1,20}\s*", value) is not None and value.isascii()
    return isinstance(value, int) and not isinstance(value, bool)


def number_of(value: Any) -> int:
    """The number that :func:`is_number` saw."""
    return int(value)


def moved_on(value: Any, turn: int) -> Any:
    """``value`` as it is in the repeat ``turn``, counted from 0; of the same kind.

    A negative one (drawn by the node, in some packs) is left as it is.

    >>> moved_on(2**64 - 1, 1), moved_on("41", 1), moved_on(-1, 1)
    (0, '42', -1)
    """
    if not turn or not is_number(value) or number_of(value) < 0:
        return value
    number = number_of(value)
    number = (number + turn) % SEED_RANGE
    return str(number) if isinstance(value, str) else number


def _behind(workflow: Workflow, node_id: str, seen: set[str]) -> Iterator[Target]:
    """The inputs that hold the number which the node gives out.

    Its own seed; or, if it takes from other nodes, what they give, for it hands that on or
    computes with it; or its only whole number.
    """
    if node_id in seen:
        return
    seen.add(node_id)
    inputs = workflow.graph[node_id]["inputs"]
    links = [value[0] for value in inputs.values() if workflow.is_link(value)]
    own = [name for name, value in inputs.items() if _SEED.search(name) and is_number(value)]
    if own:
        yield from (Target(node_id, name) for name in own)
        return
    if links:
        for source in links:
            yield from _behind(workflow, source, seen)
        return
    whole = [name for name, value in inputs.items() if is_number(value)]
    if len(whole) > 1:
        whole = [name for name in _NUMBER_NAMES if name in whole][:1]
    yield from (Target(node_id, name) for name in whole)


def _unknown(workflow: Workflow, target: Target, source: str) -> str:
    return (
        f"{target.input!r} of {workflow.name(target.node)} comes from {workflow.name(source)}, "
        "where no number can be told to be the seed"
    )
