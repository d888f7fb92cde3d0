"""``layerlab dim``: what single dimensions of a hidden state do in their language model."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from ... import __version__
from ...core.checks import LayerLabError, require_whole_number
from ...core.dimension.loss import Variant
from ...core.dimension.probe import PLAIN, DimensionProbe, LayerProbe, Measures, Task
from ...core.dimension.words import headline, sink_sentence
from ...core.encoder.layers import LayerRangeError, hidden_state_index, parse_layers
from ...core.profile.profile import Profile, summarise
from ...core.shipped import CORPUS
from ...core.tables import enumerate_some
from ..model.errors import readable
from ..model.files import ModelFiles
from ..out_folder import require_folder, writing_in
from ..profile.batches import Batch, TokenLimits
from ..profile.meter import ModelFacts
from ..profile.on_ray import require_cluster
from ..profile.progress import PromptProgress
from ..profile.prompt_file import PromptFile
from ..show.console import make_console, print_table
from .checkpoint import LossCheckpoint
from .dit_file import DitFirstLayer, read_first_layer
from .meter import DimMeter, LocalMeter, LossJob
from .on_ray import RayDimMeters, ray_dim_meters
from .prompts import DimPrompts, read_prompts
from .report import cost_table, write_report

EMERGENCE = "emergence"
MOST_PROBED = 4
"""Dimensions that are probed where none is named: the farthest out of line."""
MOST_CONTROLS, MOST_PROMPTS = 256, 4096
RUNS_PER_JOB = 48
"""Prompts that a job runs at least: what is checkpointed, and sent to a worker of Ray."""
MOST_VALUES = 2**27
"""Values of hidden states that are kept at a time, 512 MB in float32 (or one hidden state's)."""
RESUME = "the run goes on from its last checkpoint"


class DimError(LayerLabError, ValueError):
    """The command cannot go on; the message says why and what to do."""


class Chosen(NamedTuple):
    """Hidden states, and the dimensions that are probed at each of them."""

    indices: tuple[int, ...]
    dimensions: tuple[int, ...]
    note: str


def run_dim(options: argparse.Namespace) -> int:
    """Probe dimensions of ``options.model`` into ``options.out``; returns the exit status."""
    try:
        probe_model(options, make_console())
    except torch.cuda.OutOfMemoryError as error:
        raise DimError(
            f"out of memory: {str(error).splitlines()[0]} Try a smaller --batch-tokens than "
            f"{options.batch_tokens}, or --dtype bfloat16"
        ) from error
    return 0


def probe_model(options: argparse.Namespace, console: Console) -> list[DimensionProbe]:
    """Measure, print and write; returns what was found."""
    started = time.monotonic()
    measures = _measures(options)
    require_folder(options.out)
    source = PromptFile(options.prompts or CORPUS)
    files = ModelFiles.find(options.model, options.tokenizer)
    with PromptProgress(console) as progress:
        if options.ray:
            with progress.waiting(f"Looking for Ray at {options.ray}"):
                require_cluster(options.ray, options.workers, options.device)
        with progress.waiting("Reading the tokenizer"):
            config, tokenizer = files.config(), files.tokenizer()
        blocks = config.get_text_config().num_hidden_layers
        width = config.get_text_config().hidden_size
        _parse_layers(options.layers, blocks)
        _require_dimensions(options.dimensions, width)
        first_layer = None if options.dit is None else read_first_layer(options.dit, width)
        with progress.prompts("Counting tokens", len(source)) as counted:
            prompts = read_prompts(
                source, tokenizer, TokenLimits.of(config), lambda one: counted(one, 0)
            )
        with _meters(options, files) as meters:
            with progress.waiting("Loading the model"):
                facts = meters.facts()
            _introduce(console, facts, prompts, options)
            chosen = _choose(options, facts, prompts, meters, measures, progress)
            if chosen.note:
                console.print(chosen.note, markup=False)
            checkpoint = LossCheckpoint(
                options.out, _decisive(options, files, facts, prompts, chosen, measures)
            )
            _load(checkpoint, console)
            run = _Run(meters, prompts, chosen.dimensions, facts, measures, options, first_layer)
            probes = run.probe_all(chosen.indices, checkpoint, progress)
        with progress.waiting("Writing"), writing_in(options.out, RESUME):
            paths = write_report(
                options.out, probes, _facts(options, facts, prompts, run), chosen.note
            )
    checkpoint.remove()
    for probe in probes:
        print_table(console, cost_table(probe))
    for probe in probes:
        for line in (headline(probe), sink_sentence(probe)):
            console.print(line, markup=False)
    console.print(
        f"\nWrote {options.out / 'report.html'}, dim.json and {len(paths) - 2} more files in "
        f"{time.monotonic() - started:.0f} s. Open report.html in a browser.",
        style="bold",
        markup=False,
    )
    return probes


class _Run:
    """The probing of some dimensions, hidden state by hidden state."""

    def __init__(
        self,
        meters: LocalMeter | RayDimMeters,
        prompts: DimPrompts,
        dimensions: Sequence[int],
        facts: ModelFacts,
        measures: Measures,
        options: argparse.Namespace,
        first_layer: DitFirstLayer | None,
    ):
        self.meters, self.prompts, self.dimensions = meters, prompts, tuple(dimensions)
        self.facts, self.measures, self.options = facts, measures, options
        self.first_layer = first_layer
        self._kept: dict[int, list[Tensor]] = {}
        self.loss_prompts = min(measures.losses, len(prompts.tokens))
        self.control_prompts = min(measures.control_prompts, self.loss_prompts)

    def probe_all(
        self, indices: Sequence[int], checkpoint: LossCheckpoint, progress: PromptProgress
    ) -> list[DimensionProbe]:
        """Every dimension at every hidden state of ``indices``."""
        with progress.waiting("Reading the output weights"):
            columns = self.meters.columns(self.dimensions)
        found = []
        tokens = self.prompts.tokens
        for index in indices:
            layer = index - self.facts.blocks - 1
            with progress.waiting(f"Measuring layer {layer}"):
                states = torch.cat(self._states(index, indices))
                probe = LayerProbe(tokens, index, self.facts.blocks, states, self.measures)
                _require_finite(probe)
            losses = checkpoint.of(index)
            self._measure(probe, losses, checkpoint, progress, f"Replacing at layer {layer}")
            with progress.waiting(f"Telling tokens apart at layer {layer}"):
                for dimension, column in zip(self.dimensions, columns, strict=True):
                    weights = () if self.first_layer is None else self.first_layer
                    found.append(
                        probe.result(
                            dimension,
                            self.dimensions,
                            losses,
                            column,
                            self.prompts.tokenizer.text,
                            *weights,
                        )
                    )
        return found

    def _states(self, index: int, indices: Sequence[int]) -> list[Tensor]:
        """Hidden state ``index`` of all prompts; of those after it as many as fit are kept too, for
        one pass gives all."""
        if index not in self._kept:
            values = len(self.prompts.tokens.ids) * self.facts.width
            some = max(1, MOST_VALUES // values)
            ahead = [one for one in indices if one >= index][:some]
            self._kept = self.meters.states(self.prompts.tokens.prompts, ahead)
        return self._kept.pop(index)

    def _measure(
        self,
        probe: LayerProbe,
        losses: dict[str, list[float]],
        checkpoint: LossCheckpoint,
        progress: PromptProgress,
        what: str,
    ) -> None:
        tasks = probe.tasks(self.dimensions)
        total = probe.losses + sum(task.prompts for task in tasks)
        left = [task for task in tasks if task.name not in losses]
        todo = sum(task.prompts for task in left) + (0 if PLAIN in losses else probe.losses)
        named: list[tuple[list[str], LossJob]] = []

        def jobs() -> Iterator[LossJob]:
            for names, job in self._jobs(probe, left, PLAIN in losses):
                named.append((names, job))
                yield job

        with progress.prompts(what, total, total - todo, "prompts") as counted:
            for number, found in enumerate(
                self.meters.losses_of_all(jobs(), lambda runs: counted(runs, 0))
            ):
                losses.update(zip(named[number][0], found, strict=True))
                with writing_in(self.options.out, RESUME):
                    checkpoint.save()

    def _jobs(
        self, probe: LayerProbe, tasks: Sequence[Task], plain_is_known: bool
    ) -> Iterator[tuple[list[str], LossJob]]:
        """Jobs with the names of their losses; those of one job run over the same prompts."""
        tokens = self.prompts.tokens
        prompts = tokens.prompts[: probe.losses]
        predicted = tuple(tokens.predicted(number) for number in range(probe.losses))

        def job(variants: Sequence[Variant], count: int) -> LossJob:
            return LossJob(probe.index, prompts, predicted, tuple(variants), count)

        if not plain_is_known:
            yield [PLAIN], job([Variant(0, None)], probe.losses)
        for count in dict.fromkeys(task.prompts for task in tasks):
            same = [task for task in tasks if task.prompts == count]
            size = -(-RUNS_PER_JOB // count)
            for first in range(0, len(same), size):
                part = same[first : first + size]
                yield (
                    [task.name for task in part],
                    job([probe.variant(task) for task in part], count),
                )


def _measures(options: argparse.Namespace) -> Measures:
    try:
        if options.batch_tokens < 1:
            raise ValueError(f"--batch-tokens is {options.batch_tokens}: it must be at least 1")
        return Measures(
            require_whole_number("--loss-prompts", options.loss_prompts, 2, MOST_PROMPTS),
            require_whole_number("--controls", options.controls, 0, MOST_CONTROLS),
            require_whole_number("--control-prompts", options.control_prompts, 1, MOST_PROMPTS),
        )
    except ValueError as error:
        raise DimError(str(error)) from None


def _parse_layers(layers: str, blocks: int) -> tuple[bool, tuple[int, ...]]:
    """Whether "emergence" is among them, and the hidden states of the others, as written."""
    parts = [part.strip() for part in layers.split(",")]
    numbers = [part for part in parts if part.lower() != EMERGENCE]
    if not numbers:
        return True, ()
    try:
        chosen = parse_layers(",".join(numbers), blocks)
    except LayerRangeError:
        raise
    except ValueError as error:
        raise DimError(
            f"--layers {layers!r} is neither 'all' nor a list like emergence,-2,-6: {error}"
        ) from None
    emergence = len(numbers) < len(parts)
    return emergence, tuple(hidden_state_index(layer, blocks) for layer in chosen)


def _require_dimensions(dimensions: Sequence[int], width: int) -> None:
    for dimension in dimensions:
        if not 0 <= dimension < width:
            raise DimError(
                f"DIM {dimension} does not exist: this model's hidden states have the dimensions 0 "
                f"to {width - 1}"
            )


@contextmanager
def _meters(options: argparse.Namespace, files: ModelFiles) -> Iterator[LocalMeter | RayDimMeters]:
    model = files.path, options.device, options.dtype, options.batch_tokens
    if not options.ray:
        yield LocalMeter(DimMeter(*model))
        return
    with ray_dim_meters(options.ray, options.workers, *model) as meters:
        yield meters


def _introduce(
    console: Console, facts: ModelFacts, prompts: DimPrompts, options: argparse.Namespace
) -> None:
    where = f"{options.workers} Ray workers on {facts.device}" if options.ray else facts.device
    console.print(
        f"{facts.name}: {facts.blocks} blocks, width {facts.width}, fingerprint "
        f"{facts.fingerprint}; {where}, {facts.dtype}",
        style="bold",
        markup=False,
    )
    console.print(prompts.introduction, markup=False)


def _choose(
    options: argparse.Namespace,
    facts: ModelFacts,
    prompts: DimPrompts,
    meters: LocalMeter | RayDimMeters,
    measures: Measures,
    progress: PromptProgress,
) -> Chosen:
    emergence, indices = _parse_layers(options.layers, facts.blocks)
    if options.dimensions and not emergence:
        return Chosen(tuple(sorted(set(indices))), tuple(dict.fromkeys(options.dimensions)), "")
    with progress.waiting("Profiling every layer"):
        first = prompts.tokens.prompts[: measures.losses]
        batches: list[Batch] = [[(number, list(ids))] for number, ids in enumerate(first)]
        stats = meters.survey(batches, range(facts.blocks + 1))
        profile = summarise(stats, facts.name)
    if emergence:
        indices = (profile.emergence_layer, *indices)
    indices = tuple(sorted(set(indices)))
    if options.dimensions:
        return Chosen(indices, tuple(dict.fromkeys(options.dimensions)), "")
    found = _outliers(profile, indices)
    if not found:
        loudest = stats.dimensions[indices[-1]].all.std.argmax()
        return Chosen(
            indices,
            (int(loudest),),
            f"No dimension is out of line at these layers: probed is the loudest, {int(loudest)}.",
        )
    note = f"Out of line at these layers: {enumerate_some(map(str, found), 12)}."
    if len(found) > MOST_PROBED:
        note += f" Probed are the {MOST_PROBED} that are farthest out of line; name others as DIM."
    return Chosen(indices, tuple(found[:MOST_PROBED]), note)


def _outliers(profile: Profile, indices: Sequence[int]) -> list[int]:
    """The loud outliers of some hidden states, by how far out of line each is anywhere."""
    farthest: dict[int, float] = {}
    for layer in profile.layers:
        for outlier in layer.outliers:
            if layer.index in indices and outlier.direction == "loud":
                known = farthest.get(outlier.dimension, 0.0)
                farthest[outlier.dimension] = max(known, outlier.ratio)
    return sorted(farthest, key=lambda dimension: (-farthest[dimension], dimension))


def _require_finite(probe: LayerProbe) -> None:
    if not bool(probe.states.isfinite().all()):
        raise DimError(
            f"hidden state {probe.index} holds NaN or infinity: the model overflowed; run it with "
            "--dtype float32"
        )


def _load(checkpoint: LossCheckpoint, console: Console) -> None:
    done = checkpoint.load()
    if checkpoint.note:
        console.print(
            f"Starting anew: there is a checkpoint in {checkpoint.path.parent}, but "
            f"{checkpoint.note}.",
            markup=False,
        )
    if done:
        console.print(f"Going on from a checkpoint: {done} replacements are done.", markup=False)


def _decisive(
    options: argparse.Namespace,
    files: ModelFiles,
    facts: ModelFacts,
    prompts: DimPrompts,
    chosen: Chosen,
    measures: Measures,
) -> dict[str, Any]:
    """Everything that decides the losses: a checkpoint of anything else is not continued."""
    return {
        "model": str(files.path),
        "model files": files.stamp(),
        "fingerprint": facts.fingerprint,
        "prompts": prompts.digest,
        "layers": list(chosen.indices),
        "dimensions": list(chosen.dimensions),
        **measures._asdict(),
        "dtype": facts.dtype,
        "device": facts.device.partition(":")[0],
        "batch tokens": options.batch_tokens,
        "version": __version__,
    }


def _facts(
    options: argparse.Namespace, facts: ModelFacts, prompts: DimPrompts, run: _Run
) -> dict[str, Any]:
    tokens = prompts.tokens
    return {
        "model": {
            "name": facts.name,
            "fingerprint": facts.fingerprint,
            "blocks": facts.blocks,
            "width": facts.width,
        },
        "prompts": len(tokens),
        "tokens": len(tokens.ids),
        "loss_prompts": run.loss_prompts,
        "control_prompts": run.control_prompts,
        "shared_tokens": [tokens.start, tokens.end],
        "provenance": {
            **prompts.file.origin(),
            "dtype": facts.dtype,
            "device": facts.device,
            "dit": "" if options.dit is None else readable(options.dit.name),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": readable(shlex.join(options.typed)),
            "version": __version__,
        },
    }
