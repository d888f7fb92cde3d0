"""The values of a saved node's widgets by name, as ComfyUI's page reads them back.

The page saves them as a list in the order in which it makes the widgets, which is that of the
node's inputs in ``/object_info``; newer pages save them by name too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ...core.errors import LayerLabError

AUTOGROW, DYNAMIC_COMBO = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"
_SIMPLE = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
_DRAWN = ("COLOR", "COLORS", "CURVE", "RANGE", "BOUNDING_BOXES", "COMPOSITOR", "WEBCAM")
_COMPARE = "IMAGECOMPARE"
"""A slider over two pictures, of which nothing is saved; the server wants it all the same."""
_WIDGETS = (*_SIMPLE, *_DRAWN, DYNAMIC_COMBO, _COMPARE)
_CONTROLS = ("fixed", "increment", "increment-wrap", "decrement", "randomize")
"""What the page does with a seed after a run: a widget of its own, which is never sent."""
_SEEDS = ("seed", "noise_seed")
_GROUPS = ("required", "optional")


class UnreadableNode(LayerLabError):
    """A saved node whose values cannot be told; the message says why, after the node's name."""


class Input(NamedTuple):
    """An input of a node: ``kind`` is its type, "COMBO" for a list of choices."""

    name: str
    kind: str
    options: Mapping[str, Any]

    @property
    def is_widget(self) -> bool:
        """Whether the page shows a widget for it."""
        known = self.kind in _WIDGETS or "widgetType" in self.options
        return known and not self.options.get("forceInput")


def inputs_of(described: Mapping[str, Any]) -> Iterator[Input]:
    """The inputs in order. ``described``: a node's part of /object_info, or of an option's."""
    groups = described.get("input") or described
    order = described.get("input_order") or {}
    for group in _GROUPS:
        there = groups.get(group) or {}
        for name in [*order.get(group, []), *there]:
            found = there.get(name)
            if not isinstance(found, list) or not found:
                continue
            options = found[1] if len(found) > 1 and isinstance(found[1], Mapping) else {}
            kind = "COMBO" if isinstance(found[0], list) else str(found[0])
            if kind == "COMBO" and isinstance(found[0], list):
                options = {"options": found[0], **options}
            yield Input(name, kind, options)
            there = {key: value for key, value in there.items() if key != name}


def widget_values(node: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the node's widgets by the names under which the server takes them.

    Raises:
        UnreadableNode: if what is saved does not fit the node that the server has.
    """
    saved = node.get("widgets_values_named") or node.get("widgets_values") or []
    shown = [
        slot["name"]
        for slot in node.get("inputs") or []
        if isinstance(slot, Mapping) and slot.get("widget") and isinstance(slot.get("name"), str)
    ]
    values: dict[str, Any] = {}
    if isinstance(saved, Mapping):
        _assign(inputs_of(described), "", shown, lambda name, _: saved.get(name), values)
    elif isinstance(saved, list):
        rest = list(saved)

        def following(name: str, control: bool) -> Any:
            value = rest.pop(0) if rest else None
            if control and rest and rest[0] in _CONTROLS:
                rest.pop(0)
            return value

        _assign(inputs_of(described), "", shown, following, values)
    return {name: value for name, value in values.items() if value is not None}


def _assign(
    inputs: Iterator[Input],
    prefix: str,
    shown: list[str],
    take: Callable[[str, bool], Any],
    values: dict[str, Any],
) -> None:
    seen = set()
    for one in inputs:
        name = prefix + one.name
        if one.name in seen:
            continue
        seen.add(one.name)
        if one.kind == AUTOGROW:
            # As many as the page shows; those that only take links have no value.
            for slot in (slot for slot in shown if slot.startswith(f"{name}.")):
                values[slot] = take(slot, False)
        elif one.is_widget:
            values[name] = _checked(one, take(name, _has_control(one)))
            if one.kind == DYNAMIC_COMBO:
                options = one.options.get("options") or []
                chosen = next((o for o in options if o.get("key") == values[name]), None)
                if chosen is not None:
                    below = inputs_of(chosen.get("inputs") or {})
                    _assign(below, f"{name}.", shown, take, values)


def _has_control(one: Input) -> bool:
    return bool(one.options.get("control_after_generate", one.kind == "INT" and one.name in _SEEDS))


def _checked(one: Input, value: Any) -> Any:
    """``value``, or the default where none was saved; refused if it is of another kind, for the
    node has changed since then and the values belong to other inputs."""
    if value is None:
        choices = one.options.get("options") or [None]
        first = {"COMBO": choices[0], _COMPARE: {}}.get(one.kind)
        return one.options.get("default", first)
    fits = {
        "INT": isinstance(value, int) or isinstance(value, float) and value.is_integer(),
        "FLOAT": isinstance(value, int | float),
        "BOOLEAN": isinstance(value, bool | int),
        "STRING": isinstance(value, str | int | float),
    }.get(one.kind, True)
    if not fits or isinstance(value, bool) and one.kind in ("INT", "FLOAT"):
        raise UnreadableNode(
            f"its {one.name!r} would be {str(value)[:60]!r}, but the server's node takes "
            f"{one.kind} there: it has changed since the workflow was saved, or has "
            "widgets that only the page knows"
        )
    return value
