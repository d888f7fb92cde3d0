"""``--reference``: what a profile's dimensions are judged against, checked and in words."""

from __future__ import annotations

from ...core.checks import LayerLabError
from ...core.measure.reference import Reference
from ...core.profile.profile import Profile, ProfileStats
from ...core.tables import enumerate_some

MOST_NAMED = 5
"""How many layers of another number than the reference's a note names."""


class ReferenceWidthError(LayerLabError, ValueError):
    """The reference has another width than the model; the message names both."""


def require_fit(reference: Reference | None, width: int | None) -> None:
    """Raise ReferenceWidthError unless ``reference`` fits a model of this width (None: not known
    yet)."""
    if reference is None or width is None:
        return
    try:
        reference.require_width(width)
    except ValueError as error:
        raise ReferenceWidthError(f"--reference: {error}") from None


def config_width(config: object) -> int | None:
    """The width that a configuration of transformers states, if it does."""
    width = getattr(config.get_text_config(), "hidden_size", None)
    return width if isinstance(width, int) else None


def reference_notes(profile: Profile, stats: ProfileStats, fingerprint: str) -> list[str]:
    """What is to be known about the reference of a profile, in sentences; none without one.

    Args:
        fingerprint: of the model that was profiled.
    """
    reference = profile.reference
    if reference is None:
        return []
    has_sinks = any(stats.dimensions[index].sinks.tokens for index in stats.indices)
    remarks = reference.remarks(None, has_sinks, fingerprint, profile.model)
    own = reference.provenance.get("layer")
    others = [str(one.layer) for one in profile.layers if own and str(one.layer) != own]
    if others:
        named = enumerate_some(others, MOST_NAMED)
        remarks.append(
            f"the reference is of layer {own}, and measured against it "
            f"{'are the layers' if len(others) > 1 else 'is layer'} {named} too"
        )
    lines = [
        f"dimensions are out of line by their std against {reference.name}, not against the median "
        "std of their layer",
        *remarks,
    ]
    return [f"{line[0].upper()}{line[1:]}." for line in lines]
