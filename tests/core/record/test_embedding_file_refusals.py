"""Embedding files that are damaged, foreign or hostile are refused by name."""

import json
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from zimage_layer_lab.core.record import embedding_file
from zimage_layer_lab.core.record.embedding_file import (
    EmbeddingFileError,
    Entry,
    load_embedding,
    save_embedding,
)
from zimage_layer_lab.core.record.record import Record, Role

from ...oracles.embedding_files import TOKENS, parts, record_of, rewritten, saved, states, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.safetensors"


def test_a_truncated_file_is_refused_by_name_at_any_length(path):
    whole = saved(path).read_bytes()
    for length in (0, 1, 7, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
            load_embedding(path)


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=300, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_file_with_changed_bytes_is_refused_or_says_the_same(path, data):
    """Nothing but the pack's own error comes out, whatever the damage."""
    hidden = states()
    record, options = record_of(hidden), {"area": (1, 2, 3, 4), "mask": torch.ones(1, 2, 2)}
    saved(path, Entry(hidden, record, options))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.integers(len(content) // 2, 3 * len(content))) :]
    path.write_bytes(content)
    try:
        [entry] = load_embedding(path)
    except EmbeddingFileError as error:
        assert "mine.safetensors" in str(error)
        error.args[0].encode("utf-8")
    else:
        assert torch.equal(entry.hidden, hidden) and entry.record == record
        assert torch.equal(entry.options["mask"], options["mask"])
        assert entry.options["area"] == options["area"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=200, suppress_health_check=SLOW)
@given(value=json_values, place=st.sampled_from([field.name for field in fields(Record)]))
def test_a_record_field_of_any_other_kind_is_refused_or_harmless(path, value, place):
    rewritten(saved(path), lambda entries: entries[0]["record"].update({place: value}))
    try:
        [entry] = load_embedding(path)
    except EmbeddingFileError as error:
        assert "mine.safetensors" in str(error)
        return
    # What is accepted has the types that the rest of the pack relies on.
    record = entry.record
    assert record.layer is None or type(record.layer) is int
    assert len(record.ids) == len(record.texts) == len(record.roles) == TOKENS
    assert all(type(role) is Role for role in record.roles)
    assert all(type(text) is str for text in (*record.texts, *record.edits, record.prompt))
    assert all(len(image) == 2 for image in record.images)


@settings(max_examples=100, suppress_health_check=SLOW)
@given(value=json_values)
def test_entries_of_any_other_shape_are_refused(path, value):
    tensors, metadata = parts(saved(path))
    write(path, tensors, {**metadata, "entries": json.dumps(value)})
    with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
        load_embedding(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("layer", "-2", "layer.*whole number"),
        ("layer", 1e9, "layer.*whole number"),
        ("layers", [-2, -2], "2 layers"),
        ("ids", [1, 2, 3, 4], "one id, text and role per token"),
        ("ids", [1, 2, 3, 4, 2**80], "ids.*whole number"),
        ("ids", [1, 2, 3, 4, True], "ids.*whole number"),
        ("roles", ["text"] * 4 + ["admin"], "roles: 'admin' is none of"),
        ("roles", "text", "roles.*list"),
        ("texts", ["a", "b", "c", "d", None], "texts.*no text"),
        ("edits", {}, "edits.*list"),
        ("prompt", "\ud83e", "prompt"),
        ("images", [[1, 2, 3]], "images.*pair"),
        ("taps", [9, 18, 27], "taps.*no object of layers, width, order, blocks"),
        ("taps", {"layers": [9], "width": 0, "order": "layer-major", "blocks": 0}, "taps.*whole"),
        ("taps", {"layers": [9], "width": 4, "order": "odd", "blocks": 0}, "taps.*'odd'"),
        ("taps", {"layers": [1] * 999, "width": 4, "order": "odd", "blocks": 0}, "taps.*more than"),
        ("images", [[0, 10]], "images.*whole number"),
        ("images", [[10**9, 1]], "images.*whole number"),
        ("checksum", "00000000", "other states"),
        ("version", 2, "version 2.*update Z-Image Layer Lab"),
        ("version", True, "version is True"),
        ("colour", "red", "'colour' is unknown.*update Z-Image Layer Lab"),
    ],
)
def test_a_bad_field_of_the_record_is_refused_by_its_name(path, field, value, message):
    rewritten(saved(path), lambda entries: entries[0]["record"].update({field: value}))
    with pytest.raises(EmbeddingFileError, match=f"mine.safetensors.*{message}"):
        load_embedding(path)


def test_fields_that_an_older_record_lacked_have_their_defaults(path):
    def older(entries):
        for name in ("layers", "prompt", "images", "checksum"):
            del entries[0]["record"][name]

    [entry] = load_embedding(rewritten(saved(path), older))
    assert (entry.record.layers, entry.record.prompt, entry.record.images) == ((), "", ())
    rewritten(path, lambda entries: entries[0]["record"].pop("roles"))
    with pytest.raises(EmbeddingFileError, match="lacks roles"):
        load_embedding(path)


@pytest.mark.parametrize(
    "option",
    [
        {"tensor": "nowhere"},
        {"tensor": 1},
        {"tuple": 1},
        {"tuple": [], "tensor": "hidden"},
        {"__class__": "os.system"},
        float("nan"),
        1e400,
        2**64,
        [[[[[[[[[[1]]]]]]]]]],
    ],
    ids=str,
)
def test_an_option_that_is_no_plain_value_is_refused(path, option):
    rewritten(saved(path), lambda entries: entries[0]["options"].update(strength=option))
    with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
        load_embedding(path)


def test_an_option_cannot_pose_as_the_record(path):
    rewritten(saved(path), lambda entries: entries[0]["options"].update(layer_lab="x"))
    with pytest.raises(EmbeddingFileError, match="no options"):
        load_embedding(path)


def test_json_made_to_exhaust_the_reader_is_refused(path, monkeypatch):
    tensors, metadata = parts(saved(path))
    for text in ("[" * 100_000, "1" * 10_000, '{"hidden": ' * 50_000):
        write(path, tensors, {**metadata, "entries": text})
        with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
            load_embedding(path)
    monkeypatch.setattr(embedding_file, "MOST_JSON", 100)
    with pytest.raises(EmbeddingFileError, match="characters, more than 100"):
        load_embedding(saved(path.with_name("other.safetensors")))


@pytest.mark.parametrize("length", [2**63, 10**12, 10**8 + 1, 2**64 - 1])
def test_a_header_that_claims_to_be_huge_is_refused(path, length):
    path.write_bytes(length.to_bytes(8, "little") + b'{"hidden":')
    with pytest.raises(EmbeddingFileError, match="mine.safetensors"):
        load_embedding(path)


def test_states_with_nan_in_a_file_are_refused(path):
    """Their checksum is right: another program wrote it so."""
    save_embedding(path, [Entry(states(), None, {})])
    tensors, metadata = parts(path)
    tensors["hidden"][0, 0, 0] = torch.nan
    with pytest.raises(EmbeddingFileError, match="mine.safetensors.*token 0 dimension 0"):
        load_embedding(write(path, tensors, metadata))


def test_changed_values_are_refused_with_the_way_out(path):
    tensors, metadata = parts(saved(path))
    tensors["hidden"][0, 0, 0] += 1
    save_file(tensors, path, metadata)
    with pytest.raises(EmbeddingFileError, match="not what was saved.*save .* again"):
        load_embedding(path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.int32, torch.bool])
