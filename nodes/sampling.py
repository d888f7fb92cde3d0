"""Z-Image Sampler: the official template's sampling graph as one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.samplers
import nodes as host_nodes
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
from comfy_extras.nodes_sd3 import EmptySD3LatentImage

from ..core.checks import (
    require_choice,
    require_finite_number,
    require_finite_states,
    require_whole_number,
)
from .conditioning import entries_of, read_entry
from .model import require_z_image
from .node import Node
from .numbers import check_numbers
from .types import CATEGORY

SIZE_STEP = 16
"""Z-Image's patch: 2 x 2 latents of 8 x 8 pixels."""
MOST_STEPS, MOST_IMAGES = 10000, 4096
WHOLE_LIMITS = {
    "width": (SIZE_STEP, host_nodes.MAX_RESOLUTION),
    "height": (SIZE_STEP, host_nodes.MAX_RESOLUTION),
    "batch_size": (1, MOST_IMAGES),
    "seed": (-(2**63), 2**64 - 1),  # What PyTorch takes: a connected one may be negative.
    "steps": (1, MOST_STEPS),
}
HIGHEST = {"cfg": 100.0, "shift": 100.0, "denoise": 1.0}
"""Limits of the numbers, whole ones and those from 0 on. The host checks typed ones only."""


def size_inputs() -> list[io.Input]:
    """Width and height of a new latent."""
    size = {"min": SIZE_STEP, "max": host_nodes.MAX_RESOLUTION, "step": SIZE_STEP}
    tooltip = "Pixels, multiple of 16."
    return [
        io.Int.Input(name, default=1024, **size, tooltip=tooltip) for name in ("width", "height")
    ]


def schedule_inputs() -> list[io.Input]:
    """Sampler and scheduler, as the official template has them."""
    return [
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.KSampler.SAMPLERS,
            default="res_multistep",
            tooltip="res_multistep in the official template.",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.KSampler.SCHEDULERS,
            default="simple",
            tooltip="simple in the official template.",
        ),
    ]


class ZImageSampler(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabZImageSampler",
            display_name="Z-Image Sampler",
            category=CATEGORY,
            description="Samples with the settings of ComfyUI's official Z-Image Turbo template: "
            "ModelSamplingAuraFlow, KSampler and VAE Decode in one node, with the host's own "
            "sampling, previews, progress and interrupt.",
            search_aliases=["ksampler", "z-image turbo", "sample", "generate"],
            inputs=[
                io.Model.Input("model", tooltip="Z-Image: Load Diffusion Model."),
                io.Conditioning.Input("positive", tooltip="What the image shows."),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What to avoid; counts only above cfg 1. Without one, the positive "
                    "set to zero, as in the official template.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Turns the latent into the image. Without one, only latent is given.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Start from this latent (width, height and batch_size are then its "
                    "own); lower denoise to keep some of it.",
                ),
                *size_inputs(),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=MOST_IMAGES, tooltip="Images from one run."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives every variant the same noise to start from.",
                ),
                io.Int.Input(
                    "steps", default=8, min=1, max=MOST_STEPS, tooltip="8 for Z-Image Turbo."
                ),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=HIGHEST["cfg"],
                    step=0.1,
                    tooltip="1 for Z-Image Turbo: the negative is then not computed.",
                ),
                *schedule_inputs(),
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.0,
                    max=HIGHEST["shift"],
                    step=0.01,
                    tooltip="Of ModelSamplingAuraFlow; 3 for Z-Image.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=HIGHEST["denoise"],
                    step=0.01,
                    tooltip="1 starts from pure noise; less keeps part of the given latent.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image"),
                io.Latent.Output("latent", display_name="latent"),
            ],
        )

    @classmethod
    def validate_inputs(cls, cfg=None, shift=None, denoise=None) -> bool | str:
        given = {"cfg": cfg, "shift": shift, "denoise": denoise}
        return check_numbers(*((name, value, 0.0, HIGHEST[name]) for name, value in given.items()))

    @classmethod
    def execute(
        cls,
        model,
        positive,
        width,
        height,
        batch_size,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        shift,
        denoise,
        negative=None,
        vae=None,
        latent=None,
    ) -> io.NodeOutput:
        _check_conditioning("positive", positive, model)
        if negative is not None:
            _check_conditioning("negative", negative, model)
        size = [("width", width), ("height", height), ("batch_size", batch_size)]
        width, height, batch_size, seed, steps = (
            require_whole_number(name, value, *WHOLE_LIMITS[name])
            for name, value in [*size, ("seed", seed), ("steps", steps)]
        )
        cfg, shift, denoise = (
            require_finite_number(name, value, 0.0, HIGHEST[name])
            for name, value in [("cfg", cfg), ("shift", shift), ("denoise", denoise)]
        )
        require_choice("sampler_name", sampler_name, comfy.samplers.KSampler.SAMPLERS)
        require_choice("scheduler", scheduler, comfy.samplers.KSampler.SCHEDULERS)
        channels = model.get_model_object("latent_format").latent_channels
        if latent is not None:
            check_latent(latent, channels)
        if vae is not None:
            _check_vae(vae, channels)
        if negative is None:
            [negative] = host_nodes.ConditioningZeroOut().zero_out(positive)
        if latent is None:
            [latent] = EmptySD3LatentImage.execute(width, height, batch_size).args
        [shifted] = ModelSamplingAuraFlow().patch_aura(model, shift)
        [sampled] = host_nodes.common_ksampler(
            shifted,
            seed,
            steps,
            cfg,
            sampler_name,
            scheduler,
            positive,
            negative,
            latent,
            denoise=denoise,
        )
        if vae is None:
            image = ExecutionBlocker(
                "The Z-Image Sampler gives an image only when a VAE is connected to it; connect "
                "one (ae.safetensors), or use its latent output."
            )
        else:
            [image] = host_nodes.VAEDecode().decode(vae, sampled)
        return io.NodeOutput(image, sampled)


