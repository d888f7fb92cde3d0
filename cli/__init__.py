"""The command ``layerlab``: its arguments, its subcommands and the handler of their errors."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .. import __version__


def run() -> int:
    """The installed command: :func:`main` in a process of its own."""
    # What torch and transformers make while they are imported is no garbage. Python looks for some
    # among it ten times, and once more at its end: a second each.
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status.

    0: done. 1: failed, with a message on standard error, unless the error has an ``exit_status``
    of its own. 130: interrupted.
    """
    # The commands show their own progress; transformers' bars would write across it.
    os.environ.setdefault("TQDM_DISABLE", "1")
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal lacks, or a name that is not UTF-8, must not end a run.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(_join_layers(given))
    options.typed = ["layerlab", *given]
    try:
        return _run(options)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__package__.partition(".")[0]):
            raise
        extra = "ray" if error.name == "ray" else "demo"
        sys.stderr.write(
            f"layerlab {options.command} needs the package {error.name}: "
            f'python -m pip install "zimage-layer-lab[{extra}]"\n'
        )
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nlayerlab: interrupted\n")
        return 130


def _run(options: argparse.Namespace) -> int:
    """Run the chosen command; what a user can mend becomes a message and an exit status."""
    from ..core.errors import LayerLabError

    module, function = options.run
    try:
        return getattr(import_module(f".{module}", __package__), function)(options)
    except (LayerLabError, OSError) as error:
        words = ["layerlab", options.command, *filter(None, [getattr(options, "action", None)])]
        sys.stderr.write(f"{' '.join(words)}: {error}\n")
        return getattr(error, "exit_status", 1)


def _join_layers(arguments: list[str]) -> list[str]:
    """Join "--layers" and "-2,-6" into one word: argparse would take the second for an option."""
    joined: list[str] = []
    for word in arguments:
        follows = bool(joined) and joined[-1] in ("--layer", "--layers", "--layers-b")
        if follows and re.fullmatch(r"-\d[\d,.:\s-]*", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="layerlab", description="Look into the hidden states that Z-Image is conditioned on."
    )
    parser.add_argument("--version", action="version", version=f"layerlab {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    adders = (
        _add_demo,
        _add_profile,
        _add_dim,
        _add_compare,
        _add_encode,
        _add_concept,
        _add_queue,
        _add_stats,
    )
    for add in adders:
        add(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        "demo",
        help="profile a real small language model, and run a workflow where ComfyUI is found",
        description="Profiles SmolLM2-135M-Instruct over a dozen image prompts, prints which "
        "dimension is an outlier and which token carries it, and writes report.html, "
        "profile.json and PNGs. Where a ComfyUI is found it also runs layer_compare there, on "
        "tiny random weights.",
    )
    _add_out(demo, "layerlab-demo")
    demo.add_argument("--no-comfyui", action="store_true", help="leave the ComfyUI part out")
    demo.set_defaults(run=("demo.command", "run_demo"))


def _add_profile(commands: argparse._SubParsersAction) -> None:
    profile = commands.add_parser(
        "profile",
        help="measure every layer of a decoder language model over many prompts or images",
        description="Streams prompts through a local model (a transformers folder with "
        "safetensors, a diffusers pipeline, a Hugging Face cache folder, a GGUF file, or ComfyUI's "
        "single file of a Qwen3 or Qwen3-VL text encoder), or images through a Qwen3-VL, and "
        "writes profile.json, reference_<layer>.safetensors, PNGs and report.html. An interrupted "
        "run goes on where it stopped when it is started again with the same arguments.",
    )
    profile.add_argument(
        "model", type=Path, help="model folder, GGUF file, or ComfyUI's .safetensors text encoder"
    )
    profile.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with the tokenizer's files (default: the model's own; for ComfyUI's single "
        "file that of the ComfyUI that is found)",
    )
    profile.add_argument(
        "--prompts",
        type=Path,
        help="text file in UTF-8, one prompt a line (default: the shipped corpus); with --images "
        "the text after each image, one for all or one for each (default: none)",
    )
    profile.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="measure the images of this folder, one a prompt, in the order of their names; MODEL "
        "is a Qwen3-VL folder",
    )
    profile.add_argument(
        "--tokens",
        choices=("image", "all"),
        help="with --images: measure the image tokens alone, or every token of the prompt "
        "(default: image)",
    )
    profile.add_argument(
        "--max-image-tokens",
        type=int,
        metavar="N",
        help="with --images: budget of each image, one token per 32x32 pixels; a larger image is "
        "scaled down (default: 1024)",
    )
    profile.add_argument(
        "--layers",
        default="all",
        help="all, or numbers and ranges such as -2,-6,-10..-20 (default: %(default)s)",
    )
    _add_out(profile, "layerlab-profile")
    _add_device(profile)
    profile.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="measure dimensions against this reference, of any model and layer of the same "
        "width: .safetensors of this pack or llm-dit's .npz (default: each layer's own median)",
    )
    _add_ray(profile)
    profile.set_defaults(run=("profile.command", "run_profile"))


