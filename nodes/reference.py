"""Build, Save and Load Reference Stats."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path

from comfy_api.latest import io

from ..core.checks import require_finite_states, require_flag
from ..core.files.untrusted_arrays import NpzError, npz_names
from ..core.measure.reference import (
    FORMAT,
    load_reference,
    published_qwen3_4b,
    reference_from_stats,
    save_reference,
)
from ..core.measure.reference import Reference as ReferenceStats
from ..core.measure.split_stats import SplitStats
from ..core.record.record import CONTENT_ROLES, Role, role_mask
from ..core.shipped import CORPUS, PUBLISHED_REFERENCE
from .capture import check_layer, layer_input
from .conditioning import require_reference
from .image_batch import encode_images, images_input
from .node import Node
from .prompt_list import (
    check_prompts,
    encode_each,
    prompt_file,
    prompts_fingerprint,
    read_optional_prompts,
    read_text,
)
from .report import shown_report
from .saved_files import (
    contents_hash,
    find_file,
    list_files,
    named_file,
    new_file,
    safetensors_format,
)
from .types import CATEGORY, Reference

SUFFIXES = (".safetensors", ".npz")
SHIPPED = "Qwen3-4B at layer -2, published figures [shipped]"
"""What Load Reference Stats offers first: no file's name, those end in [output] or [input]."""
UNKNOWN_MODEL = "without a fingerprint: no report can tell whether it is of another model"


class BuildReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabBuildReference",
            display_name="Build Reference Stats",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Measures what is normal for this encoder at one layer: mean and std of "
            "every dimension over many prompts, or over image tokens, with and without "
            "attention-sink tokens.",
            search_aliases=["statistics", "calibrate", "mean and std", "baseline"],
            inputs=[
                io.Clip.Input("clip", tooltip="Qwen3-4B or Qwen3-VL-4B: CLIPLoader, type lumina2."),
                io.String.Input(
                    "prompts",
                    default="",
                    multiline=True,
                    tooltip="One prompt a line, or the name of a .txt file (UTF-8) in ComfyUI's "
                    "input folder. Empty: the shipped list of varied image prompts, English and "
                    "Chinese.",
                ),
                layer_input(-2),
                images_input(),
            ],
            outputs=[
                Reference.Output(
                    "reference",
                    display_name="reference",
                    tooltip="For Outlier Mask and Outlier Report; keep it with Save Reference "
                    "Stats.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, prompts=None, layer=None) -> bool | str:
        checked = check_prompts(prompts) if (prompts or "").strip() else True
        return check_layer(layer) if checked is True else checked

    @classmethod
    def fingerprint_inputs(cls, clip=None, prompts=None, layer=None, images=None) -> str:
        return prompts_fingerprint(prompts)

    @classmethod
    def execute(cls, clip, prompts, layer, images=None) -> io.NodeOutput:
        if images is None:
            texts, note = _texts(prompts)
            unit, roles, encoded = "prompt", CONTENT_ROLES, encode_each(clip, texts, [layer])
        else:
            texts, note = _texts_beside(prompts)
            unit, roles = "image", (Role.IMAGE,)
            encoded = encode_images(clip, images, texts, [layer])
        stats, record = None, None
        for number, [encoding] in enumerate(encoded):
            record = encoding.record
            hidden = encoding.conditioning[0][0][:1]
            require_finite_states(hidden, f"layer {record.layer} of {unit} {number + 1}")
            stats = stats or SplitStats(hidden.shape[-1])
            stats.update(hidden[0], selected=role_mask(record.roles, roles), prompt=number)
        measured = {"prompts": str(len(texts))}
        if images is not None:
            measured = {"images": str(len(images)), "image_tokens": "image"}
        reference = reference_from_stats(
            stats,
            {
                "model": record.source,
                "fingerprint": record.fingerprint,
                "layer": str(record.layer),
                **measured,
                "tokens": str(stats.without_sinks.tokens + stats.sinks.tokens),
                "sink_tokens": str(stats.sinks.tokens),
                "dtype": "float32",
                "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "command": "Build Reference Stats",
                "note": note,
            },
        )
        return io.NodeOutput(reference, ui=shown_report(describe(reference)))


class SaveReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabSaveReference",
            display_name="Save Reference Stats",
            category=CATEGORY,
            description="Writes reference statistics, with where they come from, as a safetensors "
            "file into ComfyUI's output folder.",
            search_aliases=["export statistics", "store reference", "write reference"],
            is_output_node=True,
            inputs=[
                Reference.Input("reference", tooltip="From Build or Load Reference Stats."),
                io.String.Input(
                    "filename_prefix",
                    default="layer_lab/reference",
                    tooltip="Folder and beginning of the name, inside the output folder; a number "
                    "is added, so no file is overwritten.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, reference, filename_prefix) -> io.NodeOutput:
        require_reference(reference)
        path, shown = new_file(filename_prefix, ".safetensors")
        save_reference(reference, path)
        report = shown_report(f"saved: {shown}\n{describe(reference)}")
        return io.NodeOutput(ui={**report, **named_file(path)})


class LoadReference(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LayerLabLoadReference",
            display_name="Load Reference Stats",
            category=CATEGORY,
            has_intermediate_output=True,
            description="Reads reference statistics saved by this pack, or by llm-dit (.npz), or "
            "takes the published figures of Qwen3-4B that come with this pack.",
            search_aliases=["import statistics", "read reference", "npz"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=[SHIPPED, *reference_names()],
                    tooltip="The published figures of Qwen3-4B, or a reference file in ComfyUI's "
                    "output and input folders and their subfolders. Press R to see new ones.",
                ),
                io.Boolean.Input(
                    "any_model",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Kept for workflows of earlier versions; it changes nothing any more. "
                    "A reference is accepted for every encoder of the same width, for example to "
                    "compare image tokens of Qwen3-VL with text of Qwen3, and the report says "
                    "where it is of another model.",
                ),
            ],
            outputs=[Reference.Output("reference", display_name="reference")],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        try:
            if name is not None and not _is_shipped(name):
                reference_path(name)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, name=None, any_model=False) -> str | float:
        if name is None:
            return float("nan")
        return contents_hash(PUBLISHED_REFERENCE if _is_shipped(name) else reference_path(name))

    @classmethod
    def execute(cls, name, any_model=False) -> io.NodeOutput:
        if _is_shipped(name):
            reference = published_qwen3_4b()
        else:
            reference = load_reference(reference_path(name))
        require_flag("any_model", any_model)
        return io.NodeOutput(reference, ui=shown_report(describe(reference)))


def _texts(prompts: str) -> tuple[list[str], str]:
    """The prompts and where they are from, in words."""
    texts = read_optional_prompts(prompts)
    if not texts:
        corpus = read_text(CORPUS).split("\n")[:-1]
        return corpus, "prompts: the corpus shipped with this pack"
    return texts, f"prompts: {_origin(prompts)}"


def _texts_beside(prompts: str) -> tuple[list[str], str]:
    """The texts after the images and where they are from, in words."""
    texts = read_optional_prompts(prompts)
    return texts, f"text after the images: {_origin(prompts) if texts else 'none'}"


def _origin(prompts: str) -> str:
    path = prompt_file(prompts)
    return "typed" if path is None else path.name


def describe(reference: ReferenceStats) -> str:
    """A reference in a few lines: what it is of, and what it was measured on."""
    known = reference.provenance
    facts = [f"{reference.width} dimensions"]
    facts += [f"{known[key]} {key}" for key in ("prompts", "images") if key in known]
    if "tokens" in known:
        kind = "image tokens" if known.get("image_tokens") == "image" else "tokens"
        facts.append(f"{known['tokens']} {kind}")
    has_bare = reference.std_without_sinks is not None
    facts.append("with and without sink tokens" if has_bare else "sink tokens included")
    model = known.get("fingerprint")
    lines = [
        reference.name,
        ", ".join(facts),
        f"measured on the model with fingerprint {model}" if model else UNKNOWN_MODEL,
    ]
    return "\n".join([*lines, *(known[key] for key in ("date", "note") if key in known)])


def _is_shipped(name: object) -> bool:
    return isinstance(name, str) and name == SHIPPED


def reference_path(name: str) -> Path:
    """The file that ``name`` stands for; ValueError as :func:`.saved_files.find_file`."""
    return find_file(name, SUFFIXES, "reference")


def reference_names() -> list[str]:
    """Every reference file under output/ and input/."""
    return list_files(SUFFIXES, "reference", _is_reference)


def _is_reference(path: Path) -> bool:
    """Whether the file says of itself that it is one."""
    if path.suffix.lower() != ".npz":
        return safetensors_format(path) == FORMAT
    state = path.stat()
    return _is_npz_reference(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4096)
def _is_npz_reference(path: str, modified: int, size: int) -> bool:
    """Asked again only when the file changes."""
    try:
        return {"per_dim_mean", "per_dim_std"} <= npz_names(Path(path))
    except (OSError, NpzError):
        return False
