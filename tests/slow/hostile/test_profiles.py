"""Profiles, checkpoints and lists of prompts: only the pack's own errors come out."""

import codecs
import json
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load, save_file
from zimage_layer_lab.cli import main
from zimage_layer_lab.cli.profile.checkpoint import Checkpoint
from zimage_layer_lab.cli.profile.compare import layer_table, model_table, verdict
from zimage_layer_lab.cli.profile.prompt_file import PromptFile, PromptFileError
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise
from zimage_layer_lab.core.profile.profile_file import ProfileFileError, load_profile

from .fuzzing import DEPTHS, changed, damaged, fuzz, nested, safetensors_bytes, values

BLOCKS, WIDTH = 2, 8


def stats():
    made = ProfileStats(BLOCKS, WIDTH)
    states = {index: torch.randn(6, WIDTH) for index in range(BLOCKS + 1)}
    states[1][0, 3] = 5000.0
    made.update(states)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("profiles")


@pytest.fixture(scope="module")
def profile():
    return summarise(stats(), "m").to_json(lambda place: "text")


def is_refused_or_can_be_compared(path):
    try:
        loaded = load_profile(path)
    except ProfileFileError as error:
        assert path.name in str(error) and len(str(error)) < 2000
        str(error).encode("utf-8")
        return
    pairs = [(layer, layer) for layer in loaded["layers"]]
    assert model_table(loaded, loaded).rows and all(layer_table(*pair).rows for pair in pairs)
    "".join(verdict(loaded, loaded, pairs)).encode("utf-8")


@fuzz(400)
@given(data=st.data())
def test_a_damaged_profile(folder, profile, data):
    path = folder / "damaged.json"
    path.write_bytes(data.draw(damaged(json.dumps(profile).encode())))
    is_refused_or_can_be_compared(path)