def _add_dim(commands: argparse._SubParsersAction) -> None:
    dim = commands.add_parser(
        "dim",
        help="what a dimension does in its language model: a constant, a signal, or nothing",
        description="Replaces a dimension of a hidden state by zero, by its mean, and by its value "
        "in another prompt, and measures what each costs the language model, against control "
        "dimensions; says where the dimension's variance is, which tokens drive it, what it writes "
        "and knows, and what the image model receives of it. Takes every model that layerlab "
        "profile takes, and writes dim.json, a PNG per dimension and report.html. An interrupted "
        "run goes on where it stopped when it is started again with the same arguments.",
    )
    dim.add_argument(
        "model", type=Path, help="model folder, GGUF file, or ComfyUI's .safetensors text encoder"
    )
    dim.add_argument(
        "dimensions",
        type=int,
        nargs="*",
        metavar="DIM",
        help="dimensions, from 0 (default: those that are farthest out of line)",
    )
    dim.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with the tokenizer's files, as for layerlab profile",
    )
    dim.add_argument(
        "--prompts",
        type=Path,
        help="text file in UTF-8, one prompt a line (default: the shipped corpus)",
    )
    dim.add_argument(
        "--layers",
        default="emergence,-2,-6",
        help="all, numbers and ranges such as -2,-6,-10..-20, and emergence: the hidden state at "
        "which the massive activation arises (default: %(default)s)",
    )
    dim.add_argument(
        "--loss-prompts",
        type=int,
        default=16,
        metavar="N",
        help="prompts on which losses are measured, drawn from all (default: %(default)s)",
    )
    dim.add_argument(
        "--controls",
        type=int,
        default=24,
        metavar="N",
        help="control dimensions: as many at random, and as many of about the same spread "
        "(default: %(default)s)",
    )
    dim.add_argument(
        "--control-prompts",
        type=int,
        default=4,
        metavar="N",
        help="of the former prompts, those on which the controls are run; the dimension is "
        "compared with them on the same (default: %(default)s)",
    )
    dim.add_argument(
        "--dit",
        type=Path,
        metavar="FILE",
        help="the diffusion model's .safetensors: how strongly its first layer takes the dimension",
    )
    _add_out(dim, "layerlab-dim")
    _add_device(dim)
    _add_ray(dim)
    dim.set_defaults(run=("dim.command", "run_dim"))


def _add_compare(commands: argparse._SubParsersAction) -> None:
    compare = commands.add_parser(
        "compare",
        help="put two profiles, or two runs of layerlab dim, side by side",
        description="Two models, base against instruct, two quantisations, or two layers of one "
        "model: a table, a picture, and in words what the numbers say. Of two dim.json, the "
        "dimensions that both have at the same layers.",
    )
    for name in ("a", "b"):
        compare.add_argument(name, type=Path, help="profile.json or dim.json, or its folder")
    compare.add_argument(
        "--layers",
        default="-2,-6",
        help="layers to compare: all, numbers, or ranges such as -2..-6 (default: %(default)s)",
    )
    compare.add_argument(
        "--layers-b", help="the layers of B, as many, where they are others than A's"
    )
    _add_out(compare, "layerlab-compare")
    compare.set_defaults(run=("dim.compare", "run_compare"))


