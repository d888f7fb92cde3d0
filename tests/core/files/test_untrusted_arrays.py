"""Arrays of strangers: NumPy's own files are read, and what lies about itself is refused."""

import io
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from zimage_layer_lab.core.files.untrusted_arrays import (
    MOST_BYTES,
    WIDEST,
    NpzError,
    npz_names,
    read_npz,
    read_vectors,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.npz"


def npy(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


ARRAYS = {
    "vector": np.arange(5, dtype=np.float32),
    "matrix": np.arange(6, dtype=np.int16).reshape(2, 3),
    "by_column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "unsigned": np.array([1, 2], np.uint8),
    "text": np.array(["ab", "狐"]),
    "single": np.array(2.5),
    "none": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_is_read_as_it_was_and_only_what_is_wanted(path, save):
    save(path, **ARRAYS, other=np.array([object()]))
    assert npz_names(path) == {*ARRAYS, "other"}
    read = read_npz(path, [*ARRAYS, "missing"])
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)
        assert read[name].shape == array.shape
    assert not read["vector"].flags.writeable


def test_a_header_of_version_2_is_read_too(path):
    archive(path, {"a.npy": npy(np.arange(3.0), (2, 0))})
    assert read_npz(path, ["a"])["a"].tolist() == [0.0, 1.0, 2.0]


GOOD = npy(np.arange(4.0))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npy(np.arange(3.0), (3, 0)), "'a.npy' is of .npy version (3, 0), which is not known here"),
        (
            npy(np.array([1j])),
            "'a.npy' is of complex128, neither numbers nor text; pickles are never read",
        ),
        (
            npy(np.array([True])),
            "'a.npy' is of bool, neither numbers nor text; pickles are never read",
        ),
        (
            npy(np.array([None])),
            "'a.npy' is of object, neither numbers nor text; pickles are never read",
        ),
        (GOOD[:-1], "'a.npy' promises 32 bytes and holds 31"),
        (GOOD + b"x", "'a.npy' promises 32 bytes and holds 33"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_refused(path, content, says):
    archive(path, {"a.npy": content})
    with pytest.raises(NpzError) as refused:
        read_npz(path, ["a"])
    assert str(refused.value) == says


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_is_refused(path, compression):
    archive(path, {"a.npy": GOOD}, compression)
    with pytest.raises(NpzError) as refused:
        read_npz(path, ["a"])
    assert str(refused.value) == "'a.npy' is compressed in a way that numpy does not write"


def test_the_limits_are_a_vector_of_two_million_numbers():
    assert (WIDEST, MOST_BYTES) == (2_097_152, 16_777_216)


def test_an_array_up_to_the_limit_is_read_and_a_larger_one_refused(path):
    """Compressed, a file of a few kilobytes."""
    header = len(npy(np.zeros(2**20, np.uint8))) - 2**20
    for size in (MOST_BYTES, MOST_BYTES + 1):
        whole = npy(np.zeros(size - header, np.uint8))
        assert len(whole) == size
        archive(path, {"a.npy": whole}, zipfile.ZIP_DEFLATED)
        if size == MOST_BYTES:
            assert len(read_npz(path, ["a"])["a"]) == size - header
            continue
        with pytest.raises(NpzError) as refused:
            read_npz(path, ["a"])
        assert str(refused.value) == "'a.npy' holds 16777217 bytes, more than 16777216"


def test_what_is_no_npz_is_refused_with_a_reason_that_is_not_endless(path):
    path.write_bytes(b"no zip")
    for read in (npz_names, lambda path: read_npz(path, ["a"])):
        with pytest.raises(NpzError, match="^File is not a zip file$"):
            read(path)
    for size, ending in ((170, "x'"), (171, "x ...")):
        header = b"'" + b"x" * size + b"'"
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive(path, {"a.npy": magic + header})
        with pytest.raises(NpzError) as refused:
            read_npz(path, ["a"])
        quoted = f"Header is not a dictionary: '{'x' * size}'"
        assert str(refused.value) == (quoted if size == 170 else f"{quoted[:200]} ...")
        assert str(refused.value).endswith(ending)
    with pytest.raises(FileNotFoundError):
        npz_names(path.with_name("gone.npz"))


def vectors(path, tensors, wanted):
    save_file(tensors, path)
    with safe_open(path, framework="pt") as file:
        return read_vectors(file, wanted)


def test_vectors_are_read_as_float64_and_only_what_is_wanted(path):
    half = torch.tensor([0.5, -1.25]).half()
    read = vectors(path, {"a": half, "b": torch.ones(1), "c": torch.eye(2)}, ["b", "gone", "a"])
    assert list(read) == ["b", "a"]
    assert read["a"].dtype == torch.float64 and read["a"].tolist() == [0.5, -1.25]


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(2, 3), "a is of shape [2, 3], not (up to 2097152,)"),
        (torch.tensor(1.0), "a is of shape [], not (up to 2097152,)"),
        (torch.zeros(2_097_153).half(), "a is of shape [2097153], not (up to 2097152,)"),
        (torch.zeros(2, dtype=torch.int64), "a is of torch.int64, no float dtype"),
    ],
)
def test_what_is_no_vector_is_refused(path, tensor, says):
    with pytest.raises(ValueError) as refused:
        vectors(path, {"a": tensor}, ["a"])
    assert str(refused.value) == says


def test_the_widest_vector_is_one(path):
    assert len(vectors(path, {"a": torch.zeros(2_097_152).half()}, ["a"])["a"]) == 2_097_152
