"""The fast reader of GGUF headers against the package's own."""

import os

import gguf
import numpy as np
import pytest
from gguf import GGUFEndian, GGUFReader, GGUFWriter
from transformers import modeling_gguf_pytorch_utils
from transformers.integrations import ggml
from transformers.integrations.ggml import _gguf_parse_value
from zimage_layer_lab.cli.model.gguf_reader import LONG, fast_gguf_reader, forget_gguf_reader
from zimage_layer_lab.cli.model.language_model import find_smollm2, load_smollm2

WORDS = ["a", "", "狐", "<|im_start|>", "x" * 300]


def write(path, endianess=GGUFEndian.LITTLE, times=LONG):
    """Arrays of 5 * ``times`` values, and short ones."""
    writer = GGUFWriter(path, "qwen3", endianess=endianess)
    writer.add_block_count(2)
    writer.add_token_list(WORDS * times)
    writer.add_token_scores([0.0, -1.5, 2.0, 1e30, -0.0] * times)
    writer.add_token_types([1, 3, 3, 1, 6] * times)
    writer.add_token_merges(["a b", "狐 c"] * times)
    writer.add_chat_template("{{ messages }}")
    writer.add_array("flags", [True, False] * times)
    writer.add_array("doubles of the package", [0.1, 2.5])
    writer.add_array("one word", ["only"])
    writer.add_tensor("token_embd.weight", np.arange(160, dtype=np.float32).reshape(5, 32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def require_the_same(path):
    own = GGUFReader(path)
    with fast_gguf_reader():
        fast = gguf.GGUFReader(path)
    assert gguf.GGUFReader is GGUFReader and type(fast) is not GGUFReader
    assert list(fast.fields) == list(own.fields)
    for name, field in own.fields.items():
        found = fast.fields[name]
        # As transformers reads them: by their place among the parts.
        values = [_gguf_parse_value(field.parts[i], field.types) for i in field.data]
        read = [_gguf_parse_value(found.parts[i], found.types) for i in found.data]
        assert read == (values if len(values) < LONG or fast.byte_order != "I" else [values])
    for found, tensor in zip(fast.tensors, own.tensors, strict=True):
        assert (found.name, found.data_offset) == (tensor.name, tensor.data_offset)
        np.testing.assert_array_equal(found.data, tensor.data)


@pytest.mark.parametrize("endianess", GGUFEndian)
@pytest.mark.parametrize("times", [1, LONG])
def test_every_value_is_that_of_the_package(tmp_path, endianess, times):
    require_the_same(write(tmp_path / "small.gguf", endianess, times))


def checkpoint(path):
    return modeling_gguf_pytorch_utils.load_gguf_checkpoint(path)


def test_transformers_gets_the_same_and_converts_no_word_by_itself(tmp_path, monkeypatch):
    path = write(tmp_path / "small.gguf")
    expected = checkpoint(path)
    assert expected["tokenizer"]["tokens"] == WORDS * LONG
    converted = []

    def counting(*arguments):
        converted.append(arguments)
        return _gguf_parse_value(*arguments)

    monkeypatch.setattr(modeling_gguf_pytorch_utils, "_gguf_parse_value", counting)
    with fast_gguf_reader():
        found = checkpoint(path)
    forget_gguf_reader()
    assert found == expected
    assert list(map(type, found["tokenizer"].values())) == list(
        map(type, expected["tokenizer"].values())
    )
    assert 0 < len(converted) < 50


def test_a_transformers_that_converts_lists_otherwise_gets_the_packages_reader(
    tmp_path, monkeypatch
):
    path = write(tmp_path / "small.gguf", times=1)
    monkeypatch.setattr(ggml, "_gguf_parse_value", lambda value, kind: list(value))
    with fast_gguf_reader():
        assert type(gguf.GGUFReader(path)) is GGUFReader
    forget_gguf_reader()


@pytest.mark.slow
def test_a_real_file(smollm2):
    require_the_same(find_smollm2())


def test_a_file_is_read_once_until_it_changes_or_is_forgotten(tmp_path, monkeypatch):
    opened = []

    class Counting(GGUFReader):
        def __init__(self, path, mode="r"):
            opened.append(str(path))
            super().__init__(path, mode)

    monkeypatch.setattr(gguf, "GGUFReader", Counting)
    path = write(tmp_path / "small.gguf")
    for _ in range(3):
        with fast_gguf_reader():
            assert gguf.GGUFReader(path) is gguf.GGUFReader(str(path))
    assert opened == [str(path)]
    os.utime(path, (1, 1))
    with fast_gguf_reader():
        gguf.GGUFReader(path)
        forget_gguf_reader()
        gguf.GGUFReader(path)
    forget_gguf_reader()
    assert len(opened) == 3


@pytest.mark.slow
def test_a_model_reads_the_header_once_and_makes_one_map_of_its_names(monkeypatch):
    opened, maps = [], []

    def counting_maps(*arguments):
        maps.append(arguments)
        return map_of_package(*arguments)

    map_of_package = gguf.get_tensor_name_map

    class Counting(GGUFReader):
        def __init__(self, path, mode="r"):
            opened.append(str(path))
            super().__init__(path, mode)

    monkeypatch.setattr(gguf, "GGUFReader", Counting)
    monkeypatch.setattr(gguf, "get_tensor_name_map", counting_maps)
    load_smollm2()
    assert opened == [str(find_smollm2())] and len(maps) == 1
    assert gguf.get_tensor_name_map is counting_maps


def test_the_packages_reader_is_back_after_an_error(tmp_path):
    (tmp_path / "damaged.gguf").write_bytes(b"GGUF" + bytes(9))
    with pytest.raises(Exception), fast_gguf_reader():  # noqa: B017, PT011
        gguf.GGUFReader(tmp_path / "damaged.gguf")
    assert gguf.GGUFReader is GGUFReader