def _add_encode(commands: argparse._SubParsersAction) -> None:
    encode = commands.add_parser(
        "encode",
        help="write caption caches at any layer that trainers read",
        description="Encodes captions in Z-Image's prompt with a local model and writes one cache "
        "for each image, as musubi-tuner reads it or as the node Save Embedding writes it. Started "
        "again it makes what is missing. Exit status: 0 all done, 1 bad input, 3 some captions "
        "were left out, and the output says which and why.",
    )
    encode.add_argument(
        "captions",
        type=Path,
        nargs="?",
        metavar="CAPTIONS",
        help="a folder of images with .txt files of the same names, a .jsonl with image_path and "
        "caption, or a text file with one caption a line",
    )
    encode.add_argument(
        "--model",
        type=Path,
        help="model folder, GGUF file, or ComfyUI's .safetensors text encoder",
    )
    encode.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with the tokenizer's files (default: the model's own; for ComfyUI's single "
        "file that of the ComfyUI that is found)",
    )
    encode.add_argument(
        "--format",
        choices=("musubi", "ai-toolkit", "plain"),
        help="who reads them: musubi-tuner, ai-toolkit, or (plain) the node Load Embedding",
    )
    encode.add_argument(
        "--trigger",
        default="",
        metavar="WORD",
        help="with ai-toolkit: the trigger_word of its configuration",
    )
    encode.add_argument(
        "--dropout",
        action="store_true",
        help="with ai-toolkit: write what a caption_dropout_rate over 0 needs too",
    )
    encode.add_argument(
        "--layer",
        default="-2",
        help="a layer such as -6, a mix such as '-2: 0.5, -6: 0.5' as in Layer Mix, or all for "
        "the mean of all normalised layers (default: %(default)s)",
    )
    encode.add_argument(
        "--mix",
        type=_with_spaces,
        choices=("raw", "rms matched"),
        default="rms matched",
        metavar="METHOD",
        help="how a mix is made: raw or rms-matched (default: rms-matched)",
    )
    encode.add_argument(
        "--mask",
        type=_with_spaces,
        choices=("zero", "clamp", "scale", "mean", "drop sinks", "sink to mean"),
        metavar="MODE",
        help="mask outliers as Outlier Mask does: zero, clamp, scale, mean, drop-sinks, "
        "sink-to-mean",
    )
    encode.add_argument(
        "--threshold", type=float, default=10.0, help="with --mask (default: %(default)g)"
    )
    encode.add_argument(
        "--direction",
        choices=("loud", "quiet", "both"),
        default="loud",
        help="with --mask: which outliers (default: %(default)s)",
    )
    encode.add_argument(
        "--exclude-sinks",
        action="store_true",
        help="with --mask: judge dimensions without sink tokens",
    )
    encode.add_argument(
        "--normalize",
        type=_with_spaces,
        choices=("global", "per dimension", "hybrid", "rms per token"),
        metavar="METHOD",
        help="after that, normalize as Normalize Embedding does: global, per-dimension, hybrid, "
        "rms-per-token",
    )
    encode.add_argument(
        "--normalize-sinks",
        action="store_true",
        help="with --normalize: treat sink tokens like all others",
    )
    encode.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="with --mask or --normalize: what to measure against, .safetensors of this pack or "
        "llm-dit's .npz",
    )
    encode.add_argument(
        "--dtype",
        choices=("bf16", "f32"),
        default="bf16",
        help="of the caches; with f32 the model computes in float32 too (default: %(default)s)",
    )
    encode.add_argument(
        "--max-tokens",
        type=int,
        default=512,
        metavar="N",
        help="most tokens of a caption, template included; trainers cut there (default: "
        "%(default)s)",
    )
    encode.add_argument(
        "--cut",
        action="store_true",
        help="cut longer captions there, as trainers do, instead of leaving them out",
    )
    encode.add_argument(
        "--out",
        type=Path,
        help="folder for the caches (default: layerlab-encode; for ai-toolkit _t_e_cache in the "
        "folder CAPTIONS)",
    )
    encode.add_argument(
        "--overwrite",
        action="store_true",
        help="replace caches that were made with other settings",
    )
    encode.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="read the caches of a folder instead and say what they hold; exit status 3 if a "
        "trainer should not read them",
    )
    encode.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    encode.add_argument(
        "--batch-tokens", type=int, default=2048, help="tokens per pass, padding included"
    )
    encode.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the captions out on a Ray cluster at ADDRESS, or 'local' to start one here",
    )
    encode.add_argument(
        "--workers", type=int, default=2, help="workers on Ray (default: %(default)s)"
    )
    encode.set_defaults(run=("encode.command", "run_encode"))


