"""Which topics the pack's modules belong to, and who imports whom: read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nodes", "cli", "core")

TOPICS: dict[str, dict[str, str]] = {
    "nodes": {
        "the list of nodes": "extension",
        "encode": "capture encoder layer_sweep layer_mix vision prompt_list",
        "measure": "outliers profile describing",
        "mask and scale": "masking normalizing token_fit",
        "blend": "blending blend_entry scheduling style_delta",
        "keep": "reference embedding saved_files",
        "sample and compare": "sampling compare_grid",
        "what nodes share": "conditioning model types numbers lists pictures",
    },
    "cli": {
        "layerlab": "__init__ __main__",
        "demo": "demo comfy_demo",
        "profile": "profile profile_batches profile_checkpoint profile_meter profile_progress "
        "profile_ray profile_report prompt_file",
        "compare and stats": "compare stats",
        "queue": "queue queue_lock queue_progress queue_prompt queue_ray queue_results "
        "queue_servers queue_settings queue_worker queue_workflow",
        "Ray": "ray_cluster",
        "what it shows": "console findings html_report",
        "language model": "language_model model_files prompt_tokenizer gguf_header",
        "ComfyUI's process": "comfy_folder comfy_server tiny_shapes tiny_weights",
        "ComfyUI over HTTP": "comfy_client comfy_errors comfy_socket",
    },
    "core": {
        "blends": "blending blend_methods pairing style_delta scheduling",
        "edits": "masking mask_effects normalizing token_fit layer_mix",
        "image grids": "compare_grid grid_picture image_metrics",
        "pictures": "drawing picture_text plots outlier_picture profile_picture token_columns",
        "profile": "profile profile_file heat_map report",
        "outliers": "outliers outlier_survey",
        "told and kept": "describing embedding_file",
        "tokens": "tokens record_json prompt vision",
        "scale and DiT": "matching dit_view caption_length",
        "layers": "layers capture",
        "statistics": "channel_stats split_stats sequence_stats moments allocation sinks "
        "magnitudes reference fingerprint",
        "checks and files": "errors files file_names array_files",
    },
}

Edges = dict[str, set[str]]


def topics() -> dict[str, list[str]]:
    """The modules of each topic, all as "package/name"."""
    return {
        f"{package}/{topic}": [f"{package}/{module}" for module in modules.split()]
        for package, groups in TOPICS.items()
        for topic, modules in groups.items()
    }


def modules() -> list[str]:
    """Every module of the three packages, as "package/name".

    Of their ``__init__.py`` only cli's has code; core's lists names, that of the nodes is empty.
    """
    found = [path for package in PACKAGES for path in (ROOT / package).glob("*.py")]
    names = {f"{path.parent.name}/{path.stem}" for path in found}
    return sorted(names - {"core/__init__", "nodes/__init__"})


def imports(package: str, source: str) -> set[str]:
    """The modules, or packages, of the pack that a module of ``package`` imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "run"
            and isinstance(node.value, ast.Tuple)
        ):
            # How the command names what a subcommand runs: (module, function).
            found.add(f"{package}/{ast.literal_eval(node.value)[0]}")
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        path = [package][: 2 - node.level] + (node.module.split(".") if node.module else [])
        for alias in node.names:
            whole = [*path, alias.name]
            is_module = (ROOT.joinpath(*whole)).with_suffix(".py").is_file()
            found.add("/".join(whole if is_module else path))
    return {name for name in found if name.split("/")[0] in PACKAGES}


def module_edges() -> Edges:
    """Who imports whom: module by module."""
    return {
        module: imports(module.split("/")[0], (ROOT / f"{module}.py").read_text(encoding="utf-8"))
        for module in modules()
    }


def topic_edges() -> Edges:
    """Who imports whom: topic by topic, none to itself. Whole packages count as no topic."""
    place = {module: topic for topic, members in topics().items() for module in members}
    if differing := place.keys() ^ set(modules()):
        raise SystemExit(
            f"TOPICS in docs/architecture/read_imports.py and the code differ in "
            f"{', '.join(sorted(differing))}: put each module into one topic, then run "
            "python docs/architecture"
        )
    edges: Edges = {topic: set() for topic in topics()}
    for module, imported in module_edges().items():
        edges[place[module]] |= {place[one] for one in imported if one in place}
    return {topic: targets - {topic} for topic, targets in edges.items()}


def reach(edges: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """Everything that ``start`` leads to."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for target in edges[waiting.pop()]:
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def reduced(edges: Edges) -> Edges:
    """Without the arrows that a longer way says already. For graphs without circles."""
    return {
        source: {
            target
            for target in targets
            if not any(target in reach(edges, other) for other in targets - {target})
        }
        for source, targets in edges.items()
    }
