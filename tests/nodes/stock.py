"""Running the pack's nodes and the host's stock nodes from a test."""

from typing import Any

import torch
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

RECORD = "layer_lab"
QUERIES, KEYS = (
    128 * load_sizes()["language"][f"num_{kind}_heads"] for kind in ("attention", "key_value")
)
"""Rows of the query matrix, and of those of keys and values, of the tiny Qwen3."""


def run(node: type, **inputs: Any) -> tuple:
    """A pack node's outputs; inputs that are not given have the schema's defaults.

    For a node that takes whole lists every input is a list of one, as from the host, and list
    outputs of one element are unpacked.
    """
    if not node.define_schema().is_input_list:
        return output(node, **inputs).args
    outputs = output(node, **{name: [value] for name, value in inputs.items()}).args
    return tuple(one for [one] in outputs)


def output(node: type, **inputs: Any) -> Any:
    """The node's whole answer (``.args``, ``.ui``); lists for a node that takes lists."""
    schema = node.define_schema()
    defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
    if schema.is_input_list:
        defaults = {name: [value] for name, value in defaults.items()}
    return node.execute(**{**defaults, **inputs})


def text_encode(clip: Any, text: str, layer: int | None = None) -> list:
    """CLIPTextEncode, after CLIPSetLastLayer where ``layer`` is given."""
    import nodes

    if layer is not None:
        [clip] = nodes.CLIPSetLastLayer().set_last_layer(clip, layer)
    return nodes.CLIPTextEncode().encode(clip, text)[0]


def ksample(model: Any, positive: list, negative: list, latent: dict, **settings: Any) -> dict:
    """ModelSamplingAuraFlow and KSampler with the official Z-Image template's settings."""
    import nodes
    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow

    [model] = ModelSamplingAuraFlow().patch_aura(model, settings.pop("shift", 3.0))
    official = {
        "seed": 0,
        "steps": 2,
        "cfg": 1.0,
        "sampler_name": "res_multistep",
        "scheduler": "simple",
        "denoise": 1.0,
    }
    [sampled] = nodes.KSampler().sample(
        model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        **{**official, **settings},
    )
    return sampled


def empty_latent(width: int = 128, height: int = 128, batch_size: int = 1) -> dict:
    from comfy_extras.nodes_sd3 import EmptySD3LatentImage

    return EmptySD3LatentImage.execute(width, height, batch_size).args[0]


def states(conditioning: list) -> torch.Tensor:
    """The (batch, tokens, width) states of a conditioning with one entry."""
    [[hidden, _]] = conditioning
    return hidden


def record(conditioning: list) -> Any:
    """The pack's record of a conditioning with one entry."""
    [[_, options]] = conditioning
    return options[RECORD]


def with_states(conditioning: list, hidden: torch.Tensor) -> list:
    """The same entry with other states, as if they had come from the encoder."""
    [[_, options]] = conditioning
    return [[hidden, {**options, RECORD: options[RECORD].sealed(hidden)}]]


def same_options(ours: dict, theirs: dict) -> bool:
    """Whether two conditioning dicts are equal but for the pack's record."""
    ours = {key: value for key, value in ours.items() if key != RECORD}
    return ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one is other or one == other


def snapshot(conditioning: list) -> list:
    """A deep enough copy to tell later whether anything was modified."""
    return [
        (hidden.clone(), {k: v.clone() if hasattr(v, "clone") else v for k, v in options.items()})
        for hidden, options in conditioning
    ]


def unchanged(conditioning: list, before: list) -> bool:
    """Whether a conditioning is still what :func:`snapshot` saw."""
    return len(conditioning) == len(before) and all(
        torch.equal(hidden, old)
        and options.keys() == kept.keys()
        and all(_same(options[key], kept[key]) for key in kept)
        for (hidden, options), (old, kept) in zip(conditioning, before, strict=True)
    )