def _add_concept(commands: argparse._SubParsersAction) -> None:
    concept = commands.add_parser(
        "concept",
        help="write a library of concepts from pairs of prompts",
        description="Finds the direction between prompts with something and prompts without it, as "
        "the node Concept Direction does, for every concept of a JSON file, and writes each as "
        "NAME.safetensors, which the node Load Concept reads. A file of the same name is "
        "replaced.",
    )
    concept.add_argument(
        "pairs",
        type=Path,
        metavar="PAIRS",
        help='JSON file: {"smile": [["a smiling woman", "a woman"], ...], ...}',
    )
    concept.add_argument(
        "--model",
        type=Path,
        required=True,
        help="model folder, GGUF file, or ComfyUI's .safetensors text encoder",
    )
    concept.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with the tokenizer's files, as for layerlab profile",
    )
    concept.add_argument(
        "--layer", default="-2", help="one hidden state, such as -6 (default: %(default)s)"
    )
    _add_out(concept, "layerlab-concept")
    concept.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    concept.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16")
    )
    concept.set_defaults(run=("concept.command", "run_concept"))


def _with_spaces(word: str) -> str:
    """The nodes' names of methods have spaces, for which a dash is typed."""
    return word.replace("-", " ")


def _add_queue(commands: argparse._SubParsersAction) -> None:
    queue = commands.add_parser(
        "queue",
        help="run a workflow on ComfyUI servers without a browser, with many settings",
        description="Queues a workflow, follows it, and saves everything that it made, with a "
        "line for each prompt in results.jsonl. Started again with the same --out it takes up what "
        "is not done. Exit status: 0 all done, 1 bad input, 3 a prompt was refused or failed, 4 no "
        "server answers (any more).",
    )
    queue.add_argument(
        "workflow",
        type=Path,
        metavar="WORKFLOW",
        help="a workflow: exported in API format, saved from the page, or a PNG or WebP that "
        "ComfyUI wrote it into",
    )
    queue.add_argument(
        "--server",
        action="append",
        metavar="ADDRESS",
        help="a ComfyUI: HOST:PORT, or an address with https://, a base path, user:password@ or "
        "?token=...; repeat it to share the prompts out on several (default: 127.0.0.1:8188)",
    )
    queue.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="send this header with every request to every --server, such as 'Authorization: "
        "Bearer ...'; may be repeated",
    )
    queue.add_argument(
        "--insecure",
        action="store_true",
        help="do not check the certificates of https servers: whoever is on the way can then read "
        "and change everything",
    )
    queue.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="set an input of the node with this id or title; may be repeated",
    )
    queue.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="one prompt for each row of a .csv with NODE.INPUT as headers (an empty cell leaves "
        "the workflow's value), or for each object of a list in a .json",
    )
    queue.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="run the whole list N times, each time with every seed one higher than the time "
        "before; a seed that cannot be moved is named",
    )
    queue.add_argument("--ray", nargs="?", const="local", help=argparse.SUPPRESS)
    queue.add_argument(
        "--only",
        choices=("images",),
        help="save nothing but the images that the workflow saves, or else its previews (default: "
        "everything that it gives out: texts, files, video, audio, latents and previews too)",
    )
    _add_out(queue, "layerlab-queue")
    queue.add_argument(
        "--timeout",
        type=float,
        default=3600.0,
        metavar="S",
        help="seconds that a prompt may take, waiting included (default: %(default)g)",
    )
    queue.add_argument(
        "--contact",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds that a server may be out of reach before it is given up "
        "(default: %(default)g)",
    )
    queue.add_argument(
        "--upload",
        action="store_true",
        help="send the local files that LoadImage and its like name to the servers",
    )
    queue.add_argument(
        "--json",
        action="store_true",
        help="tell everything as JSON, one event a line, for scripts",
    )
    queue.set_defaults(run=("queue.command", "run_queue"))


def _add_stats(commands: argparse._SubParsersAction) -> None:
    stats = commands.add_parser("stats", help="show and convert reference statistics")
    actions = stats.add_subparsers(required=True, metavar="ACTION", dest="action")
    show = actions.add_parser("show", help="print a reference: provenance, loudest dimensions")
    show.add_argument("file", type=Path, help=".safetensors of this pack, or llm-dit's .npz")
    show.set_defaults(run=("profile.stats", "run_show"))
    convert = actions.add_parser("convert", help="between .safetensors and llm-dit's .npz")
    convert.add_argument("source", type=Path)
    convert.add_argument("target", type=Path)
    convert.add_argument("--force", action="store_true", help="replace an existing target")
    convert.set_defaults(run=("profile.stats", "run_convert"))


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16")
    )
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=2048,
        help="tokens per pass, padding included (an image has a pass of its own)",
    )


def _add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the work out on a Ray cluster at ADDRESS, or 'local' to start one here",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="workers on Ray (default: %(default)s)"
    )


def _add_out(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(default),
        help="folder for what is written (default: %(default)s)",
    )