@fuzz(400)
@given(data=st.data())
def test_a_profile_of_other_shapes(folder, profile, data):
    path = folder / "other.json"
    document = data.draw(changed(profile) | values)
    path.write_text(json.dumps(document), encoding="utf-8")
    is_refused_or_can_be_compared(path)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_nested_profile_is_refused_at_any_depth(folder, depth):
    path = folder / "deep.json"
    path.write_text(f'{{"schema_version": 1, "model": {nested(depth)}}}', encoding="utf-8")
    with pytest.raises(ProfileFileError, match="deep.json"):
        load_profile(path)


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        ("model.name", 5),
        ("model.name", "x" * 1001),
        ("model.name", "\ud83e"),
        ("model.blocks", 0),
        ("model.blocks", 10**9),
        ("model.width", -1),
        ("model.width", True),
        ("tokens", 1.5),
        ("prompts", 2**60),
        ("threshold", None),
        ("threshold", float("nan")),
        ("emergence_layer", 3),
        ("fall_layer", "2"),
        ("sink_positions", [0, 1]),
        ("sink_positions", [["a"]]),
        ("sink_prompts", -1),
        ("sink_counts", [[0]]),
        ("layers", {}),
        ("layers", [5]),
        ("layers.0.index", 1),
        ("layers.0.layer", -2),
        ("layers.0.std", float("inf")),
        ("layers.0.std", 10**400),
        ("layers.0.max_abs", None),
        ("layers.0.outliers", None),
        ("layers.1.outliers.0.dimension", "3"),
        ("layers.1.outliers.0.ratio", -1),
        ("layers.1.outliers.0.class", []),
    ],
)
def test_a_bad_field_of_a_profile_is_refused_by_its_name(folder, profile, place, bad):
    document = json.loads(json.dumps(profile))
    *way, last = place.split(".")
    here = document
    for step in way:
        here = here[int(step) if step.isdigit() else step]
    here[last] = bad
    (folder / "bad.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ProfileFileError, match=f"bad.json.*{last}"):
        load_profile(folder / "bad.json")


SIDES = ("content", "sinks")
DECISIVE = {"model": "m", "layers": [0, 1, 2]}


@pytest.fixture(scope="module")
def checkpoint(folder):
    """A checkpoint, and the bytes, tensors and metadata of its good file."""
    own = Checkpoint(folder / "run", DECISIVE)
    assert own.save(stats(), 3)
    with safe_open(own.path, framework="pt") as file:
        metadata = file.metadata()
    content = own.path.read_bytes()
    return own, content, load(content), metadata


def loads_or_starts_anew(own):
    own.note = ""
    found = own.load()
    if found is None:
        assert own.note
        own.note.encode("utf-8")
        return
    loaded, shards = found
    assert shards >= 0 and loaded.prompts >= 0
    loaded.merge(loaded)


@fuzz(100)
@given(data=st.data())
def test_a_damaged_checkpoint(checkpoint, data):
    own, content, *_ = checkpoint
    own.path.write_bytes(data.draw(damaged(content)))
    loads_or_starts_anew(own)


@fuzz(300)
@given(data=st.data())
def test_a_checkpoint_with_a_lying_header(checkpoint, data):
    own, _, tensors, metadata = checkpoint
    own.path.write_bytes(data.draw(safetensors_bytes(sorted(tensors)[:5], metadata)))
    loads_or_starts_anew(own)


def sealed(own, tensors, metadata, facts):
    """Written with a right checksum, as by somebody who knows the format."""
    crc = zlib.crc32(facts.encode("utf-8"))
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(name.encode("utf-8"), crc)
        crc = zlib.crc32(tensor.contiguous().numpy().tobytes(), crc)
    save_file(tensors, own.path, {**metadata, "facts": facts, "checksum": f"{crc:08x}"})


@fuzz(100)
@given(data=st.data())
def test_a_checkpoint_with_other_facts(checkpoint, data):
    own, _, tensors, metadata = checkpoint
    facts = json.loads(metadata["facts"])
    facts["stats"] = data.draw(changed(facts["stats"]) | values)
    sealed(own, tensors, metadata, json.dumps(facts))
    loads_or_starts_anew(own)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 2**60},
        {"blocks": 2**60, "indices": []},
        {"indices": [0, 1, 1]},
        {"indices": [0, 1, 9]},
        {"prompts": -1},
        {"tokens": 0.5},
        {"non_finite": []},
        {"non_finite": {f"{n}.{side}": [None, []] for n in range(3) for side in SIDES}},
        {"non_finite": {f"{n}.{side}": [0, [[0, 0, "a"]]] for n in range(3) for side in SIDES}},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_checkpoint_whose_facts_do_not_fit_its_tensors_is_not_continued(checkpoint, change):
    own, _, tensors, metadata = checkpoint
    facts = json.loads(metadata["facts"])
    facts["stats"] |= change
    sealed(own, tensors, metadata, json.dumps(facts))
    own.note = ""
    assert own.load() is None and "cannot be read" in own.note


def test_a_checkpoint_with_one_changed_bit_is_not_continued(checkpoint):
    """Its numbers would be in every profile that goes on from it."""
    own, content, *_ = checkpoint
    for place in range(len(content) - 4000, len(content), 500):
        changed_content = bytearray(content)
        changed_content[place] ^= 1
        own.path.write_bytes(changed_content)
        assert own.load() is None and "damaged" in own.note
    own.path.write_bytes(content)
    assert own.load() is not None


@fuzz(600)
@given(content=st.binary(max_size=80) | damaged("\ufeffa fox\r\n\n狐\n".encode()))
def test_a_prompt_file(folder, content):
    path = folder / "prompts.txt"
    path.write_bytes(content)
    try:
        found = list(PromptFile(path))
    except PromptFileError as error:
        assert "prompts.txt" in str(error)
        found = []
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    assert found == [line.rstrip("\r\n") for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\udcff", "loop", "folder", "no/such"])
def test_a_name_that_no_file_can_have_ends_every_command_with_a_message(tmp_path, capsys, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    path = str(tmp_path / name)
    out = ("--out", str(tmp_path / "out"))
    for arguments in (
        ("compare", path, path, *out),
        ("stats", "show", path),
        ("stats", "show", f"{path}.npz"),
        ("stats", "convert", path, str(tmp_path / "x.npz")),
        ("profile", path, *out),
        ("profile", str(tmp_path / "folder"), "--prompts", path, *out),
        ("queue", path, *out),
        ("queue", path, "--settings", f"{path}.csv", *out),
    ):
        assert main(list(arguments)) == 1, arguments
        said = capsys.readouterr().err
        assert said.startswith(f"layerlab {arguments[0]}") and "Traceback" not in said
