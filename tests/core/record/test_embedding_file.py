"""Embedding files: everything comes back, and plain tools read the states."""

from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.record import embedding_file
from zimage_layer_lab.core.record.embedding_file import (
    EmbeddingFileError,
    Entry,
    load_embedding,
    save_embedding,
)
from zimage_layer_lab.core.record.record import Record, Role, current_record

from ...oracles.embedding_files import TOKENS, WIDTH, randn, record_of, saved, states

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.safetensors"


@pytest.mark.parametrize("dtype", FLOATS)
def test_states_and_record_come_back_bit_for_bit(path, dtype, caplog):
    hidden = states(dtype, batch=2)
    record = record_of(hidden)
    for field in fields(Record):
        if field.name not in ("version", "layer"):
            assert getattr(record, field.name) != field.default, "the test must see every field"
    assert save_embedding(path, [Entry(hidden, record, {})]) == []
    [entry] = load_embedding(path)
    assert entry.hidden.dtype == dtype and torch.equal(entry.hidden, hidden)
    assert entry.record == record and asdict(entry.record) == asdict(record)
    assert all(type(role) is Role for role in entry.record.roles)
    assert current_record(entry.record, entry.hidden) is entry.record
    assert not caplog.records


def test_one_layer_for_all_tokens_comes_back_too(path):
    hidden = states()
    record = record_of(hidden, layer=-6, layers=())
    [entry] = load_embedding(saved(path, Entry(hidden, record, {})))
    assert entry.record == record


def test_plain_tools_read_the_states_without_the_pack(path):
    hidden = states(torch.bfloat16)
    saved(path, Entry(hidden, record_of(hidden), {}))
    plain = load_file(path)["hidden"]
    assert plain.dtype == torch.bfloat16 and torch.equal(plain, hidden)


def test_options_of_several_entries_come_back_as_they_were(path):
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    first = {
        "pooled_output": None,
        "start_percent": 0.1 + 0.2,
        "end_percent": 1.0,
        "strength": 1,
        "set_area_to_bounds": False,
        "area": ("percentage", 0.5, 0.25, 0, 0),
        "attention_mask": mask,
        "mask": torch.rand(1, 8, 8).half(),
        "guidance": 3.5,
        "note": "夜 'x'",
        "nested": [1, (2.0, [True, None]), ()],
        "reference_latents": [torch.rand(1, 4, 2, 2), torch.rand(1, 4, 1, 1)],
        "a/0": torch.ones(1),
        "a": [torch.zeros(1)],
    }
    second = {"area": (32, 64, 16, 8), "pooled_output": torch.rand(1, 3), "flags": mask.bool()}
    hidden, other = states(), states(torch.float16, seed=1)
    sides = [Entry(hidden, record_of(hidden), first), Entry(other, None, second)]
    assert save_embedding(path, sides) == []
    loaded = load_embedding(path)
    assert len(loaded) == 2 and loaded[1].record is None
    assert torch.equal(load_file(path)["hidden.1"], other)
    for got, want in zip(loaded, sides, strict=True):
        assert torch.equal(got.hidden, want.hidden) and got.hidden.dtype == want.hidden.dtype
        assert_same(dict(got.options), dict(want.options))
        assert list(got.options) == list(want.options)


def assert_same(got, want):
    assert type(got) is type(want)
    if isinstance(want, torch.Tensor):
        assert got.dtype == want.dtype and torch.equal(got, want)
    elif isinstance(want, dict):
        assert got.keys() == want.keys()
        for key in want:
            assert_same(got[key], want[key])
    elif isinstance(want, list | tuple):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_same(one, other)
    else:
        assert got == want


endless: list = []
endless.append(endless)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        ({"a": 1}, "dict"),
        (float("nan"), "float"),
        (float("inf"), "float"),
        (2**70, "int"),
        ("half a pair \ud83e", "str"),
        (np.float32(1), "float32"),
        ([torch.ones(2), object()], "object"),
        (endless, "list"),
        (torch.ones(2, 2).to_sparse(), "sparse"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_file_cannot_hold_is_left_out_and_named(path, value, kind):
    options = {"control": value, "strength": 0.5}
    [left_out] = save_embedding(path, [Entry(states(), None, options)])
    assert (
        left_out.startswith("'control' (")
        and left_out.endswith(") of entry 1")
        and kind in left_out
    )
    [entry] = load_embedding(path)
    assert entry.options == {"strength": 0.5}
    assert list(load_file(path)) == ["hidden"], "no tensor is left behind"


def test_an_option_without_a_text_as_its_name_is_left_out(path):
    left_out = save_embedding(path, [Entry(states(), None, {3: 1.0, "\ud83e": 2.0, "x": 1})])
    assert len(left_out) == 2
    assert load_embedding(path)[0].options == {"x": 1}


def test_views_and_shared_memory_are_saved_and_nothing_is_modified(path):
    """Entries of a schedule share their states."""
    wide = randn(1, TOKENS, 2 * WIDTH)
    before = wide.clone()
    view = wide[..., ::2]
    options = {"mask": wide[:, :1].expand(1, 3, 2 * WIDTH), "first": wide, "again": wide}
    saved(path, Entry(view, None, options), Entry(view, None, {}))
    first, second = load_embedding(path)
    assert torch.equal(first.hidden, view) and torch.equal(second.hidden, view)
    assert torch.equal(first.options["mask"], options["mask"])
    assert torch.equal(wide, before)


def test_loaded_states_do_not_depend_on_the_file_any_more(path):
    [entry] = load_embedding(saved(path))
    before = entry.hidden.clone()
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(entry.hidden, before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_states_with_nan_or_infinity_are_refused_before_anything_is_written(path, bad):
    hidden = states()
    hidden[0, 3, 2] = bad
    with pytest.raises(NonFiniteError, match="entry 2.*token 3 dimension 2"):
        save_embedding(path, [Entry(states(), None, {}), Entry(hidden, None, {})])
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(torch.zeros(1, 0, 4), None, {}), "at least one token"),
        (Entry(torch.zeros(1, 2, 3, 4), None, {}), "shape"),
        (Entry(torch.zeros(1, 2, 3, dtype=torch.int64), None, {}), "float dtype"),
        (Entry(states(), record_of(states(seed=1)), {}), "other states"),
        (Entry(states()[:, 1:], record_of(states()), {}), "describes 5 tokens"),
        (Entry(states(), record_of(states(), prompt="\ud83e"), {}), "the record's prompt"),
    ],
)
def test_an_entry_that_could_not_be_read_back_is_not_written(path, entry, message):
    with pytest.raises(ValueError, match=message):
        save_embedding(path, [entry])
    assert not list(path.parent.iterdir())


