"""What is set in a workflow before it is queued; no server is needed."""

import json
import math

import pytest
from zimage_layer_lab.cli.queue.settings import (
    convert,
    graph_digest,
    make_rows,
    read_table,
)
from zimage_layer_lab.cli.queue.workflow import QueueError, Target, Workflow

GRAPH = {
    "4": {"class_type": "PrimitiveString", "inputs": {"value": "a fox"}, "_meta": {"title": "Say"}},
    "5": {"class_type": "PrimitiveInt", "inputs": {"value": 42}, "_meta": {"title": "Seed"}},
    "8": {
        "class_type": "Sampler",
        "inputs": {"seed": ["5", 0], "cfg": 1.0, "tiled": True, "images.image0": 3},
        "_meta": {"title": "A. Sample at -2.5"},
    },
    "9": {"class_type": "Sampler", "inputs": {"seed": ["5", 0]}, "_meta": {"title": "Twice"}},
    "10": {"class_type": "RandomNoise", "inputs": {"noise_seed": 7}, "_meta": {"title": "Twice"}},
    "11": {"class_type": "Untitled", "inputs": {"x": None}},
}


@pytest.fixture
def workflow():
    return Workflow(json.loads(json.dumps(GRAPH)))


def set_to(workflow, *given, **more):
    """The inputs of every node in the only row."""
    rows, _ = make_rows(workflow, given, **more)
    assert len(rows) == 1
    return {node_id: node["inputs"] for node_id, node in rows[0].graph.items()}


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("5.value", ("5", "value")),
        ("Seed.value", ("5", "value")),
        ("A. Sample at -2.5.cfg", ("8", "cfg")),
        ("8.images.image0", ("8", "images.image0")),
        ("A. Sample at -2.5.images.image0", ("8", "images.image0")),
        ("Untitled.x", ("11", "x")),
    ],
)
def test_a_node_is_named_by_id_or_title_with_whatever_dots(workflow, key, target):
    assert workflow.find(key) == Target(*target)


