"""What a CLIP's language model computed a while ago, instead of computing it again.

The results are kept by :mod:`core.encoder.recent`. They stand in where the tokens, the images and
the weights are known to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from ..core.encoder.capture import Capture
from ..core.encoder.recent import Recent, capture_once, digest, put_away, take_out


class _Recent(NamedTuple):
    """What is kept of one language model: states of its passes, and image embeddings."""

    passes: Recent
    images: Recent


RECENT: WeakKeyDictionary[nn.Module, _Recent] = WeakKeyDictionary()
"""By decoder, and gone with it."""


def captured_once(
    clip: Any,
    decoder: nn.Module,
    transformer: nn.Module,
    sections: list[list[tuple]],
    layers: Sequence[int],
) -> AbstractContextManager[Capture] | None:
    """A context for one pass over ``sections`` that runs only what did not run before.

    None where it cannot be known to be the same: with scheduled hooks, which change the weights
    between the passes of one call, and with patches of other packs, which have no mark.
    """
    patcher = clip.patcher
    patches = dict(patcher.object_patches)
    cast = patches.pop("manual_cast_dtype", None)  # The host's own, of every CLIP.
    weights = [str(patcher.patches_uuid), str(patcher.load_device), str(cast)]
    unmarked = patcher.forced_hooks or patches or patcher.weight_wrapper_patches
    key = None if unmarked else digest([weights, sections])
    if key is None:
        return None
    recent = RECENT.setdefault(decoder, _Recent(Recent(), Recent()))
    return _both_once(decoder, transformer, layers, recent, key, weights)


@contextmanager
def _both_once(
    decoder: nn.Module,
    transformer: nn.Module,
    layers: Sequence[int],
    recent: _Recent,
    key: bytes,
    weights: list[str],
) -> Iterator[Capture]:
    with (
        _images_once(transformer, recent.images, weights),
        capture_once(decoder, layers, recent.passes, key) as capture,
    ):
        yield capture


@contextmanager
def _images_once(transformer: nn.Module, images: Recent, weights: list[str]) -> Iterator[None]:
    """Within the context the vision tower does not run for an image that it read a while ago."""
    if not hasattr(transformer, "visual"):
        yield
        return
    read = transformer.preprocess_embed

    def read_once(embed: dict, device: Any) -> Any:
        key = digest([weights, embed])
        known = images.get(key) if key else {}
        if known:
            return take_out(known["result"])
        result = read(embed, device=device)
        if key:
            images.put(key, {"result": put_away(result)})
        return result

    transformer.preprocess_embed = read_once
    try:
        yield
    finally:
        del transformer.preprocess_embed
