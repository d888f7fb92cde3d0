"""Whatever is in an embedding file, only EmbeddingFileError comes out of its loader."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.record.embedding_file import EmbeddingFileError, Entry, load_embedding
from zimage_layer_lab.core.record.record import Record
from zimage_layer_lab.core.record.record_json import record_from_json, record_to_json

from ...oracles.embedding_files import TOKENS, parts, record_of, saved, states, write
from .fuzzing import DEPTHS, changed, damaged, fuzz, nested, safetensors_bytes, values


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("embeddings") / "mine.safetensors"


@pytest.fixture(scope="module")
def good(path):
    """The bytes of a good file, its tensors and its metadata."""
    hidden = states()
    options = {"area": (1, [2, None], "x"), "mask": torch.ones(1, 2, 2)}
    saved(path, Entry(hidden, record_of(hidden), options), Entry(states(seed=1), None, {}))
    return path.read_bytes(), *parts(path)


def is_refused_or_sound(path):
    try:
        entries = load_embedding(path)
    except EmbeddingFileError as error:
        assert "mine.safetensors" in str(error)
        str(error).encode("utf-8")
        assert len(str(error)) < 2000
        return
    for entry in entries:
        assert entry.hidden.ndim == 3 and bool(entry.hidden.isfinite().all())
        assert entry.record is None or len(entry.record) == entry.hidden.shape[1]


@fuzz(500)
@given(data=st.data())
def test_a_damaged_file(path, good, data):
    path.write_bytes(data.draw(damaged(good[0])))
    is_refused_or_sound(path)


@fuzz(400)
@given(data=st.data())
def test_a_lying_header(path, good, data):
    path.write_bytes(data.draw(safetensors_bytes(["hidden", "hidden.1"], good[2])))
    is_refused_or_sound(path)


@fuzz(400)
@given(data=st.data())
def test_entries_that_were_changed_by_somebody_who_knows_the_checksum(path, good, data):
    _, tensors, metadata = good
    entries = data.draw(changed(json.loads(metadata["entries"])))
    write(path, tensors, {**metadata, "entries": json.dumps(entries)})
    is_refused_or_sound(path)


@fuzz(500)
@given(data=st.data())
def test_a_record(data):
    document = record_to_json(record_of(states()))
    try:
        record = record_from_json(data.draw(changed(document) | values), TOKENS)
    except ValueError as error:
        str(error).encode("utf-8")
    else:
        assert isinstance(record, Record) and len(record) == TOKENS


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nested_json_is_refused_at_any_depth(path, good, depth, brackets):
    opening = "[" if brackets == "[]" else '{"tuple": ['
    closing = "]" if brackets == "[]" else "]}"
    text = nested(depth, opening, "1", closing)
    _, tensors, metadata = good
    for entries in (text, f'[{{"hidden": "hidden", "record": null, "options": {{"x": {text}}}}}]'):
        write(path, tensors, {**metadata, "entries": entries})
        with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
            load_embedding(path)


def test_many_entries_cannot_share_one_tensor(path):
    """Each would be checked and summed again: a small file could keep the loader busy for days."""
    hidden = states()
    saved(path, *[Entry(hidden, None, {})] * 2)
    tensors, metadata = parts(path)
    entries = json.loads(metadata["entries"])
    entries[1]["hidden"] = "hidden"
    write(path, tensors, {**metadata, "entries": json.dumps(entries)})
    with pytest.raises(EmbeddingFileError, match="entry 2: its states are another entry's"):
        load_embedding(path)
