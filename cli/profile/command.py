"""``layerlab profile``: every layer of a language model, measured over any number of prompts."""

from __future__ import annotations

import argparse
import shlex
import time
from contextlib import nullcontext
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from ... import __version__
from ...core.checks import LayerLabError
from ...core.encoder.layers import LayerRangeError, hidden_state_index, parse_layers
from ...core.measure.dimension_stats import Place
from ...core.measure.reference import Reference, load_reference
from ...core.profile.profile import ProfileStats, left_out, summarise
from ...core.shipped import CORPUS
from ..model.errors import readable
from ..model.files import ModelFiles
from ..model.prompt_tokenizer import PromptTokenizer
from ..model.vision import require_image_tokens, require_vision
from ..out_folder import require_folder, writing_in
from ..show.console import make_console
from .against import config_width, reference_notes, require_fit
from .batches import BatchPlan, TokenizedPrompts, TokenLimits, plan_batches
from .checkpoint import Checkpoint
from .findings import layer_finding, sink_finding
from .image_prompts import ImagePrompts, ImageSource, ImageTokenizer
from .meter import ModelFacts, ProfileMeter
from .on_ray import RayMeters, ray_meters, require_cluster
from .progress import PromptProgress
from .prompt_file import PromptFile
from .report import shown_layers, write_profile

RESUME = "the run goes on from its last checkpoint"
KEPT_PROMPTS = 1024
"""Prompts whose tokens are kept while the report names tokens."""


class ProfileError(LayerLabError, ValueError):
    """The command cannot go on; the message says why and what to do."""


def run_profile(options: argparse.Namespace) -> int:
    """Profile ``options.model`` into ``options.out``; returns the exit status."""
    try:
        profile_model(options, make_console())
    except torch.cuda.OutOfMemoryError as error:
        smaller = f"--batch-tokens than {options.batch_tokens}"
        if options.images is not None:
            smaller = "--max-image-tokens"
        raise ProfileError(
            f"out of memory: {str(error).splitlines()[0]} Try a smaller {smaller}, or --dtype "
            "bfloat16"
        ) from error
    return 0


def profile_model(options: argparse.Namespace, console: Console) -> list[Path]:
    """Measure and write; returns what was written."""
    started = time.monotonic()
    out: Path = options.out
    if options.batch_tokens < 1:
        raise ProfileError(f"--batch-tokens is {options.batch_tokens}: it must be at least 1")
    require_folder(out)
    reference = _reference(options)
    source = _source(options)
    files = ModelFiles.find(options.model, options.tokenizer)
    with PromptProgress(console) as progress:
        if options.ray:
            with progress.waiting(f"Looking for Ray at {options.ray}"):
                require_cluster(options.ray, options.workers, options.device)
        with progress.waiting("Reading the tokenizer"):
            config, tokenizer = files.config(), files.tokenizer()
        require_fit(reference, config_width(config))
        indices = layer_indices(options.layers, config)
        prompts = _count(source, files, config, tokenizer, progress)
        plan = plan_batches(prompts.lengths, prompts.tokens_per_pass(options.batch_tokens))
        with _meters(options, files, plan) as meters:
            with progress.waiting("Loading the model"):
                facts = meters.facts()
            require_fit(reference, facts.width)
            _introduce(console, facts, prompts, options)
            checkpoint = Checkpoint(out, decisive_facts(options, files, facts, prompts, indices))
            stats = _measure(console, progress, meters, plan, prompts, indices, checkpoint)
        chosen = prompts.chosen
        profile = summarise(stats, facts.name, reference=reference, image_tokens=chosen)
        text = token_texts(prompts)
        with progress.waiting("Writing"), writing_in(out, RESUME):
            paths = write_profile(out, stats, profile, text, provenance(options, facts, prompts))
    checkpoint.remove()
    for line in reference_notes(profile, stats, facts.fingerprint):
        console.print(line, markup=False)
    for layer in shown_layers(profile):
        console.print(layer_finding(profile, layer, text), markup=False)
    for line in [sink_finding(profile), *left_out(profile)]:
        console.print(line, markup=False)
    console.print(
        f"\nWrote {out / 'report.html'}, profile.json and {len(paths) - 2} more files in "
        f"{time.monotonic() - started:.0f} s. Open report.html in a browser.",
        style="bold",
        markup=False,
    )
    return paths


def _source(options: argparse.Namespace) -> PromptFile | ImageSource:
    """What is to be measured, before the model is looked at."""
    if options.images is not None:
        return ImageSource.find(
            options.images, options.prompts, options.tokens, options.max_image_tokens
        )
    for name in ("tokens", "max_image_tokens"):
        if getattr(options, name) is not None:
            raise ProfileError(
                f"--{name.replace('_', '-')} is about images: give --images FOLDER too, or leave "
                "it out"
            )
    return PromptFile(options.prompts or CORPUS)


