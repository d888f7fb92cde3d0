"""What the options say is done to the states, and how it is written down."""

from __future__ import annotations

import argparse
import hashlib
import math
from typing import Any

from ...core.caption_cache.cached import DTYPES
from ...core.checks import LayerLabError, require_finite_number
from ...core.edit.state_edits import LayerChoice, StateEdits
from ...core.encoder.layers import LayerRangeError
from ...core.measure.reference import Reference, load_reference
from ..profile.meter import ModelFacts
from .tokens import CaptionTokenizer


class EncodeError(LayerLabError, ValueError):
    """The command cannot go on; the message says why and what to do."""


def layer_choice(options: argparse.Namespace, config: Any) -> LayerChoice:
    """``--layer`` and ``--mix``.

    Raises:
        EncodeError: if it is no layer and no mix.
        LayerRangeError: if the model has no such layer.
    """
    blocks = config.get_text_config().num_hidden_layers
    try:
        return LayerChoice.parse(options.layer, options.mix, blocks)
    except LayerRangeError:
        raise
    except ValueError as error:
        raise EncodeError(f"--layer {options.layer!r}: {error}") from None


def state_edits(options: argparse.Namespace) -> StateEdits:
    """``--mask``, ``--normalize`` and what belongs to them, before anything is read but the
    reference.

    Raises:
        EncodeError: for options that do not fit each other.
        ReferenceFileError: if the reference cannot be used.
    """
    edited = options.mask or options.normalize
    if options.reference is not None and not edited:
        raise EncodeError(
            "--reference is what --mask and --normalize measure against: give one of them too, or "
            "leave it out"
        )
    try:
        threshold = require_finite_number("--threshold", options.threshold, 1.0, math.inf)
    except ValueError as error:
        raise EncodeError(str(error)) from None
    return StateEdits(
        mask=options.mask or "",
        threshold=threshold,
        direction=options.direction,
        exclude_sinks=options.exclude_sinks,
        normalize=options.normalize or "",
        keep_sinks=not options.normalize_sinks,
        reference=None if options.reference is None else load_reference(options.reference),
    )


def settings_of(
    options: argparse.Namespace,
    facts: ModelFacts,
    choice: LayerChoice,
    edits: StateEdits,
    tokenizer: CaptionTokenizer,
) -> dict[str, Any]:
    """Everything that decides what is in a cache but its caption, as JSON holds it."""
    return {
        "model": facts.name,
        "fingerprint": facts.fingerprint,
        "blocks": facts.blocks,
        "width": facts.width,
        "layer": choice.name,
        "edits": [*filter(None, [choice.edit]), *edits.names],
        "reference": reference_in_words(edits.reference),
        "template": tokenizer.template,
        "max_tokens": options.max_tokens,
        "computed_in": facts.dtype,
        "dtype": str(DTYPES[options.dtype]).removeprefix("torch."),
        "format": options.format,
    }


def reference_in_words(reference: Reference | None) -> str:
    """Its name and a digest of its numbers; empty without one."""
    if reference is None:
        return ""
    digest = hashlib.sha256(reference.mean.numpy().tobytes() + reference.std.numpy().tobytes())
    return f"{reference.name} (sha256 {digest.hexdigest()[:16]})"