def test_an_empty_conditioning_and_another_suffix_are_refused(path):
    with pytest.raises(EmbeddingFileError, match="empty"):
        save_embedding(path, [])
    with pytest.raises(EmbeddingFileError, match="x.pt"):
        save_embedding(path.with_name("x.pt"), [Entry(states(), None, {})])
    assert not list(path.parent.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(path, monkeypatch):
    old = saved(path).read_bytes()

    def disk_full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(embedding_file, "save_file", disk_full)
    with pytest.raises(OSError, match="No space left"):
        saved(path)
    assert path.read_bytes() == old and list(path.parent.iterdir()) == [path]


def refusal(path, *entries):
    with pytest.raises(ValueError) as refused:
        save_embedding(path, entries)
    return str(refused.value)


def test_what_is_not_saved_is_told_in_a_whole_sentence(path):
    assert refusal(path) == "the conditioning is empty: there is nothing to save"
    assert refusal(path.with_suffix(".pt"), Entry(states(), None, {})) == (
        "mine.pt: an embedding is saved as .safetensors"
    )
    other = Entry(states(), record_of(states(seed=1)), {})
    assert refusal(path, Entry(states(), None, {}), other) == (
        "the conditioning cannot be saved: entry 2: its record was written for other states"
    )
    assert refusal(path, Entry(states()[:, :, :0], None, {})).startswith(
        "entry 1 of the conditioning has shape (1, 5, 0); it must be"
    )
    assert save_embedding(path.with_suffix(".SAFETENSORS"), [Entry(states(), None, {})]) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"a": {1: 2}}, "'a' (dict) of entry 2"),
        ({3: 1}, "3 (its name is no text) of entry 2"),
        ({"\ud83e": 1}, r"'\ud83e' (its name is no text) of entry 2"),
        ({"a": [1, (2, object())]}, "'a' (object) of entry 2"),
        (
            {"a": torch.zeros(1, dtype=torch.complex64)},
            "'a' (tensor of torch.strided, torch.complex64) of entry 2",
        ),
        (
            {"a": torch.eye(2).to_sparse()},
            "'a' (tensor of torch.sparse_coo, torch.float32) of entry 2",
        ),
    ],
)
def test_what_is_left_out_is_named_with_its_kind_and_entry(path, options, says):
    entries = [Entry(states(), None, {"x": 1}), Entry(states(), None, options)]
    assert save_embedding(path, entries) == [says]
    assert [dict(entry.options) for entry in load_embedding(path)] == [{"x": 1}, {}]


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_lists_are_kept_eight_levels_deep(path):
    assert saved(path, Entry(states(), None, {"a": nested(8)}))
    assert load_embedding(path)[0].options == {"a": nested(8)}
    assert save_embedding(path, [Entry(states(), None, {"a": nested(9)})]) == [
        "'a' (list) of entry 1"
    ]
    deep = (((((((1,),),),),),),)
    saved(path, Entry(states(), None, {"a": (deep,)}))
    assert load_embedding(path)[0].options == {"a": (deep,)}


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1, 0, -1])
def test_whole_numbers_of_64_bits_are_kept(path, number):
    saved(path, Entry(states(), None, {"a": number}))
    assert load_embedding(path)[0].options == {"a": number}


@pytest.mark.parametrize("number", [2**63, -(2**63), 2**63 + 1])
def test_larger_whole_numbers_are_left_out(path, number):
    assert save_embedding(path, [Entry(states(), None, {"a": number})]) == ["'a' (int) of entry 1"]


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\ud800", "\udfff", "a\udbffb"])
def test_every_text_is_kept_but_half_a_surrogate_pair(path, text):
    left_out = save_embedding(path, [Entry(states(), None, {"a": text})])
    assert left_out == ([] if text in "\ud7ff\ue000" else ["'a' (str) of entry 1"])


def test_tensors_are_named_after_their_entry_place_and_option(path):
    one = torch.ones(1)
    entries = [
        Entry(states(), None, {"x": 1, "mask": one}),
        Entry(states(), None, {"a": [one, (0, one)]}),
    ]
    saved(path, *entries)
    assert sorted(load_file(path)) == [
        "hidden",
        "hidden.1",
        "option.0.1.mask",
        "option.1.0.a/0",
        "option.1.0.a/1/1",
    ]


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, *FLOATS]
)
def test_tensors_of_these_dtypes_are_kept(path, dtype):
    given = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    saved(path, Entry(states(), None, {"a": given, "single": given[0, 1]}))
    read = load_embedding(path)[0].options
    assert read["a"].dtype == dtype and torch.equal(read["a"], given)
    assert read["single"].shape == () and read["single"] == given[0, 1]
