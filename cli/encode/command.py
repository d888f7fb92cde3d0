"""``layerlab encode``: caption caches at any layer, where trainers themselves encode at -2."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from ... import __version__
from ...core.caption_cache.ai_toolkit import FOLDER, AiToolkit
from ...core.caption_cache.cached import DTYPES, SAME_LAYER, Cached, CacheFormat
from ...core.caption_cache.formats import FORMATS
from ...core.checks import require_finite_states
from ...core.edit.state_edits import LayerChoice, StateEdits
from ...core.files.atomic import sweep
from ...core.measure.moments import to_dtype
from ...core.record.record import Record, assign_roles
from ..model.errors import readable
from ..model.files import ModelFiles
from ..out_folder import require_folder, writing_in
from ..profile.against import config_width, require_fit
from ..profile.batches import TokenLimits, plan_batches
from ..profile.meter import ModelFacts
from ..profile.on_ray import require_cluster
from ..profile.progress import PromptProgress
from ..queue.lock import sole_run
from ..show.console import make_console
from .cache_folder import CacheFolder
from .captions import read_captions
from .check import run_check
from .encoder import CaptionEncoder
from .on_ray import RayEncoders, ray_encoders
from .settings import EncodeError, layer_choice, settings_of, state_edits
from .targets import Targets
from .tokens import CaptionTokenizer

OUT = Path("layerlab-encode")
"""Where caches go if ``--out`` does not say."""
LEFT_OUT = 3
"""Exit status where some captions were left out."""
RESUME = "it goes on with what is missing"
SHOWN = 20
"""Captions left out that the terminal lists; all of them are in the report."""
WARNING = SAME_LAYER.format(these="these caches")


def run_encode(options: argparse.Namespace) -> int:
    """Write caches of ``options.captions``, or check a folder of them; returns the exit status."""
    if options.check is not None:
        return run_check(options.check, make_console())
    if options.captions is None or options.model is None or options.format is None:
        raise EncodeError(
            "something is missing: layerlab encode CAPTIONS --model MODEL --format "
            f"{{{','.join(FORMATS)}}}, or layerlab encode --check DIR"
        )
    try:
        return encode_captions(options, make_console())
    except torch.cuda.OutOfMemoryError as error:
        raise EncodeError(
            f"out of memory: {str(error).splitlines()[0]} Try a smaller --batch-tokens than "
            f"{options.batch_tokens}"
        ) from error


def encode_captions(options: argparse.Namespace, console: Console) -> int:
    """Encode and write; returns the exit status."""
    started = time.monotonic()
    for name in ("batch_tokens", "max_tokens"):
        if getattr(options, name) < 1:
            shown = name.replace("_", "-")
            raise EncodeError(f"--{shown} is {getattr(options, name)}: it must be at least 1")
    out = _out(options)
    require_folder(out)
    kind = _format(options)
    edits = state_edits(options)
    found = read_captions(options.captions)
    files = ModelFiles.find(options.model, options.tokenizer)
    with PromptProgress(console) as progress:
        if options.ray:
            with progress.waiting(f"Looking for Ray at {options.ray}"):
                require_cluster(options.ray, options.workers, options.device)
        with progress.waiting("Reading the tokenizer"):
            config, tokenizer = files.config(), CaptionTokenizer.of(files)
        choice = layer_choice(options, config)
        require_fit(edits.reference, config_width(config))
        targets = Targets(
            kind,
            tokenizer,
            TokenLimits.of(config),
            options.max_tokens,
            options.cut,
            problems=found.problems,
        )
        with progress.prompts("Counting tokens", len(found.usable), unit="captions") as counted:
            targets.add_all(found.usable, counted)
        if options.dropout:
            targets.add_dropped([one.stem for one in found.usable], kind.dropped_caption)
        with _encoder(options, files) as encoder:
            with progress.waiting("Loading the model"):
                facts = encoder.facts()
            require_fit(edits.reference, facts.width)
            settings = settings_of(options, facts, choice, edits, tokenizer)
            folder = CacheFolder(out, targets.kind, settings)
            about = _about(options)
            run = _Run(encoder, facts, folder, targets, choice, edits, DTYPES[options.dtype])
            with writing_in(out, RESUME), sole_run(out):
                sweep(folder.path, age=0)
                with progress.waiting("Looking at what is there"):
                    missing = folder.find_missing(targets.all, options.overwrite)
                _introduce(console, facts, settings, targets, len(missing))
                folder.write_report(**about, finished=False, left_out=targets.problems)
                run.write({target.name for target in missing}, options.batch_tokens, progress)
                with progress.waiting("Writing the report"):
                    folder.complete(targets.all)
                    folder.write_report(**about, finished=True, left_out=targets.problems)
    _close(console, folder, targets.problems, run.written, time.monotonic() - started)
    return LEFT_OUT if targets.problems else 0


class _Run:
    """From captions to files.

    Attributes:
        written: how many files were.
    """

    def __init__(
        self,
        encoder: CaptionEncoder | RayEncoders,
        facts: ModelFacts,
        folder: CacheFolder,
        targets: Targets,
        choice: LayerChoice,
        edits: StateEdits,
        dtype: torch.dtype,
    ):
        self.encoder, self.facts, self.folder = encoder, facts, folder
        self.targets, self.choice, self.edits = targets, choice, edits
        self.dtype = dtype
        self.written = 0

    def write(self, missing: set[str], batch_tokens: int, progress: PromptProgress) -> None:
        """Make the ``missing`` files.

        Batches are planned from all captions, so that a run that goes on computes what an unbroken
        one does: padding changes the last bits.
        """
        captions = self.targets.captions
        plan = plan_batches([len(self.targets.ids[one]) for one in captions], batch_tokens)
        batches = []
        for shard in range(plan.shards):
            for numbers in plan.numbers(shard):
                batch = [captions[number] for number in numbers]
                names = {target.name for one in batch for target in self.targets.files[one]}
                if names & missing:
                    batches.append(batch)
        total = len(self.targets.all)
        with progress.prompts(
            "Encoding", total, total - len(missing), "captions", "captions"
        ) as done:
            ids = ([self.targets.ids[one].tolist() for one in batch] for batch in batches)
            encoded = self.encoder.encode_all(ids, self.choice)
            for batch, states in zip(batches, encoded, strict=True):
                for caption, hidden in zip(batch, states, strict=True):
                    self._write(caption, hidden, missing)
                    named = [target.name for target in self.targets.files[caption]]
                    done(len(missing.intersection(named)), 0)

    def _write(self, caption: str, hidden: Tensor, missing: set[str]) -> None:
        """The files of one caption, of ``hidden`` (tokens, width)."""
        files = [one for one in self.targets.files[caption] if one.name in missing]
        try:
            require_finite_states(hidden[None], "the state")
            edited, record = self.edits.apply(hidden[None], self._record(caption))
        except ValueError as error:
            names = ", ".join(readable(target.name) for target in files)
            self.targets.problems.append(f"{names}: {error}")
            return
        cached = Cached(to_dtype(edited[0], self.dtype), caption, self.folder.settings)
        for target in files:
            path = self.folder.path / target.name
            self.folder.kind.write(path, cached, record)
            self.folder.add(target.name, len(cached.states))
            self.written += 1

    def _record(self, caption: str) -> Record:
        """The record of a caption's states before they are edited."""
        ids = self.targets.ids[caption].tolist()
        texts = tuple(self.targets.tokenizer.tokenizer.text(one) for one in ids)
        return Record(
            layer=self.choice.layer,
            source=self.facts.name,
            ids=tuple(ids),
            texts=texts,
            roles=assign_roles(texts),
            edits=tuple(filter(None, [self.choice.edit])),
            fingerprint=self.facts.fingerprint,
            prompt=self.targets.prompt(caption),
        )


