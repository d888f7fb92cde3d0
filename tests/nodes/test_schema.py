"""The contract that saved workflows rely on: ids, inputs, defaults, options and outputs."""

import ast
import asyncio
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zimage_layer_lab
from zimage_layer_lab.cli.comfy.folder import missing_requirements

from .contract import CONTRACT, LIST_INPUTS, LIST_OUTPUTS, OPTIONS, TYPES

ROOT = Path(zimage_layer_lab.__file__).resolve().parent


@pytest.fixture(scope="module")
def schemas(host):
    """Every node of the pack as the host sees it, through the entry point."""
    extension = asyncio.run(zimage_layer_lab.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in nodes}


def find(schemas: dict, node_id: str, name: str):
    [found] = [i for i in schemas[node_id].inputs if i.id == name]
    return found


def test_the_entry_point_returns_an_extension_that_lists_these_nodes(host, schemas):
    from comfy_api.latest import ComfyExtension

    assert isinstance(asyncio.run(zimage_layer_lab.comfy_entrypoint()), ComfyExtension)
    assert set(CONTRACT) == set(schemas)
    assert all(node_id.startswith("LayerLab") for node_id in schemas)


def test_the_root_has_no_v1_mappings_which_would_switch_v3_off():
    assert not hasattr(zimage_layer_lab, "NODE_CLASS_MAPPINGS")
    assert not hasattr(zimage_layer_lab, "NODE_DISPLAY_NAME_MAPPINGS")


@pytest.mark.parametrize("node_id", CONTRACT)
def test_inputs_have_the_contracts_names_order_and_defaults(schemas, node_id):
    inputs = [
        (i.id + ("?" if i.optional else ""), getattr(i, "default", None))
        for i in schemas[node_id].inputs
    ]
    assert inputs == CONTRACT[node_id][0]


@pytest.mark.parametrize("node_id", CONTRACT)
def test_outputs_have_the_contracts_names_types_and_order(schemas, node_id):
    outputs = schemas[node_id].outputs
    assert [(o.display_name, o.io_type) for o in outputs] == CONTRACT[node_id][1]
    assert {o.is_output_list for o in outputs} <= {node_id in LIST_OUTPUTS}
    assert schemas[node_id].is_input_list is (node_id in LIST_INPUTS)


@pytest.mark.parametrize(("node_id", "name"), TYPES)
def test_inputs_have_the_types_that_stock_nodes_connect_to(schemas, node_id, name):
    assert find(schemas, node_id, name).io_type == TYPES[node_id, name]


@pytest.mark.parametrize(("node_id", "name"), OPTIONS)
def test_combos_offer_exactly_the_documented_options(schemas, node_id, name):
    assert find(schemas, node_id, name).options == OPTIONS[node_id, name]


def test_the_sampler_offers_exactly_the_hosts_samplers_and_schedulers(schemas):
    import comfy.samplers

    for name, options in (
        ("sampler_name", comfy.samplers.KSampler.SAMPLERS),
        ("scheduler", comfy.samplers.KSampler.SCHEDULERS),
    ):
        assert list(find(schemas, "LayerLabZImageSampler", name).options) == list(options)


@pytest.mark.parametrize("node_id", CONTRACT)
def test_every_input_has_a_tooltip(schemas, node_id):
    assert [i.id for i in schemas[node_id].inputs if not (i.tooltip or "").strip()] == []


@pytest.mark.parametrize("node_id", CONTRACT)
def test_every_node_can_be_found_and_understood(schemas, node_id):
    schema = schemas[node_id]
    assert schema.display_name and schema.display_name != node_id
    assert schema.category == "Z-Image/Layer Lab"
    assert len(schema.description) > 40
    assert len(schema.search_aliases) >= 3


@pytest.mark.parametrize(
    ("node_id", "shown"),
    [
        ("LayerLabQwen3Encode", ["clip", "text", "layer"]),
        ("LayerLabVLEncode", ["clip", "image", "text", "layer", "tokens", "max_image_tokens"]),
        ("LayerLabLayerSweep", ["clip", "text", "layers", "image"]),
        ("LayerLabLayerMix", ["clip", "text", "weights", "method"]),
        ("LayerLabWeightedEncode", ["clip", "text", "layer", "method"]),
    ],
)
def test_a_fresh_encoder_shows_what_everybody_sets(schemas, node_id, shown):
    """The rest is marked as advanced, which pages put behind a button."""
    assert [i.id for i in schemas[node_id].inputs if not getattr(i, "advanced", None)] == shown


def test_the_layer_inputs_reach_every_layer_of_the_real_encoders(schemas):
    for node_id in (
        "LayerLabQwen3Encode",
        "LayerLabVLEncode",
        "LayerLabBuildReference",
        "LayerLabWeightedEncode",
    ):
        layer = find(schemas, node_id, "layer")
        assert (layer.min, layer.max) == (-37, 36)


@pytest.mark.parametrize("node_id", CONTRACT)
def test_the_host_can_describe_every_node_to_its_frontend(schemas, pack, node_id):
    [node] = [n for n in vars(pack).values() if n.GET_SCHEMA().node_id == node_id]
    info = json.loads(json.dumps(node.GET_NODE_INFO_V1()))
    names = [name for kind in ("required", "optional") for name in info["input"].get(kind, {})]
    assert sorted(names) == sorted(i.id for i in schemas[node_id].inputs)


def top_level_imports(path: Path) -> set[str]:
    """The packages that importing a module of the pack imports: not those inside functions."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))
    return found


def test_a_nodes_validation_takes_the_growing_inputs_that_the_host_hands_over(schemas, pack):
    """Asked for or not: without them every prompt with the node is refused."""
    from comfy_api.latest import io

    for node_id, schema in schemas.items():
        growing = {given.id for given in schema.inputs if isinstance(given, io.Autogrow.Input)}
        validate = vars(getattr(pack, node_id.removeprefix("LayerLab"))).get("validate_inputs")
        if validate is not None:
            taken = inspect.signature(validate.__func__).parameters
            assert growing <= taken.keys(), node_id


def test_importing_the_nodes_into_a_host_imports_neither_transformers_nor_matplotlib(
    comfyui, skip_or_fail
):
    """The host imports transformers itself, so what each loaded module names is looked at too."""
    if missing := missing_requirements(comfyui, sys.executable):
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    script = """
import json, sys
import comfy.cli_args
comfy.cli_args.args.cpu = True
import nodes, comfy_api.latest, comfy_extras.nodes_sd3, comfy_extras.nodes_model_advanced
before = set(sys.modules)
import asyncio, zimage_layer_lab
asyncio.run(asyncio.run(zimage_layer_lab.comfy_entrypoint()).get_node_list())
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    paths = [str(comfyui), *(entry for entry in sys.path if entry)]
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=comfyui,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    added = json.loads(result.stdout.splitlines()[-1])
    slow = {"transformers", "matplotlib", "pandas", "gguf", "rich", "hypothesis"}
    assert not slow & {name.split(".")[0] for name in added}
    loaded = [name.split(".")[1:] for name in added if name.startswith("zimage_layer_lab.")]
    files = [path for name in loaded if (path := ROOT.joinpath(*name).with_suffix(".py")).is_file()]
    assert ROOT / "nodes/sampling.py" in files and ROOT / "core/edit/masking.py" in files
    assert {path.name: found for path in files if (found := top_level_imports(path) & slow)} == {}