def _count(
    source: PromptFile | ImageSource,
    files: ModelFiles,
    config: Any,
    tokenizer: PromptTokenizer,
    progress: PromptProgress,
) -> TokenizedPrompts | ImagePrompts:
    """Everything that is to be measured, looked through once before the model is loaded."""
    limits = TokenLimits.of(config)
    if isinstance(source, PromptFile):
        with progress.prompts("Counting tokens", len(source)) as counted:
            return TokenizedPrompts.count(source, tokenizer, limits, lambda one: counted(one, 0))
    require_vision(files, config)
    image_token = require_image_tokens(files, tokenizer, config)
    how = ImageTokenizer(tokenizer, image_token, limits)
    with progress.prompts("Looking through them", len(source.folder), unit="images") as seen:
        return ImagePrompts.count(source, how, lambda one: seen(one, 0))


def _reference(options: argparse.Namespace) -> Reference | None:
    """What ``--reference`` names, read before anything is measured or written."""
    if options.reference is None:
        return None
    inside = options.reference.resolve().parent == options.out.resolve()
    if inside and options.reference.match("reference_-*.safetensors"):
        raise ProfileError(
            f"--reference {options.reference} lies in --out, where this run writes its own "
            "references: give another --out"
        )
    return load_reference(options.reference)


def layer_indices(layers: str, config: object) -> tuple[int, ...]:
    """Hidden states to measure, ascending, for "all" or a list such as "-2,-6,-10..-20".

    Raises:
        ProfileError: if it is no such list.
        LayerRangeError: if the model has no such layer.
    """
    blocks = config.get_text_config().num_hidden_layers
    try:
        numbers = parse_layers(layers, blocks)
    except LayerRangeError:
        raise
    except ValueError as error:
        raise ProfileError(
            f"--layers {layers!r} is neither 'all' nor a list like -2,-6: {error}"
        ) from None
    return tuple(sorted(hidden_state_index(number, blocks) for number in numbers))


def decisive_facts(
    options: argparse.Namespace,
    files: ModelFiles,
    facts: ModelFacts,
    prompts: TokenizedPrompts | ImagePrompts,
    indices: tuple[int, ...],
) -> dict[str, object]:
    """Everything that decides the numbers: a checkpoint of anything else is not continued."""
    return {
        "model": str(files.path),
        "model files": files.stamp(),
        "fingerprint": facts.fingerprint,
        **prompts.decisive(),
        "layers": list(indices),
        "dtype": facts.dtype,
        "device": facts.device.partition(":")[0],
        "batch tokens": prompts.tokens_per_pass(options.batch_tokens),
        "version": __version__,
    }


def provenance(
    options: argparse.Namespace, facts: ModelFacts, prompts: TokenizedPrompts | ImagePrompts
) -> dict[str, str]:
    """Where the numbers are from, for every reference and the report."""
    return {
        "model": facts.name,
        "fingerprint": facts.fingerprint,
        **prompts.origin(),
        "tokens": str(prompts.tokens),
        "dtype": facts.dtype,
        "device": facts.device,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": readable(shlex.join(options.typed)),
        "blocks": str(facts.blocks),
    }


def token_texts(prompts: TokenizedPrompts | ImagePrompts):
    """A function that gives the text of the token at a place, made when asked for."""
    ids = lru_cache(KEPT_PROMPTS)(prompts.ids)

    def text(place: Place) -> str:
        return prompts.tokenizer.text(ids(place.prompt)[place.position])

    return text


def _meters(options: argparse.Namespace, files: ModelFiles, plan: BatchPlan):
    """A context with the model, here or on Ray."""
    model = files.path, options.device, options.dtype, options.images is not None
    if not options.ray:
        return nullcontext(ProfileMeter(*model))
    return ray_meters(options.ray, options.workers, *model, group_shards=plan.group_shards)


def _introduce(
    console: Console,
    facts: ModelFacts,
    prompts: TokenizedPrompts | ImagePrompts,
    options: argparse.Namespace,
) -> None:
    where = f"{options.workers} Ray workers on {facts.device}" if options.ray else facts.device
    console.print(
        f"{facts.name}: {facts.blocks} blocks, width {facts.width}, fingerprint "
        f"{facts.fingerprint}; {where}, {facts.dtype}",
        style="bold",
        markup=False,
    )
    console.print(prompts.introduction, markup=False)


def _measure(
    console: Console,
    progress: PromptProgress,
    meters: ProfileMeter | RayMeters,
    plan: BatchPlan,
    prompts: TokenizedPrompts | ImagePrompts,
    indices: tuple[int, ...],
    checkpoint: Checkpoint,
) -> ProfileStats:
    """Measure every shard, going on from the checkpoint if there is one.

    On Ray checkpoints are of whole groups, so that a run that goes on has those of an unbroken one.
    """
    found = checkpoint.load()
    if checkpoint.note:
        console.print(
            f"Starting anew: there is a checkpoint in {checkpoint.path.parent}, but "
            f"{checkpoint.note}.",
            markup=False,
        )
    stats, done = found or (None, 0)
    if stats is not None:
        console.print(
            f"Going on from a checkpoint: {stats.prompts} {prompts.unit} are done.", markup=False
        )
    before = stats.prompts if stats is not None else 0
    with progress.prompts("Profiling", len(prompts), before, prompts.unit) as counted:
        shards = plan.read(range(done, plan.shards), prompts)
        for part, count in meters.measure_all(shards, indices, counted):
            stats = part if stats is None else stats.merge(part)
            done += count
            with writing_in(checkpoint.out, RESUME):
                checkpoint.save(stats, done)
    return stats