def _format(options: argparse.Namespace) -> CacheFormat:
    """``--format``, with what belongs to ai-toolkit alone."""
    if options.format == AiToolkit.name:
        return AiToolkit(options.trigger)
    for name in ("trigger", "dropout"):
        if getattr(options, name):
            raise EncodeError(
                f"--{name} is about ai-toolkit: say --format ai-toolkit, or leave it out"
            )
    return FORMATS[options.format]()


def _out(options: argparse.Namespace) -> Path:
    """``--out``, or what stands for it."""
    if options.out is not None:
        return options.out
    if options.format == AiToolkit.name and options.captions.is_dir():
        return options.captions / FOLDER
    return OUT


def _encoder(
    options: argparse.Namespace, files: ModelFiles
) -> AbstractContextManager[CaptionEncoder | RayEncoders]:
    """A context with the model, here or on Ray."""
    model = files.path, options.device, "float32" if options.dtype == "f32" else "auto"
    if not options.ray:
        return nullcontext(CaptionEncoder(*model))
    return ray_encoders(options.ray, options.workers, *model)


def _about(options: argparse.Namespace) -> dict[str, Any]:
    """What the report says of the run."""
    return {
        "command": readable(shlex.join(options.typed)),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_by": f"Z-Image Layer Lab {__version__}",
        "warning": WARNING,
    }


def _introduce(
    console: Console, facts: ModelFacts, settings: dict[str, Any], targets: Targets, missing: int
) -> None:
    console.print(
        f"{facts.name}: {facts.blocks} blocks, width {facts.width}, fingerprint "
        f"{facts.fingerprint}; {facts.device}, {facts.dtype}",
        style="bold",
        markup=False,
    )
    how = "; ".join([f"layer {settings['layer']}", *settings["edits"]])
    files = targets.all
    tokens = sum(len(targets.ids[target.caption]) for target in files)
    template = settings["template"].replace("model's", "the model's").replace("none", "no")
    console.print(
        f"{len(files)} caption{'s' * (len(files) != 1)}, {tokens} tokens, in {template} chat "
        f"template; {how}; {settings['dtype']}, for {settings['format']}",
        markup=False,
    )
    if missing < len(files):
        console.print(f"{len(files) - missing} of them are there already.", markup=False)


def _close(
    console: Console, folder: CacheFolder, problems: Sequence[str], written: int, seconds: float
) -> None:
    for problem in problems[:SHOWN]:
        console.print(f"Left out: {problem}.", markup=False)
    if len(problems) > SHOWN:
        console.print(f"... and {len(problems) - SHOWN} more, in layerlab-encode.json.")
    console.print(WARNING, markup=False)
    console.print(
        f"\nWrote {written} caches in {seconds:.0f} s; {folder.path} has {len(folder.files)}, and "
        f"layerlab-encode.json says how they were made.",
        style="bold",
        markup=False,
    )
