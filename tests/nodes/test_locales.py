"""Simplified Chinese names and tooltips: all of them, only of what exists, in step with English.

The English ones are the schemas', so they are in no locale file.
"""

import json
import re

import pytest
from zimage_layer_lab.cli.comfy.folder import install_pack

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OF_THE_HOST = {"sampler_name", "scheduler", "name"}
EXPLAINED_IN = {"LayerLabScheduledBlend": "LayerLabBlend"}


@pytest.fixture(scope="module")
def chinese(pack_root) -> dict:
    return json.loads((pack_root / "locales/zh/nodeDefs.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schemas(pack) -> dict:
    return {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in vars(pack).values()}


def pairs(schema, node: dict):
    """Each text of a node in both languages: where it stands, English, Chinese."""
    yield "description", schema.description, node.get("description")
    for part in schema.inputs:
        yield f"inputs.{part.id}", part.tooltip, node["inputs"][part.id].get("tooltip")
    for index, part in enumerate(schema.outputs):
        yield f"outputs.{index}", part.tooltip, node["outputs"][str(index)].get("tooltip")


def test_every_node_is_there_and_no_other(schemas, chinese):
    assert sorted(chinese) == sorted(schemas)


def test_every_input_and_output_has_a_name_and_no_other(schemas, chinese):
    for node_id, schema in schemas.items():
        node = chinese[node_id]
        assert set(node) <= {"display_name", "description", "inputs", "outputs"}, node_id
        assert list(node["inputs"]) == [part.id for part in schema.inputs], node_id
        outputs = [str(index) for index in range(len(schema.outputs))]
        assert list(node.get("outputs", {})) == outputs, node_id
        for part in [*node["inputs"].values(), *node.get("outputs", {}).values()]:
            assert "name" in part and set(part) <= {"name", "tooltip"}, node_id


def test_whatever_is_explained_in_english_is_explained_in_chinese_and_nothing_else(
    schemas, chinese
):
    uneven = [
        (node_id, where)
        for node_id, schema in schemas.items()
        for where, english, translated in pairs(schema, chinese[node_id])
        if bool(english) != bool(translated)
        or (translated and not re.search(r"[\u4e00-\u9fff]", translated))
    ]
    assert uneven == []


def test_both_languages_say_the_same_figures(schemas, chinese):
    different = [
        (node_id, where, sorted(set(NUMBER.findall(english)) ^ set(NUMBER.findall(translated))))
        for node_id, schema in schemas.items()
        for where, english, translated in pairs(schema, chinese[node_id])
        if english and set(NUMBER.findall(english)) != set(NUMBER.findall(translated))
    ]
    assert different == []


def test_no_two_inputs_or_outputs_of_a_node_have_the_same_name(chinese):
    for node_id, node in chinese.items():
        for kind in ("inputs", "outputs"):
            names = [part["name"] for part in node.get(kind, {}).values()]
            assert len(names) == len(set(names)), (node_id, kind)


def test_every_option_is_explained_in_chinese(schemas, chinese, pack_root):
    """In the tooltip or on the help page, under its English name, which is what workflows hold."""
    missing = []
    for node_id, schema in schemas.items():
        for part in schema.inputs:
            if part.io_type != "COMBO" or part.id in OF_THE_HOST:
                continue
            text = chinese[node_id]["inputs"][part.id]["tooltip"]
            for page in {node_id, EXPLAINED_IN.get(node_id, node_id)}:
                text += (pack_root / f"web/docs/{page}/zh.md").read_text(encoding="utf-8")
            missing += [
                (node_id, part.id, option)
                for option in part.options
                if not re.search(rf"(?<![\w(]){re.escape(option)}(?![a-zA-Z])", text, re.ASCII)
            ]
    assert missing == []


def test_every_option_is_called_something_in_chinese_on_the_page(schemas, pack_root):
    from zimage_layer_lab.nodes import concept_file
    from zimage_layer_lab.nodes.embedding import NO_FILE
    from zimage_layer_lab.nodes.reference import SHIPPED

    text = (pack_root / "web/options_zh.js").read_text(encoding="utf-8")
    table = json.loads(text[text.index("{") : text.rindex("}") + 1])
    options = {}
    for schema in schemas.values():
        for part in schema.inputs:
            if part.io_type == "COMBO" and part.id not in OF_THE_HOST:
                options.setdefault(part.id, set()).update(part.options)
    options["name"] = {NO_FILE, concept_file.NO_FILE, SHIPPED}  # The others are files.
    assert {name: set(words) for name, words in table.items()} == options
    for words in table.values():
        assert len(set(words.values())) == len(words)
        assert all(re.search(r"[\u4e00-\u9fff]|AdaIN", word) for word in words.values())


def test_the_host_hands_these_strings_to_its_frontend(
    host, pack_root, chinese, tmp_path, monkeypatch
):
    """Through its own reader, from the pack's folder. English is in the schemas alone."""
    from app.custom_node_manager import CustomNodeManager

    install_pack(tmp_path, pack_root, "zimage-layer-lab")
    monkeypatch.setitem(
        host.folder_paths.folder_names_and_paths,
        "custom_nodes",
        ([str(tmp_path / "custom_nodes")], set()),
    )
    assert CustomNodeManager().build_translations() == {"zh": {"nodeDefs": chinese}}