def test_states_of_another_dtype_are_refused(path, dtype):
    tensors, metadata = parts(saved(path, Entry(states(), None, {})))
    tensors["hidden"] = tensors["hidden"].to(dtype)
    with pytest.raises(EmbeddingFileError, match=str(dtype)):
        load_embedding(write(path, tensors, metadata))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not a safetensors file at all, but long enough", "mine.safetensors"),
        (b"\x80\x04.", "mine.safetensors"),
        (b"PK\x03\x04" + bytes(60), "mine.safetensors"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(path, content, said):
    path.write_bytes(content)
    with pytest.raises(EmbeddingFileError, match=said):
        load_embedding(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "layer_lab_reference_v1"}])
def test_safetensors_from_elsewhere_are_refused_and_say_what_can_be_loaded(path, metadata):
    save_file({"hidden": states()}, path, metadata)
    with pytest.raises(EmbeddingFileError, match="files that Save Embedding wrote") as refused:
        load_embedding(path)
    assert repr((metadata or {}).get("format")) in str(refused.value)


@pytest.mark.parametrize(
    ("version", "update"), [("2", True), ("10", True), ("", False), ("1.5", False), ("²", False)]
)
def test_a_newer_version_asks_for_an_update(path, version, update):
    tensors, metadata = parts(saved(path))
    save_file(tensors, path, {**metadata, "version": version})
    with pytest.raises(EmbeddingFileError, match="this pack reads 1") as refused:
        load_embedding(path)
    assert ("update Z-Image Layer Lab" in str(refused.value)) == update


def test_a_tensor_too_many_or_under_another_name_is_refused(path):
    tensors, metadata = parts(saved(path))
    for changed in ({**tensors, "more": torch.zeros(2)}, {"other": tensors["hidden"]}):
        save_file(changed, path, metadata)
        with pytest.raises(EmbeddingFileError, match="not what was saved"):
            load_embedding(path)


