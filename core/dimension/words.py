"""What was found of a dimension, in sentences and as rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .loss import Cost
from .probe import DimensionProbe
from .ways import OTHERS, SINKS, ZERO

COST_COLUMNS = {
    "replaced by": "0; its mean, of the sinks and of the others by themselves; its value at a "
    "token of the same kind in another prompt (shuffled)",
    "tokens": "at which tokens it is replaced: all, the sinks, or the others",
    "cost": "how much the next-token loss rises, in nats, the mean over the prompts",
    "95 % interval": "of that mean, by bootstrap over the prompts",
    "random controls": "the median and the largest cost of the same in random dimensions",
    "matched controls": "and in dimensions of about the same spread over the tokens that are no "
    "sinks",
}
PART_COLUMNS = {
    "tokens": "the position in the prompt, the class of the token, sinks or others",
    "number": "how many there are",
    "share": "of the dimension's variance, its squared deviations from the mean over all tokens",
    "mean": "of the dimension over these tokens",
    "std": "its standard deviation over these tokens",
    "variation": "std over |mean|, the coefficient of variation: near 0 where all have one value",
}
KNOWN_COLUMNS = {
    "class": "of tokens",
    "tokens": "how many of the class are in the half of the prompts that was held out",
    "AUC": "the chance that a token of the class is told from another by this dimension alone; 0.5 "
    "is guessing",
    "rank": "of this dimension among all by that",
    "best": "the AUC of the best dimension",
}
RECEIVED_COLUMNS = {
    "tokens": "sinks, the others, and of these each class",
    "number": "how many there are",
    "at zero": "by how much they change after RMSNorm with the dimension at zero (relative L2)",
    "at its mean": "and with it at its mean",
}
NAMES = {"zero": "zero", "mean": "its mean", "shuffle": "shuffled"}
CAUSAL = (
    "Under causal attention a token sees itself and what stands before it. The tokens with which "
    "all prompts begin have the same state in every prompt, whatever the prompt says, so that what "
    "a sink among them holds cannot carry the prompt, and its own mean is what it is."
)
"""Why a fixed first token cannot carry the prompt."""
DIRECT_PATH = (
    "The direct path only: what the dimension adds to the logits by itself. Below the last block "
    "whatever reads it on the way is left out."
)


def headline(probe: DimensionProbe) -> str:
    """The verdict on a dimension at a layer, and what would overturn it."""
    verdict = probe.verdict
    where = f"Dimension {probe.dimension} at layer {probe.layer} (hidden state {probe.index})"
    if verdict is None:
        return f"{where}: no verdict, which takes all three replacements."
    return f"{where}: {verdict.name}. {verdict.because} {verdict.overturned}"


def sink_sentence(probe: DimensionProbe) -> str:
    """What part of it sinks carry, and what it costs to zero either side."""
    sinks, others = probe.where.sides
    zeroed = ""
    if (ZERO, SINKS) in probe.costs:
        zeroed = (
            f" Zeroed at the sinks it costs {nats(probe.costs[ZERO, SINKS])}, elsewhere "
            f"{nats(probe.costs[ZERO, OTHERS])}."
        )
    if not sinks.tokens:
        return f"At layer {probe.layer} no token is a sink.{zeroed}"
    fixed = ""
    if probe.kept:
        fixed = f"; {probe.kept} of these stand in the beginning that all prompts share"
    return (
        f"At layer {probe.layer} {sinks.tokens} sink tokens carry {sinks.share:.1%} of its "
        f"variance (mean {sinks.mean:.4g}, coefficient of variation "
        f"{_ratio(sinks.variation)}{fixed}), {others.tokens} others the rest "
        f"(mean {others.mean:.4g}, {_ratio(others.variation)}).{zeroed}"
    )


def cost_rows(probe: DimensionProbe) -> list[tuple[str, ...]]:
    """Every ablation under COST_COLUMNS."""
    rows = []
    drawn = len(probe.controls.drawn)
    for (way, place), cost in probe.costs.items():
        trial = probe.trials.get((way, place))
        sides = ((), ()) if trial is None else (trial.controls[:drawn], trial.controls[drawn:])
        rows.append(
            (
                NAMES[way],
                place,
                f"{cost.mean:+.4f}",
                f"{cost.low:+.4f} to {cost.high:+.4f}",
                *map(_median_and_most, sides),
            )
        )
    return rows


def part_rows(probe: DimensionProbe) -> list[tuple[str, ...]]:
    """Positions, classes, sinks and others under PART_COLUMNS."""
    where = probe.where
    named = [(f"position {part.name}", part) for part in where.positions]
    named += [(part.name, part) for part in (*where.sides, *where.classes)]
    return [
        (
            name,
            str(part.tokens),
            f"{part.share:.1%}",
            f"{part.mean:.4g}",
            f"{part.std:.4g}",
            _ratio(part.variation),
        )
        for name, part in named
        if part.tokens
    ]


def token_rows(probe: DimensionProbe) -> list[tuple[str, ...]]:
    """Quantile, value, and the token in its context."""
    return [
        (
            f"{token.quantile:.0%}",
            f"{token.value:.5g}",
            f"{token.before}[{token.token}]{token.after}".replace("\n", "\\n"),
        )
        for token in probe.where.tokens
    ]


def known_rows(probe: DimensionProbe) -> list[tuple[str, ...]]:
    """Each class under KNOWN_COLUMNS."""
    return [
        (
            known.name,
            str(known.tokens),
            f"{known.auc:.3f}",
            f"{known.rank} of {known.width}",
            f"{known.best:.3f}",
        )
        for known in probe.knows
    ]


def received_rows(probe: DimensionProbe) -> list[tuple[str, ...]]:
    """Each kind of tokens under RECEIVED_COLUMNS."""
    return [
        (one.name, str(one.tokens), f"{one.zero:.4f}", f"{one.mean:.4f}") for one in probe.received
    ]


def writing_sentences(probe: DimensionProbe) -> list[str]:
    """Which tokens a unit of the dimension raises and lowers, and whether these are frequent."""
    writes = probe.writes
    lines = [
        f"A rise of the dimension raises {_tokens(writes.top)}.",
        f"It lowers {_tokens(writes.bottom)}.",
    ]
    if writes.frequency is not None:
        lines.append(
            f"Correlation with the log frequency of the prompts' {writes.frequency_tokens} "
            f"different tokens: {writes.frequency:+.2f}."
        )
    return [*lines, DIRECT_PATH]


def known_sentence(probe: DimensionProbe) -> str:
    """The class that the dimension tells best."""
    if not probe.knows:
        return "No class has enough tokens in both halves of the prompts."
    best = probe.knows[0]
    return (
        f"By itself it tells best the class {best.name!r}: AUC {best.auc:.3f} on the half of the "
        f"prompts that was held out, rank {best.rank} of {best.width} dimensions."
    )


def gain_sentence(probe: DimensionProbe) -> str:
    """How strongly the image model's first layer takes it; empty where it was not given."""
    if probe.gain is None:
        return ""
    gain = probe.gain
    return (
        f"The image model's first layer takes it with a gain of {gain.value:.4g}, "
        f"{gain.relative:.3g} times the median dimension's: rank {gain.rank} of {gain.width}."
    )


def nats(cost: Cost) -> str:
    """A cost with its interval, in words."""
    return f"{cost.mean:+.3g} nats ({cost.low:+.3g} to {cost.high:+.3g})"


def _tokens(pairs: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{text!r} ({value:+.3g})" for text, value in pairs)


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value != float("inf") else "-"


def _median_and_most(costs: Sequence[float]) -> str:
    if not costs:
        return "-"
    return f"{median(costs):+.4f}, {max(costs):+.4f}"
