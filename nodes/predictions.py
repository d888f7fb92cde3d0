"""Asking an image model, in the middle of a sampling, what it predicts for other captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

Seen = Callable[[int, float, Tensor, Mapping[str, Tensor]], None]
"""``seen(step, sigma, x, predictions)``: the step's number from 1, its noise level, the noisy
latent that the model was given, and the clean latent that it predicts for each caption."""
BASE = "base"


class AskingGuider(comfy.samplers.CFGGuider):
    """Samples the base caption at cfg 1 and, at chosen steps, asks for every other one too.

    The captions are prepared each by itself: the host's ``process_conds`` gives every set of
    conditionings an entry for the areas of the others, which would change the base. They are asked
    one at a time, for a batch of several differs from one by rounding.

    Args:
        captions: name -> CONDITIONING; that of :data:`BASE` is sampled.
        steps: numbers of steps, from 1.
        progress: called after every evaluation at a chosen step.
    """

    def __init__(
        self,
        model: Any,
        captions: Mapping[str, list],
        negative: list,
        steps: tuple[int, ...],
        seen: Seen,
        progress: Callable[[], None],
    ) -> None:
        super().__init__(model)
        others = {f"layer_lab {name}": caption for name, caption in captions.items()}
        self.inner_set_conds({"positive": captions[BASE], "negative": negative, **others})
        self.set_cfg(1.0)
        self._names = {f"layer_lab {name}": name for name in captions}
        self._steps, self._seen, self._progress = steps, seen, progress
        self._asked: dict[str, list] = {}
        self._given: tuple[Tensor, Tensor, dict] | None = None

    def inner_sample(
        self,
        noise,
        latent_image,
        device,
        sampler,
        sigmas,
        denoise_mask,
        callback,
        disable_pbar,
        seed,
        latent_shapes=None,
    ):
        others = {key: self.conds.pop(key) for key in self._names}
        latent = latent_image
        if latent is not None and torch.count_nonzero(latent) > 0:
            latent = self.inner_model.process_latent_in(latent)
        # Some models look at it while they prepare a caption; the host sets it a little later.
        self.inner_model.latent_shapes = latent_shapes
        for key, conds in others.items():
            prepared = comfy.samplers.process_conds(
                self.inner_model,
                noise,
                {"positive": conds},
                device,
                latent,
                denoise_mask,
                seed,
                latent_shapes=latent_shapes,
            )
            self._asked[self._names[key]] = prepared["positive"]

        def ask_too(step: int, x0: Tensor, x: Tensor, total: int) -> None:
            if callback is not None:
                callback(step, x0, x, total)
            if step + 1 in self._steps:
                self._ask(step + 1)

        return super().inner_sample(
            noise,
            latent_image,
            device,
            sampler,
            sigmas,
            denoise_mask,
            ask_too,
            disable_pbar,
            seed,
            latent_shapes=latent_shapes,
        )

    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 (the host's)
        self._given = x, timestep, model_options
        return super().predict_noise(x, timestep, model_options, seed)

    def _ask(self, step: int) -> None:
        # What the model was given last: the callback's own x is another one under a noise mask and
        # for samplers that predict and correct.
        x, timestep, model_options = self._given
        predictions = {}
        for name, conds in self._asked.items():
            comfy.model_management.throw_exception_if_processing_interrupted()
            [predictions[name]] = comfy.samplers.calc_cond_batch(
                self.inner_model, [conds], x, timestep, model_options
            )
            self._progress()
        self._seen(step, float(timestep.flatten()[0]), x, predictions)


def sample_and_ask(
    model: Any,
    captions: Mapping[str, list],
    negative: list,
    latent: Mapping[str, Any],
    *,
    seed: int,
    steps: int,
    sampler_name: str,
    scheduler: str,
    at: tuple[int, ...],
    seen: Seen,
) -> dict[str, Any]:
    """Sample ``captions[BASE]`` as KSampler does at cfg 1 and denoise 1, and ask at the steps
    ``at`` for every caption, the base too.

    Returns:
        The sampled LATENT, equal to KSampler's.
    """
    samples = comfy.sample.fix_empty_latent_channels(
        model,
        latent["samples"],
        *(latent.get(f"downscale_ratio_{kind}") for kind in ("spacial", "temporal")),
    )
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    bar = comfy.utils.ProgressBar(steps + len(at) * len(captions))
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def preview(step: int, x0: Tensor, x: Tensor, total: int) -> None:
        shown = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
        bar.update_absolute(bar.current + 1, preview=shown)

    guider = AskingGuider(model, captions, negative, at, seen, lambda: bar.update(1))
    schedule = comfy.samplers.KSampler(
        model, steps, model.load_device, sampler_name, scheduler, 1.0, model.model_options
    )
    result = guider.sample(
        noise,
        samples,
        comfy.samplers.sampler_object(sampler_name),
        schedule.sigmas,
        latent.get("noise_mask"),
        preview,
        not comfy.utils.PROGRESS_BAR_ENABLED,
        seed,
    )
    result = result.to(
        device=comfy.model_management.intermediate_device(),
        dtype=comfy.model_management.intermediate_dtype(),
    )
    dropped = ("downscale_ratio_spacial", "downscale_ratio_temporal")
    return {**{k: v for k, v in latent.items() if k not in dropped}, "samples": result}