def test_a_missing_file_and_a_folder_are_refused(path):
    with pytest.raises(EmbeddingFileError, match="no such file"):
        load_embedding(path)
    path.mkdir()
    with pytest.raises(EmbeddingFileError, match="no such file"):
        load_embedding(path)


def said(path):
    with pytest.raises(EmbeddingFileError) as refused:
        load_embedding(path)
    return str(refused.value).removeprefix("mine.safetensors cannot be read as an embedding: ")


def test_refusals_are_whole_sentences(path):
    assert said(path) == f"{path}: there is no such file"
    tensors, metadata = parts(saved(path))
    save_file(tensors, path, {**metadata, "format": "x"})
    assert said(path) == (
        "it is of another kind (its format is 'x', not 'layer_lab_embedding'); only files that "
        "Save Embedding wrote can be loaded"
    )
    for version, update in (
        ("2", "; update Z-Image Layer Lab"),
        ("01", ""),
        ("0", ""),
        ("002", "; update Z-Image Layer Lab"),
        ("x2", ""),
    ):
        save_file(tensors, path, {**metadata, "version": version})
        assert said(path) == f"its version is {version!r} and this pack reads 1{update}"
    save_file(tensors, path, {**metadata, "checksum": "0"})
    assert said(path) == (
        "it is not what was saved: the file is damaged or was changed; save the conditioning again"
    )
    path.write_bytes(b"x" * 100)
    assert said(path).endswith("; choose another, or save it again")


@pytest.mark.parametrize("entries", ["{}", "[]", '["a", "b"]', "7", "null"])
def test_a_list_of_entries_fits_its_tensors_or_is_none(path, entries):
    tensors, metadata = parts(saved(path))
    write(path, tensors, {**metadata, "entries": entries})
    assert said(path) == "it has no list of entries, or one that does not fit its tensors"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"record": 7}, "the record is 7, not an object of named fields"),
        ({"hidden": "x"}, "the file has no tensor 'x'"),
        ({"hidden": 7}, "the file has no tensor 7"),
        ({"options": []}, "[] are no options of a conditioning"),
        ({"options": {"layer_lab": 1}}, "{'layer_lab': 1} are no options of a conditioning"),
        ({"options": {"a": {"b": 1}}}, "{'b': 1} is no value of a conditioning's option"),
        ({"options": {"a": {"tuple": 1}}}, "{'tuple': 1} is no value of a conditioning's option"),
        ({"options": {"a": {"tensor": "y"}}}, "the file has no tensor 'y'"),
        (
            {"options": {"a": [[[[[[[[[1]]]]]]]]]}},
            "[1] is no value of a conditioning's option",
        ),
    ],
)
def test_a_bad_entry_is_told_by_its_number(path, change, says):
    rewritten(saved(path, Entry(states(), None, {})), lambda entries: entries[0].update(change))
    assert said(path) == f"entry 1: {says}"


def test_an_entry_has_its_three_fields_and_states_of_its_own(path):
    both = Entry(states(), None, {}), Entry(states(seed=1), None, {})
    rewritten(saved(path, *both), lambda entries: entries[1].update(more=1))
    assert said(path).startswith("entry 2: {") and said(path).endswith(
        "} is not hidden, record and options"
    )
    rewritten(saved(path, *both), lambda entries: entries[1].update(hidden="hidden"))
    assert said(path) == "entry 2: its states are another entry's"
    rewritten(saved(path, *both), lambda entries: entries.append(7))
    assert said(path) == "it has no list of entries, or one that does not fit its tensors"


def test_states_are_three_dimensions_in_a_float_dtype(path):
    tensors, metadata = parts(saved(path, Entry(states(), None, {})))
    for hidden, shape in (
        (tensors["hidden"][0], "(5, 6) in torch.float32"),
        (tensors["hidden"].int(), "(1, 5, 6) in torch.int32"),
    ):
        write(path, {"hidden": hidden.contiguous()}, metadata)
        assert said(path) == (
            f"entry 1: its states are {shape}, not (batch, tokens, width) in a float dtype from "
            "float16 to float64"
        )
    write(path, {"hidden": tensors["hidden"].to(torch.float8_e5m2)}, metadata)
    assert said(path) == "entry 1: tensor 'hidden' is of torch.float8_e5m2"


def test_lists_eight_levels_deep_and_tuples_of_them_are_read(path):
    def change(entries):
        entries[0]["options"] = {"a": [[[[[[[[1]]]]]]]], "b": {"tuple": [[[[[[[[1]]]]]]]]}}

    rewritten(saved(path, Entry(states(), None, {})), change)
    [entry] = load_embedding(path)
    assert entry.options == {"a": [[[[[[[[1]]]]]]]], "b": ([[[[[[[1]]]]]]],)}


def test_the_json_may_have_32_million_characters():
    assert embedding_file.MOST_JSON == 33_554_432
