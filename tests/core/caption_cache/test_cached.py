"""What every format of a caption cache refuses, and how it says so."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from zimage_layer_lab.core.caption_cache.ai_toolkit import AiToolkit
from zimage_layer_lab.core.caption_cache.cached import (
    DTYPES,
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
from zimage_layer_lab.core.caption_cache.single import stem_of, to_cache, write_if_new
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding
from zimage_layer_lab.core.record.record import plain_record

from ...oracles import caption_caches

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


def test_only_two_dtypes_are_written():
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
        (AiToolkit(), caption_caches),
    ],
)
def test_a_format_is_known_by_its_file(tmp_path, kind, file):
    name = kind.file_name("fox", "a")
    assert FORMATS[kind.name] is type(kind)
    if isinstance(file, str):
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
    with pytest.raises(CacheFileError, match="^gone.safetensors cannot be read: "):
        format_of(path.with_name("gone.safetensors"))


def test_musubi_keeps_neither_caption_nor_settings_that_are_not_given(path):
    Musubi().write(path, Cached(STATES, None, None), plain_record(2))
    assert Musubi().read(path).caption == "" and Musubi().read(path).settings == {}
    _, metadata = caption_caches.parse(path)
    assert metadata == {
        "architecture": "z_image",
        "caption1": "",
        "format_version": "1.0.1",
        "layer_lab": "{}",
    }


@pytest.mark.parametrize(
    ("tensors", "metadata", "says"),
    [
        (
            {"varlen_llm_embed_float32": STATES},
            {"architecture": "f" * 50},
            f"its architecture is '{'f' * 40}', not 'z_image'",
        ),
        (
            {"varlen_llm_embed_bfloat16": STATES},
            None,
            "its tensor is called varlen_llm_embed_bfloat16, not varlen_llm_embed_float32",
        ),
        ({"varlen_llm_embed_float32": STATES}, {"layer_lab": "7"}, "its settings are no object"),
    ],
)
def test_a_file_that_is_not_quite_musubis_is_refused(path, tensors, metadata, says):
    save_file(tensors, path, metadata)
    with pytest.raises(CacheFileError) as refused:
        Musubi().read(path)
    assert str(refused.value) == (
        f"fox.safetensors cannot be read as a cache of musubi-tuner: {says}; make it again"
    )


def test_ai_toolkit_says_which_tensor_it_looks_for(path):
    save_file({"text_embed_1": STATES}, path)
    with pytest.raises(CacheFileError) as refused:
        AiToolkit().read(path)
    assert str(refused.value) == (
        "fox.safetensors cannot be read as a cache of ai-toolkit: its tensor is called "
        "text_embed_1, not text_embed_0; make it again"
    )


@pytest.mark.parametrize(
    ("trigger", "text", "caption"),
    [
        ("sks", "a fox", "sks a fox"),
        ("sks", "a sks fox", "a sks fox"),
        ("sks", "[name] [trigger]", "sks sks"),
        (" ", "a fox", "a fox"),
        ("", "a [trigger] fox", "a  fox"),
    ],
)
def test_a_trigger_word_is_put_in_or_in_front_once(trigger, text, caption):
    assert AiToolkit(trigger).caption(text) == caption


def test_plain_says_what_the_record_says(path):
    states = STATES[None]
    known = plain_record(2, "qwen").with_layers((-2, -2)).sealed(states)
    save_embedding(path, [Entry(states, known, {})])
    read = Plain().read(path)
    assert torch.equal(read.states, STATES) and read.caption == ""
    assert read.settings == {"model": "qwen", "fingerprint": "", "layer": "-2"}
    save_embedding(path, [Entry(states, plain_record(2, "qwen"), {})])
    assert Plain().read(path).settings == {"model": "qwen", "fingerprint": ""}
    save_embedding(path, [Entry(states, None, {})])
    read = Plain().read(path)
    assert torch.equal(read.states, STATES) and (read.caption, read.settings) == (None, None)


@pytest.mark.parametrize(
    "entries",
    [[Entry(STATES[None], None, {})] * 2, [Entry(torch.stack([STATES] * 2), None, {})]],
)
def test_plain_holds_one_conditioning_of_one_picture(path, entries):
    save_embedding(path, entries)
    with pytest.raises(CacheFileError) as refused:
        Plain().read(path)
    assert str(refused.value) == (
        "fox.safetensors holds more than one conditioning: a cache has one for its caption"
    )


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("fox.png", "fox"),
        ("fox.v2.JPEG", "fox.v2"),
        ("fox.v2", "fox.v2"),
        ("fox", "fox"),
        *((f"a.{ending}", "a") for ending in "avif bmp gif jpg jxl tif tiff webp".split()),
    ],
)
def test_an_images_ending_is_no_part_of_its_name(name, stem):
    assert stem_of(name) == stem


@pytest.mark.parametrize(
    ("source", "layers", "says"),
    [
        ("qwen", (-2, -6, -2), "-2, -6"),
        ("qwen", (-3, -3, -3), "-3"),
        ("qwen", (None, None, -2), "mix, -2"),
        ("unknown encoder", (None,) * 3, "unknown"),
    ],
)
def test_a_cache_says_how_its_states_were_made(source, layers, says):
    record = plain_record(3, source).with_layers(layers).with_edit("masked")
    hidden = torch.full((3, 2), 1.0009765625)
    cached = to_cache(hidden, record, "a fox", torch.bfloat16, Musubi())
    assert cached.states.dtype == torch.bfloat16 and cached.states.tolist() == [[1.0, 1.0]] * 3
    assert cached.caption == "a fox" and cached.settings == {
        "model": source,
        "fingerprint": "",
        "layer": says,
        "edits": ["masked"],
        "dtype": "bfloat16",
        "format": "musubi",
    }


def test_a_cache_that_cannot_be_overwritten_says_what_it_is_and_what_to_do(path):
    cached = Cached(STATES, "a", {"layer": "-2"})
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=False) is True
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=False) is False
    assert write_if_new(Musubi(), path, cached, plain_record(2), overwrite=True) is True
    for kind, what in ((Musubi(), "holds other states, of layer -2"), (AiToolkit(), None)):
        with pytest.raises(CacheFileError) as refused:
            other = Cached(STATES[:1], "a", {})
            write_if_new(kind, path, other, plain_record(1), overwrite=False)
        assert str(refused.value) == (
            f"fox.safetensors is there already and {what or 'is no cache of ai-toolkit'}: choose "
            "another name, or turn overwrite on"
        )
