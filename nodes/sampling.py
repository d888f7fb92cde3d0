"""Z-Image Sampler: the official template's sampling graph as one node."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import nodes as host_nodes
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow
from comfy_extras.nodes_sd3 import EmptySD3LatentImage

from ..core.errors import require_finite_states
from .conditioning import read_entry
from .model import caption_norm_weight
from .numbers import check_number
from .types import CATEGORY

SIZE_STEP = 16
"""Z-Image's patch: 2 x 2 latents of 8 x 8 pixels."""


class ZImageSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        size = {"min": SIZE_STEP, "max": host_nodes.MAX_RESOLUTION, "step": SIZE_STEP}
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
                io.Int.Input("width", default=1024, **size, tooltip="Pixels, multiple of 16."),
                io.Int.Input("height", default=1024, **size, tooltip="Pixels, multiple of 16."),
                io.Int.Input(
                    "batch_size", default=1, min=1, max=4096, tooltip="Images from one run."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed gives every variant the same noise to start from.",
                ),
                io.Int.Input("steps", default=8, min=1, max=10000, tooltip="8 for Z-Image Turbo."),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="1 for Z-Image Turbo: the negative is then not computed.",
                ),
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
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Of ModelSamplingAuraFlow; 3 for Z-Image.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
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
        limits = {"cfg": (cfg, 100.0), "shift": (shift, 100.0), "denoise": (denoise, 1.0)}
        checks = [check_number(name, value, 0.0, high) for name, (value, high) in limits.items()]
        return next((check for check in checks if check is not True), True)

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
        for name, side in (("positive", positive), ("negative", negative)):
            if side is not None:
                _check_conditioning(name, side, model)
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
    if not conditioning:
        raise ValueError(f"{name} has no entries: connect a text encoder's output")
    for entry in conditioning:
        hidden, record = read_entry(entry)
        caption_norm_weight(model, hidden.shape[-1], f"{name} ({record.source})")
        require_finite_states(hidden, name)