def _check_conditioning(name: str, conditioning: list, model: Any) -> None:
    """Refuse, before any step is sampled, what the model would choke on.

    Raises:
        ValueError: if the model is no Z-Image, or states are of another width or not finite.
    """
    if not entries_of(conditioning, name):
        raise ValueError(f"{name} has no entries: connect a text encoder's output")
    for entry in conditioning:
        hidden, record = read_entry(entry, name)
        require_z_image(model, hidden.shape[-1], f"{name} ({record.source})")
        require_finite_states(hidden, name)


def check_latent(latent: Any, channels: int) -> None:
    """Refuse a latent that would stop the sampling, or turn every pixel into NaN."""
    samples = latent.get("samples") if isinstance(latent, Mapping) else None
    if not isinstance(samples, torch.Tensor):
        raise ValueError(
            "latent holds no samples: connect Empty Latent Image, VAE Encode, or nothing"
        )
    if samples.ndim != 4 or 0 in samples.shape:
        raise ValueError(
            f"latent has shape {tuple(samples.shape)}; it must be (batch, channels, height, width) "
            "with at least one image: connect Empty Latent Image, VAE Encode, or nothing"
        )
    if not bool(samples.isfinite().all()):
        raise ValueError("latent holds NaN or infinity: look at the node that made it")
    # The host gives an empty latent the channels that the model wants.
    if samples.shape[1] != channels and bool(samples.any()):
        raise ValueError(
            f"latent has {samples.shape[1]} channels, and this model takes {channels}: encode the "
            "image with Z-Image's VAE (ae.safetensors)"
        )


def _check_vae(vae: Any, channels: int) -> None:
    """Refuse, before any step is sampled, a VAE that cannot decode what comes out."""
    if not callable(getattr(vae, "decode", None)):
        raise ValueError(
            f"vae is {type(vae).__name__}, not a VAE: connect Load VAE with ae.safetensors"
        )
    own = getattr(vae, "latent_channels", channels)
    if own != channels:
        raise ValueError(
            f"vae decodes latents of {own} channels, and this model makes {channels}: connect Load "
            "VAE with ae.safetensors"
        )
