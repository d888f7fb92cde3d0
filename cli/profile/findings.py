"""The findings of a profile, in sentences whose every figure was measured."""

from __future__ import annotations

from collections.abc import Callable

from ...core.measure.dimension_stats import Place
from ...core.profile.profile import LayerProfile, Profile


def token_namer(token_text: Callable[[Place], str], unit: str = "prompt") -> Callable[[Place], str]:
    """A function that names the token at a place, such as ``'<s>' at 0 (prompt 3)``.

    ``token_text``: the text of the token at a place; ``unit``: :attr:`.Profile.unit`.
    """
    return lambda place: f"{token_text(place)!r} at {place.position} ({unit} {place.prompt + 1})"


def layer_finding(layer: LayerProfile, name_token: Callable[[Place], str]) -> str:
    """The loudest dimension of one layer, and the token that carries it."""
    if not layer.outliers:
        return f"Layer {layer.layer}: no dimension is 10x out of line."
    top = layer.outliers[0]
    line = (
        f"Layer {layer.layer}: dimension {top.dimension} has a std of {top.std:.4g}, "
        f"{top.ratio:.3g}x the layer's median."
    )
    if top.sink_share > 0 and top.std_without_sinks > 0:
        line += (
            f" Without sink tokens it is {top.std_without_sinks:.4g}: "
            f"{top.std / top.std_without_sinks:.0f}x less."
        )
    return (
        f"{line} The token that carries it most is {name_token(top.top)}; sink tokens carry "
        f"{top.sink_share:.1%} of its variance ({top.kind})."
    )


def sink_finding(profile: Profile) -> str:
    """Where sink tokens stand, and where the massive activation emerges and falls."""
    places = sorted({place for positions in profile.sink_positions for place in positions})
    held = sum(map(bool, profile.sink_positions))
    if not places:
        line = f"No token of {profile.prompts} {profile.unit}s is a sink."
    else:
        shown = ", ".join(map(str, places[:10])) + (", ..." if len(places) > 10 else "")
        line = (
            f"Sink tokens stand at position {shown} of {held} of {profile.prompts} {profile.unit}s."
        )
    if profile.emergence_layer is None:
        return f"{line} Emergence and fall need every layer to be measured."
    line += (
        " The largest relative rise of max|x| is at hidden state "
        f"{profile.emergence_layer} of {profile.blocks}"
    )
    if profile.fall_layer is None:
        return f"{line}; it does not fall again before the final norm."
    return f"{line}, the largest drop after it at {profile.fall_layer}."
