"""Model files that lie about what they hold are refused before a reader believes them."""

import json
import struct

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.gguf_header import GgufHeaderError, check_gguf_header
from zimage_layer_lab.cli.model.language_model import load_decoder

from .fuzzing import damaged, fuzz


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small GGUF file as the gguf package writes it."""
    path = tmp_path_factory.mktemp("gguf") / "good.gguf"
    writer = GGUFWriter(path, "qwen3")
    writer.add_block_count(2)
    writer.add_token_list(["a", "狐", "<|im_start|>"])
    writer.add_token_scores([0.0, 1.0, 2.0])
    writer.add_chat_template("{{ messages }}" * 30)
    writer.add_tensor("token_embd.weight", np.zeros((3, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@fuzz(500)
@given(data=st.data())
def test_what_passes_the_check_keeps_no_reader_busy(good, data):
    path = good.with_name("damaged.gguf")
    path.write_bytes(data.draw(damaged(good.read_bytes()[:420])) + bytes(500))
    try:
        check_gguf_header(path)
    except GgufHeaderError as error:
        assert len(str(error)) < 500
        return
    try:
        GGUFReader(path)
    except Exception as error:  # What it says is told as a ModelError; that it ends is the point.
        assert not isinstance(error, MemoryError)


def test_a_good_file_of_the_gguf_package_passes(good):
    check_gguf_header(good)


def text(word):
    return struct.pack("<Q", len(word)) + word


def header(tensors=0, keys=1, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


TENSOR = text(b"t") + struct.pack("<I", 1)
LIES = {
    "an array of 2**60 numbers": header() + text(b"a") + struct.pack("<IIQ", 9, 4, 2**60),
    "an array of 2**60 texts": header() + text(b"a") + struct.pack("<IIQ", 9, 8, 2**60),
    "arrays within arrays": header() + text(b"a") + struct.pack("<IIQ", 9, 9, 1) * 3000,
    "a text of 2**60 bytes": header() + text(b"a") + struct.pack("<IQ", 8, 2**60),
    "a name of 2**60 bytes": header() + struct.pack("<Q", 2**60),
    "2**60 keys": header(keys=2**60) + bytes(200),
    "2**60 tensors": header(tensors=2**60, keys=0) + bytes(200),
    "a tensor of 2**60 numbers": header(1, 0)
    + TENSOR
    + struct.pack("<QIQ", 2**60, 0, 0)
    + bytes(99),
    "a tensor of 2**30 dimensions": header(1, 0) + text(b"t") + struct.pack("<I", 2**30),
    "a tensor of an unknown type": header(1, 0) + TENSOR + struct.pack("<QIQ", 1, 999, 0),
    "2**31 blocks": header() + text(b"llama.block_count") + struct.pack("<II", 4, 2**31),
    "a value of an unknown type": header() + text(b"a") + struct.pack("<I", 99),
    "another version": header(version=9),
}
OVERLAPPING = header(50, 0) + b"".join(
    text(b"%d" % n) + struct.pack("<IQIQ", 1, 1000, 0, 0) for n in range(50)
)


@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_a_gguf_header_that_lies_is_refused_by_name(tmp_path, content):
    path = tmp_path / "lying.gguf"
    path.write_bytes(content)
    for use in (ModelFiles.config, ModelFiles.tokenizer, load_decoder):
        with pytest.raises(ModelError, match="lying.gguf: .*cannot be read: .*again"):
            use(ModelFiles.find(path))


def test_tensors_that_share_their_bytes_are_refused(tmp_path):
    """Each would be made in full."""
    path = tmp_path / "sharing.gguf"
    path.write_bytes(OVERLAPPING + bytes(5000))
    with pytest.raises(ModelError, match="more bytes than its"):
        ModelFiles.find(path).config()


CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 64,
}


def model(folder, **changed):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changed), encoding="utf-8")
    save_file({"model.norm.weight": torch.ones(16)}, folder / "model.safetensors")
    return ModelFiles.find(folder)


@pytest.mark.parametrize("blocks", [10**9, -1, 1e300, 2**70])
@pytest.mark.parametrize("inside", [False, True])
def test_a_config_of_a_thousand_million_blocks_is_refused(tmp_path, blocks, inside):
    """Qwen3's configuration makes a list with an entry for each."""
    changed = {"text_config": {"num_hidden_layers": blocks}} if inside else {}
    files = model(tmp_path / "m", **(changed or {"num_hidden_layers": blocks}))
    with pytest.raises(ModelError, match="num_hidden_layers is"):
        files.config()


@pytest.mark.parametrize(
    "changed", [{"hidden_size": 2**17}, {"vocab_size": 2**33}, {"vocab_size": 2**62}]
)
def test_weights_that_no_file_holds_are_not_made_up(tmp_path, changed):
    files = model(tmp_path / "m", **changed)
    with pytest.raises(ModelError, match="the weights cannot be read"):
        load_decoder(files)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "5", "\0", '{"model_type": 5}'])
def test_a_config_that_is_none_is_refused_by_name(tmp_path, content):
    files = model(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="the configuration cannot be read"):
        files.config()
