"""What `layerlab queue` reads: workflows, tables, results and the lock, whatever is in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.cli.queue.graph_file import read_graph_file
from zimage_layer_lab.cli.queue.lock import FILE as LOCK
from zimage_layer_lab.cli.queue.lock import sole_run
from zimage_layer_lab.cli.queue.results import FILE, Results
from zimage_layer_lab.cli.queue.seeds import find_seeds
from zimage_layer_lab.cli.queue.settings import make_rows, read_table
from zimage_layer_lab.cli.queue.workflow import MOST_DEPTH, QueueError, Workflow

from .fuzzing import DEPTHS, changed, damaged, fuzz, nested, texts, values

GRAPH = {
    "1": {"class_type": "CLIPLoader", "inputs": {"name": "x", "on": True, "scale": 1.5}},
    "2": {
        "class_type": "KSampler",
        "inputs": {"clip": ["1", 0], "seed": ["3", 0], "steps": 8, "extra": None},
        "_meta": {"title": "Sampler 1.5"},
    },
    "3": {"class_type": "PrimitiveInt", "inputs": {"value": 5}, "_meta": {"title": "Seed"}},
}
KEYS = ("1.name", "1.on", "1.scale", "Sampler 1.5.steps", "2.extra", "2.clip", "Seed.value", "9.x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("queue")


def read(path):
    """The workflow in a file; one that the page saved has nothing to be converted by."""
    return Workflow(read_graph_file(path).graph or {})


def is_refused_or_makes_rows(path, given=(), table=None):
    """What comes out has to be JSON that the server can be sent."""
    try:
        rows, _ = make_rows(read(path), given, table, repeat=2)
        find_seeds(read(path))
    except QueueError as error:
        str(error).encode("utf-8", "backslashreplace")
        return
    for row in rows:
        json.dumps(row.graph).encode("utf-8")


@fuzz(400)
@given(data=st.data())
def test_a_damaged_workflow(folder, data):
    path = folder / "damaged.json"
    path.write_bytes(data.draw(damaged(json.dumps(GRAPH).encode())))
    is_refused_or_makes_rows(path)


@fuzz(400)
@given(graph=changed(GRAPH) | values, key=st.sampled_from(KEYS), value=texts)
def test_a_workflow_of_other_shapes(folder, graph, key, value):
    path = folder / "other.json"
    path.write_text(json.dumps(graph), encoding="utf-8")
    is_refused_or_makes_rows(path, [f"{key}={value}"])


@fuzz(400)
@given(rows=st.lists(st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=3)) | values)
def test_a_table_in_json(folder, rows):
    (folder / "table.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "graph.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    try:
        table = read_table(folder / "table.json")
    except QueueError:
        return
    is_refused_or_makes_rows(folder / "graph.json", table=table)


cells = st.sampled_from(
    ['"', '""', ",", ";", "\t", "\n", "\r", "\0", "1e999", "9" * 5000, "[" * 2000]
)
csv_bytes = st.lists(cells | st.sampled_from(KEYS) | st.text(max_size=6), max_size=25).map(
    lambda found: "".join(found).encode("utf-8", "surrogatepass")
)


@fuzz(400)
@given(content=csv_bytes | damaged(b'1.name,Seed.value\nx,5\n"a,b",6\n') | st.binary(max_size=60))
def test_a_table_in_csv(folder, content):
    (folder / "table.csv").write_bytes(content)
    (folder / "graph.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    try:
        table = read_table(folder / "table.csv")
    except QueueError:
        return
    is_refused_or_makes_rows(folder / "graph.json", table=table)


@fuzz(400)
@given(
    key=st.sampled_from(KEYS), value=values.map(json.dumps) | texts | st.sampled_from(["[" * 9999])
)
def test_a_value_typed_on_the_command_line(folder, key, value):
    (folder / "graph.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    is_refused_or_makes_rows(folder / "graph.json", [f"{key}={value}"])


LINE = {"key": "a-1", "row": 1, "settings": {}, "status": "queued", "prompt_id": "x", "files": []}


@fuzz(400)
@given(data=st.data())
def test_results_of_an_earlier_run(folder, data):
    """A line that cannot be read costs only itself."""
    lines = data.draw(st.lists((changed(LINE) | values).map(json.dumps), max_size=4))
    content = "\n".join([*lines, json.dumps({**LINE, "key": "good-1", "status": "done"})]).encode()
    broken = data.draw(st.binary(max_size=20) | st.sampled_from([b"[" * 99999, b"9" * 9999]))
    (folder / FILE).write_bytes(broken + b"\n" + content)
    results = Results(folder)
    [row, *_], _ = make_rows(Workflow(GRAPH))
    assert results.is_done(row._replace(key="good-1"))
    for key in ("a-1", "good-1"):
        prompt_id = results.open_id(row._replace(key=key))
        assert prompt_id is None or isinstance(prompt_id, str)


@pytest.mark.parametrize("prompt_id", ["../../interrupt", "a?b", "a b", "", "x" * 65, 5, None, {}])
def test_an_id_that_would_change_the_servers_address_is_forgotten(tmp_path, prompt_id):
    (tmp_path / FILE).write_text(json.dumps({**LINE, "prompt_id": prompt_id}), encoding="utf-8")
    [row, *_], _ = make_rows(Workflow(GRAPH))
    assert Results(tmp_path).open_id(row._replace(key="a-1")) is None


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_json_that_is_nested_too_deeply_is_refused_and_less_is_not(tmp_path, depth, brackets):
    """The graph is copied and written again, each of which goes down as many levels."""
    opening, closing = ("[", "]") if brackets == "[]" else ('{"a": ', "}")
    path = tmp_path / "deep.json"
    for before, inside in (('{"1": {"class_type": "X", "inputs": {"x": ', 3), ("", 0)):
        text = before + nested(depth, opening, "1", closing) + "}" * inside
        path.write_text(text, encoding="utf-8")
        if inside and depth + inside <= MOST_DEPTH:
            rows, _ = make_rows(read(path))
            assert rows[0].graph == json.loads(text)
            continue
        with pytest.raises(QueueError):
            make_rows(read(path))
    with pytest.raises(QueueError):
        make_rows(Workflow(GRAPH), [f"1.on={nested(depth, opening, '1', closing)}"])


def test_a_lock_file_of_any_bytes_does_not_hide_who_holds_the_folder(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff\xfe" * 80)
    with sole_run(tmp_path):
        (tmp_path / LOCK).write_bytes(b"\xff\0" * 80)
        with pytest.raises(QueueError, match="is in use by"):
            with sole_run(tmp_path):
                raise AssertionError("unreachable")


def test_a_lock_that_is_a_link_does_not_empty_what_it_leads_to(tmp_path):
    precious, out = tmp_path / "precious.txt", tmp_path / "out"
    precious.write_text("mine", encoding="utf-8")
    out.mkdir()
    (out / LOCK).symlink_to(precious)
    with pytest.raises(QueueError, match="is a link"):
        with sole_run(out):
            raise AssertionError("unreachable")
    assert precious.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("reader", [read_graph_file, read_table], ids=["workflow", "table"])
@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\ud83e", "no/such", "."])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, reader, name):
    with pytest.raises(QueueError):
        reader(tmp_path / f"{name}.json")
