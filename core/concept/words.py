"""Reports on concepts, for the nodes and the command."""

from __future__ import annotations

import torch

from ..tables import enumerate_some, table
from .concept import Concept
from .direction import LOUD, Finding

LEADING = 5
"""Dimensions that a report names."""


def found_in_words(finding: Finding) -> str:
    """What was found: size, what RMSNorm leaves, consistency, leading dimensions."""
    concept, layout = finding.concept, finding.concept.layout
    pairs = len(finding.cosines)
    lines = [
        f"strength 1 changes a token by {_sizes(concept)} of its length",
        f"{concept.name}: {pairs} pair{'s' * (pairs > 1)}, {finding.tokens} content tokens, "
        f"{finding.sinks} sink tokens among them left out",
    ]
    rows = []
    for tap, part in enumerate(concept.parts):
        raw, normed = float(finding.raw[tap]), float(finding.normed[tap])
        rows.append(
            (
                layout.name(tap) if concept.taps else concept.layer_in_words,
                f"{raw:.4f}",
                f"{normed:.4f}",
                f"{normed / raw:.2f}" if raw > 0 else "-",
                f"{part.size:.4f}",
                *_consistency(finding, tap),
            )
        )
    header = ("difference of means", "before RMSNorm", "after", "after/before", "in concept")
    lines.append(table((*header, "consistency", "lowest"), rows, len(rows)))
    lines += _about_pairs(finding)
    if finding.limited:
        names = enumerate_some(map(str, finding.limited), LEADING)
        lines.append(
            f"limited, as they vary over {LOUD:g} times as much as the median dimension: {names}"
        )
    lines.append(leading_table(concept))
    return "\n".join(lines)


def leading_table(concept: Concept) -> str:
    """The dimensions with the largest shares of the direction."""
    squares = concept.direction.square()
    rows = []
    for dimension in squares.topk(min(LEADING, concept.dimensions)).indices.tolist():
        tap, own = concept.layout.place(dimension)
        where = f"{concept.taps.name(tap)}: {own}" if concept.taps else str(own)
        spread = float(concept.spread[dimension])
        value = float(concept.direction[dimension])
        in_std = f"{value / spread:+.2f}" if spread > 0 else "-"
        share = float(squares[dimension] / squares.sum())
        rows.append((where, f"{share:.1%}", f"{value:+.4f}", in_std))
    header = ("leading dimension", "share", "difference", "in its own std")
    return table(header, rows, len(rows))


def concept_in_words(concept: Concept) -> str:
    """A concept in a few lines: what it is of, and what it was made from."""
    known = concept.provenance
    facts = [f"{concept.dimensions} dimensions"]
    pairs = known.get("pairs", "")
    facts += [f"{pairs} pair{'s' * (pairs != '1')}"] if pairs else []
    facts += [f"consistency {known['consistency']}"] if "consistency" in known else []
    facts += [f"{known['tokens']} tokens"] if "tokens" in known else []
    model = known.get("fingerprint")
    lines = [
        f"strength 1 changes a token by {_sizes(concept)} of its length",
        concept.name,
        ", ".join(facts),
        f"of the model with fingerprint {model}"
        if model
        else "without a fingerprint: no report can tell whether it is of another model",
    ]
    return "\n".join([*lines, *(known[key] for key in ("date", "note") if key in known)])


def _sizes(concept: Concept) -> str:
    """ "21.3 %", or the range over taps."""
    sizes = [100 * part.size for part in concept.parts]
    low, high = min(sizes), max(sizes)
    return f"{high:.3g} %" if len(sizes) == 1 else f"{low:.3g} to {high:.3g} %"


def _consistency(finding: Finding, tap: int) -> tuple[str, str]:
    cosines = finding.cosines[:, tap]
    if len(cosines) == 1:
        return "-", "-"
    return f"{float(cosines.mean()):.3f}", f"{float(cosines.min()):.3f}"


def _about_pairs(finding: Finding) -> list[str]:
    """What the consistency is, and the pair that agrees least."""
    cosines = finding.cosines
    if len(cosines) == 1:
        return ["one pair: there is no other to compare it with; more pairs show what they share"]
    lowest = int(cosines.mean(-1).argmin())
    value = float(torch.mean(cosines[lowest]))
    named = finding.concept.prompts
    words = f" ({named[lowest][0]!r})" if lowest < len(named) and named[lowest][0] else ""
    line = (
        "consistency: cosine of each pair's difference with the mean of the other pairs'; pair "
        f"{lowest + 1}{words} agrees least, {value:.3f}"
    )
    if value < 0:
        line += ": it points the other way, so look whether its sides are swapped"
    return [line]
