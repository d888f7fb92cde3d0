"""The findings of a profile, in sentences whose every figure was measured."""

from __future__ import annotations

from collections.abc import Callable

from ...core.measure.dimension_stats import Place
from ...core.measure.reference import Reference
from ...core.outliers.detection import ratio_in_words
from ...core.outliers.table import LEAST_SHARE, named_carriers
from ...core.profile.profile import LayerProfile, Profile


def layer_finding(profile: Profile, layer: LayerProfile, token_text: Callable[[Place], str]) -> str:
    """The dimension of one layer of ``profile`` that is farthest out of line, and what carries its
    variance; ``token_text`` gives the text of the token at a place."""
    reference = profile.reference
    if not layer.outliers:
        against = "" if reference is None else f" with {reference.name}"
        return f"Layer {layer.layer}: no dimension is {profile.threshold:g}x out of line{against}."
    top = layer.outliers[0]
    carriers = _carriers(named_carriers(layer.carried[0], token_text), profile.units)
    sentences = [
        f"Layer {layer.layer}: dimension {top.dimension} has a std of {top.std:.4g}, "
        f"{_times(top.ratio, reference)}.",
        f"{carriers}; sink tokens carry {top.sink_share:.1%} ({top.kind_in_words}).",
    ]
    if top.sink_share > 0 and top.std_without_sinks > 0:
        sentences.append(
            f"Without sink tokens its std is {top.std_without_sinks:.4g}: "
            f"{top.std / top.std_without_sinks:.3g}x less."
        )
    if top.constant:
        sentences.append(
            "The tokens that are no sinks have much the same value there: mean "
            f"{top.mean_without_sinks:.4g}, std {top.std_without_sinks:.4g}."
        )
    return " ".join(sentences)


def _carriers(named: list[tuple[str, float]], prompts: str) -> str:
    over = f"of its variance over {prompts}"
    if not named:
        return f"No position carries {LEAST_SHARE:.0%} {over}, nor do the far values of any token"
    [(first, share), *others] = named
    words = [f"{first[0].upper()}{first[1:]} carries {share:.1%} {over}"]
    return ", ".join([*words, *(f"{name} {share:.1%}" for name, share in others)])


def _times(ratio: float, reference: Reference | None) -> str:
    if reference is None:
        return f"{ratio:.3g}x the layer's median"
    return f"{ratio_in_words(ratio)}, measured against {reference.name}"


def sink_finding(profile: Profile) -> str:
    """Where sink tokens stand, and where the massive activation emerges and falls."""
    sentences = [sinks_in_words(profile)]
    if profile.emergence_layer is None:
        sentences.append("Emergence and fall need every layer to be measured.")
        return " ".join(sentences)
    course = _course_in_words(profile.emergence_layer, profile.fall_layer)
    sentences.append(f"Of the hidden states 0 to {profile.blocks}, max|x| {course}.")
    for one in profile.courses:
        course = _course_in_words(one.emergence_layer, one.fall_layer)
        sentences.append(f"The largest |x| of dimension {one.dimension} {course}.")
    return " ".join(sentences)


def sinks_in_words(profile: Profile) -> str:
    """In how many prompts position 0 is a sink token, and how many stand elsewhere."""
    counts = dict(profile.sink_counts)
    first = counts.pop(0, 0)
    others = sum(counts.values())
    at = f"At hidden state {profile.sink_index}"
    if first + others == 0:
        return f"{at} no token of {profile.units} is a sink."
    elsewhere = f"{number_of(others, 'token')} elsewhere" if others else "no token elsewhere"
    return f"{at} position 0 is a sink token in {first} of {profile.units}, and {elsewhere}."


def number_of(count: int, thing: str) -> str:
    """ "1 prompt", "2 prompts"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _course_in_words(emergence: int, fall: int | None) -> str:
    end = "does not fall to half in one step" if fall is None else f"falls most at {fall}"
    return f"rises most at {emergence} and {end}"
