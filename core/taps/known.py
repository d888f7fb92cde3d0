"""The image models that take several layers of an encoder: which, and in what order.

From ComfyUI 0.33: ``comfy/text_encoders/flux.py`` (Flux.2), ``krea2.py``, ``ideogram4.py`` and
``gpt_oss.py`` (Lens, whose numbers of blocks are one lower than those of hidden states).
"""

from __future__ import annotations

from typing import NamedTuple

from .layout import INTERLEAVED, LAYER_MAJOR, Taps


class TappedModel(NamedTuple):
    """Attributes:
    name: of the image model.
    encoder: of the language model that it taps.
    taps: what it takes of it.
    """

    name: str
    encoder: str
    taps: Taps


KNOWN = (
    TappedModel("Flux.2 Klein 4B", "Qwen3-4B", Taps((9, 18, 27), 2560, LAYER_MAJOR, 36)),
    TappedModel("Flux.2 Klein 9B", "Qwen3-8B", Taps((9, 18, 27), 4096, LAYER_MAJOR, 36)),
    TappedModel("Flux.2 dev", "Mistral Small 24B", Taps((10, 20, 30), 5120, LAYER_MAJOR, 40)),
    TappedModel("Krea 2", "Qwen3-VL-4B", Taps(tuple(range(2, 36, 3)), 2560, LAYER_MAJOR, 36)),
    TappedModel("Ideogram 4", "Qwen3-VL-8B", Taps((*range(1, 35, 3), 36), 4096, INTERLEAVED, 36)),
    TappedModel("Lens", "gpt-oss-20b", Taps((6, 12, 18, 24), 2880, LAYER_MAJOR, 24)),
)


def model_of_width(total: int) -> TappedModel | None:
    """The model whose taps together have ``total`` dimensions; each has another number of them.

    >>> model_of_width(30720).name, model_of_width(2560)
    ('Krea 2', None)
    """
    return next((model for model in KNOWN if model.taps.total == total), None)


def models_of_encoder(blocks: int, width: int) -> list[TappedModel]:
    """The models that tap an encoder of this many blocks and dimensions.

    >>> [model.name for model in models_of_encoder(36, 2560)]
    ['Flux.2 Klein 4B', 'Krea 2']
    """
    return [model for model in KNOWN if (model.taps.blocks, model.taps.width) == (blocks, width)]
