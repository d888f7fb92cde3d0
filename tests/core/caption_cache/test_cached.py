"""What every format of a caption cache refuses, and how it says so."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from zimage_layer_lab.core.caption_cache.ai_toolkit import AiToolkit
from zimage_layer_lab.core.caption_cache.cached import (
    DTYPES,
    TRAINERS_LIMIT,
    Cached,
    CacheFileError,
    only_states,
    reading,
    settings_from_text,
    settings_to_text,
    write_tensor,
)
from zimage_layer_lab.core.caption_cache.formats import FORMATS, format_of
from zimage_layer_lab.core.caption_cache.musubi import Musubi
from zimage_layer_lab.core.caption_cache.plain import Plain
from zimage_layer_lab.core.record.record import plain_record

STATES = torch.tensor([[1.5, -2.0, 0.25], [1024.0, 0.0, 3.0]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fox.safetensors"


def test_settings_are_readable_text_in_a_fixed_order_and_come_back():
    settings = {"model": "模型 ü", "edits": ["a"], "layer": "-2"}
    text = settings_to_text(settings)
    assert text == '{"edits": ["a"], "layer": "-2", "model": "模型 ü"}'
    assert settings_from_text(text) == settings and settings_from_text(None) is None
    with pytest.raises(ValueError, match="^its settings are no object$"):
        settings_from_text("[]")


def test_the_trainers_limit_and_the_dtypes_are_the_known_ones():
    assert TRAINERS_LIMIT == 512
    assert DTYPES == {"bf16": torch.bfloat16, "f32": torch.float32}


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3)])
def test_only_tokens_and_width_are_written(path, shape):
    with pytest.raises(ValueError) as refused:
        write_tensor(path, "x", torch.zeros(shape), None)
    assert str(refused.value) == f"states have the shape {shape}, not (tokens, width)"
    assert not path.exists()


def test_a_part_of_a_larger_tensor_that_needs_a_gradient_is_written_alone(path):
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    write_tensor(path, "x", whole[:, ::2], None)
    assert load_file(path)["x"].tolist() == [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "it must hold one tensor t_..., and it holds nothing"),
        (
            {"t_b": STATES, "x": STATES, "t_a": STATES},
            "it must hold one tensor t_..., and it holds t_a, t_b, x",
        ),
        ({"x": STATES}, "it must hold one tensor t_..., and it holds x"),
        (
            {"t_": STATES[0]},
            "t_ is (3,) in torch.float32, not (tokens, width) of a float dtype",
        ),
        (
            {"t_": STATES[:0]},
            "t_ is (0, 3) in torch.float32, not (tokens, width) of a float dtype",
        ),
        (
            {"t_": STATES[None]},
            "t_ is (1, 2, 3) in torch.float32, not (tokens, width) of a float dtype",
        ),
        (
            {"t_": STATES.int()},
            "t_ is (2, 3) in torch.int32, not (tokens, width) of a float dtype",
        ),
    ],
)
def test_what_holds_no_states_is_refused(tensors, says):
    with pytest.raises(ValueError) as refused:
        only_states(tensors, "t_")
    assert str(refused.value) == says


def test_the_one_tensor_of_a_prefix_may_have_others_beside_it():
    name, states = only_states({"t_1": STATES[:1, :1], "x": STATES}, "t_")
    assert name == "t_1" and states.tolist() == [[1.5]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("a\n  b"), "a b"), (TypeError(), "TypeError"), (KeyError("x"), "'x'")],
)
def test_whatever_a_reader_raises_names_the_file(path, error, reason):
    with pytest.raises(CacheFileError) as refused:
        with reading(path, "a cache of x"):
            raise error
    said = f"fox.safetensors cannot be read as a cache of x: {reason}; make it again"
    assert str(refused.value) == said
    with pytest.raises(CacheFileError, match="^already said$"):
        with reading(path, "a cache of x"):
            raise CacheFileError("already said")


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (Musubi(), "fox_zi_te.safetensors"),
        (Plain(), "fox.safetensors"),
        (AiToolkit(), None),
    ],
)
def test_a_format_is_known_by_its_file(tmp_path, kind, file):
    name = kind.file_name("fox", "a")
    assert FORMATS[kind.name] is type(kind)
    if file:
        assert name == file and kind.caption(" a \n") == "a"
    kind.write(tmp_path / name, Cached(STATES, "a", None), plain_record(2))
    assert type(format_of(tmp_path / name)) is type(kind)
    assert torch.equal(kind.read(tmp_path / name).states, STATES)


def test_what_is_no_cache_has_no_format_and_a_damaged_file_is_refused(path):
    save_file({"x": STATES}, path)
    assert format_of(path) is None
    path.write_bytes(b"")
    with pytest.raises(CacheFileError, match=r"^fox.safetensors cannot be read: .*; make it again"):
        format_of(path)
    with pytest.raises(CacheFileError, match="^gone.safetensors cannot be read: .*No such file"):
        format_of(path.with_name("gone.safetensors"))