def test_an_id_goes_before_a_title_that_looks_like_one():
    graph = {
        "1": {"class_type": "A", "inputs": {"x": 1}, "_meta": {"title": "2"}},
        "2": {"class_type": "B", "inputs": {"x": 1}, "_meta": {"title": "1"}},
    }
    assert Workflow(graph).find("2.x") == Target("2", "x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Sede.value=1", r"no node has the id or title 'Sede'.*4 'Say', 5 'Seed', 8 'A. Sample"),
        ("Twice.seed=1", r"several nodes .*'Twice'.*9 \(Sampler\), 10 \(RandomNoise\)"),
        ("Seed.number=1", r'node 5 "Seed" \(PrimitiveInt\) has no input .number.; it has value'),
        ("8.seed=1", r"'seed' of node 8 .* comes from node 5 \"Seed\" .*set an input of that node"),
        ("Seed=1", "not of the form NODE.INPUT=VALUE"),
        ("Seed.value", "not of the form NODE.INPUT=VALUE"),
        ("Seed.value=ten", r"Seed.value = 'ten': it must be a number"),
        ("Seed.value=true", "it must be a number"),
        ("Seed.value=", "it must be a number"),
        ("8.cfg=NaN", "it must be a finite number"),
        ("8.cfg=1e999", "it must be a finite number"),
        ("8.tiled=1", "it must be true or false"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_what_there_is(workflow, given, message):
    with pytest.raises(QueueError, match=message):
        make_rows(workflow, [given])


def test_the_same_input_is_not_set_twice(workflow):
    with pytest.raises(QueueError, match="'Seed.value' and '5.value' set the same input"):
        make_rows(workflow, ["Seed.value=1", "5.value=2"])
    with pytest.raises(QueueError, match="set the same input"):
        make_rows(workflow, ["Seed.value=1"], [{"Seed.value": 2}])
    with pytest.raises(QueueError, match="given twice"):
        make_rows(workflow, ["Seed.value=1", "Seed.value=2"])


@pytest.mark.parametrize(
    ("given", "node", "name", "value"),
    [
        ("Seed.value=18446744073709551615", "5", "value", 2**64 - 1),
        ("Seed.value=43.0", "5", "value", 43),
        ("8.cfg=4", "8", "cfg", 4.0),
        ("8.cfg=-0.5", "8", "cfg", -0.5),
        ("8.tiled=FALSE", "8", "tiled", False),
        ("Say.value=a=b, c", "4", "value", "a=b, c"),
        ("Say.value=42", "4", "value", "42"),
        ("Say.value=true", "4", "value", "true"),
        ('Say.value="two\\nlines"', "4", "value", "two\nlines"),
        ('Say.value="a" and "b"', "4", "value", '"a" and "b"'),
        ("Say.value=", "4", "value", ""),
        ("Say.value=-x", "4", "value", "-x"),
    ],
)
def test_a_value_keeps_the_kind_of_the_one_that_is_there(workflow, given, node, name, value):
    found = set_to(workflow, given)[node][name]
    assert found == value and type(found) is type(value)


def test_the_rest_of_the_graph_and_the_file_s_own_stay_as_they_were(workflow):
    changed = set_to(workflow, "Seed.value=1")
    assert changed.pop("5") == {"value": 1}
    assert changed == {key: node["inputs"] for key, node in GRAPH.items() if key != "5"}
    assert workflow.graph == GRAPH


def test_decimals_for_a_whole_number_are_left_for_the_server_to_judge(workflow):
    rows, fractions = make_rows(workflow, ["Seed.value=4.5"])
    assert rows[0].graph["5"]["inputs"]["value"] == 4.5
    assert [(f.class_type, f.input) for f in fractions] == [("PrimitiveInt", "value")]
    assert make_rows(workflow, ["8.cfg=4.5"])[1] == []


@pytest.mark.parametrize(
    ("value", "present", "message"),
    [
        ("4", 1, "number"),
        (4, "text", "a text"),
        (None, 1, "number"),
        (1, True, "true or false"),
        ([1], {"a": 1}, "kind"),
        (math.inf, 1, "finite"),
        (10**400, 1.0, "finite"),
    ],
)
def test_a_json_value_must_be_of_the_right_kind_itself(value, present, message):
    with pytest.raises(ValueError, match=message):
        convert(value, present)


def table(tmp_path, name, content, encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    return read_table(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_has_one_prompt_a_row(workflow, tmp_path, delimiter, encoding):
    text = 'Say.value,5.value\r\n"狐, ""red"" 🦊",1\r\n\r\n"""quoted""",2.0\r\n,3\r\n'
    if delimiter != ",":
        text = text.replace("狐, ", "狐 ").replace(",", delimiter)
    rows, _ = make_rows(workflow, [], table(tmp_path, "a.csv", text, encoding))
    said = [(row.graph["4"]["inputs"]["value"], row.graph["5"]["inputs"]["value"]) for row in rows]
    fox = '狐, "red" 🦊' if delimiter == "," else '狐 "red" 🦊'
    assert said == [(fox, 1), ('"quoted"', 2), ("a fox", 3)]
    assert [row.number for row in rows] == [1, 2, 3]
    assert rows[2].settings == {"5.value": 3}


def test_json_settings_go_on_top_of_set(workflow, tmp_path):
    content = json.dumps([{"Seed.value": 1}, {"Say.value": "x"}, {}])
    rows, _ = make_rows(workflow, ["8.cfg=2"], table(tmp_path, "a.json", content))
    assert [row.settings for row in rows] == [
        {"8.cfg": 2.0, "Seed.value": 1},
        {"8.cfg": 2.0, "Say.value": "x"},
        {"8.cfg": 2.0},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "has no row"),
        ("a.csv", "Seed.value\n", "has no row"),
        ("a.csv", "Seed.value,Seed.value\n1,2\n", "header of its own"),
        ("a.csv", "Seed.value,\n1,2\n", "header of its own"),
        ("a.csv", "Say.value,Seed.value\na, b,1\n", "row 2 has 3 cells and the header 2"),
        ("a.csv", 'Say.value\n"open\n', "no CSV"),
        ("a.json", "[]", "has no row"),
        ("a.json", "{}", "a list of objects"),
        ("a.json", "[1]", "a list of objects"),
        ("a.json", "[", "is not JSON: .* line 1"),
        ("a.txt", "", "a .csv or a .json"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, name, content, message):
    with pytest.raises(QueueError, match=message):
        table(tmp_path, name, content)


def test_a_table_that_is_not_utf_8_or_not_there_is_refused(tmp_path):
    with pytest.raises(QueueError, match="not UTF-8"):
        table(tmp_path, "a.csv", "Say.value\nMüller\n", "latin-1")
    with pytest.raises(QueueError, match="does not exist"):
        read_table(tmp_path / "none.csv")


def test_repeats_move_every_seed_once_and_nothing_else(workflow):
    rows, _ = make_rows(workflow, ["10.noise_seed=18446744073709551615"], None, 3)
    assert [row.graph["5"]["inputs"]["value"] for row in rows] == [42, 43, 44]
    assert [row.graph["10"]["inputs"]["noise_seed"] for row in rows] == [2**64 - 1, 0, 1]
    assert all(row.graph["8"]["inputs"] == GRAPH["8"]["inputs"] for row in rows)
    assert [row.settings for row in rows] == [
        {"10.noise_seed": 2**64 - 1, "5.value": 42, "repeat": 1},
        {"10.noise_seed": 0, "5.value": 43, "repeat": 2},
        {"10.noise_seed": 1, "5.value": 44, "repeat": 3},
    ]


def test_a_seed_is_what_was_asked_for_unless_a_repeat_moves_it(workflow):
    """-1 means "draw one" to some packs: it is neither wrapped nor moved."""
    rows, _ = make_rows(workflow, ["10.noise_seed=-1"], None, 2)
    assert [row.graph["10"]["inputs"]["noise_seed"] for row in rows] == [-1, -1]
    [row], _ = make_rows(workflow, ["10.noise_seed=18446744073709551616"], None, 1)
    assert row.graph["10"]["inputs"]["noise_seed"] == 2**64


def test_the_whole_list_is_repeated_from_each_row_s_own_seed(workflow):
    rows, _ = make_rows(workflow, [], [{"Seed.value": 10}, {"Seed.value": 20}], 2)
    assert [row.graph["5"]["inputs"]["value"] for row in rows] == [10, 20, 11, 21]
    assert [row.settings["Seed.value"] for row in rows] == [10, 20, 11, 21]


def test_a_number_of_repeats_under_one_is_refused(workflow):
    with pytest.raises(QueueError, match="--repeat is 0"):
        make_rows(workflow, repeat=0)


def test_keys_tell_prompts_apart_by_what_is_computed_and_by_their_turn(workflow):
    renamed = json.loads(json.dumps(GRAPH))
    renamed["5"]["_meta"]["title"] = "Another title"
    assert graph_digest(renamed) == graph_digest(dict(reversed(GRAPH.items())))
    same, _ = make_rows(workflow, [], [{}, {"Seed.value": 42}, {"Seed.value": 43}])
    assert len({row.key for row in same}) == 3
    assert same[0].key.split("-")[0] == same[1].key.split("-")[0] != same[2].key.split("-")[0]
