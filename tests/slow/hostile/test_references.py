"""Whatever is in a reference file, only ReferenceFileError comes out of its loader."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from zimage_layer_lab.cli.profile.stats import reference_tables
from zimage_layer_lab.core.measure.reference import (
    FORMAT,
    Reference,
    ReferenceFileError,
    load_reference,
    save_reference,
)

from .fuzzing import DEPTHS, changed, damaged, fuzz, integers, nested, safetensors_bytes, values

WIDTH = 4
ARRAYS = ("per_dim_mean", "per_dim_std", "global_mean", "global_std", "provenance")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("references")


def reference():
    mean, std = torch.zeros(WIDTH, dtype=torch.float64), torch.ones(WIDTH, dtype=torch.float64)
    return Reference(mean, std, 0.0, 1.0, mean, std, {"model": "m", "layer": "-2"})


@pytest.fixture(scope="module")
def good(folder):
    """Suffix -> the bytes of a good file; its metadata too for safetensors."""
    found = {}
    for suffix in (".safetensors", ".npz"):
        path = folder / f"good{suffix}"
        save_reference(reference(), path)
        found[suffix] = path.read_bytes()
    with safe_open(folder / "good.safetensors", framework="pt") as file:
        found["metadata"] = file.metadata()
    return found


def is_refused_or_sound(path):
    try:
        loaded = load_reference(path)
    except ReferenceFileError as error:
        assert path.name in str(error)
        str(error).encode("utf-8")
        assert len(str(error)) < 2000
        return
    assert bool(loaded.mean.isfinite().all()) and bool((loaded.std >= 0).all())
    assert all(isinstance(fact, str) for fact in loaded.provenance.values())
    if loaded.width:
        reference_tables(loaded)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@fuzz(400)
@given(data=st.data())
def test_a_damaged_file(folder, good, suffix, data):
    path = folder / f"damaged{suffix}"
    path.write_bytes(data.draw(damaged(good[suffix])))
    is_refused_or_sound(path)


@fuzz(400)
@given(data=st.data())
def test_a_lying_safetensors_header(folder, good, data):
    path = folder / "lying.safetensors"
    path.write_bytes(data.draw(safetensors_bytes(["mean", "std", "global"], good["metadata"])))
    is_refused_or_sound(path)


@fuzz(200)
@given(data=st.data())
def test_a_provenance(folder, data):
    """In both kinds of file the rest is good."""
    provenance = data.draw(changed({"model": "m", "layer": "-2"}) | values)
    vector = torch.ones(WIDTH, dtype=torch.float64)
    tensors = {"mean": vector, "std": vector.clone(), "global": vector[:2].clone()}
    metadata = {"format": FORMAT, "provenance": json.dumps(provenance)}
    save_file(tensors, folder / "said.safetensors", metadata)
    is_refused_or_sound(folder / "said.safetensors")
    arrays = {name: np.ones(WIDTH) for name in ARRAYS[:2]} | {name: 1.0 for name in ARRAYS[2:4]}
    np.savez(folder / "said.npz", **arrays, provenance=np.array(json.dumps(provenance)))
    is_refused_or_sound(folder / "said.npz")


descriptions = st.sampled_from(
    ["<f8", ">f8", "<f4", "<f2", "<f16", "|O", "<U4", "<U1000000000", "<U0", "|S4", "<c16", "|b1"]
    + ["|V8", "<i8", "<u8", "<M8[s]", "f8,f8", [("a", "<f8")], [("a", "|O")], "", "x", None, 8]
    + [("<f8", (2,)), [("", "<f8", (2**62,))], [], (), {"a": 1}]
)


@st.composite
def npy_bytes(draw):
    """A .npy whose header comes from a strategy, or is nonsense that its parser must survive."""
    shape = draw(st.lists(integers, max_size=3).map(tuple) | values | st.just((WIDTH,)))
    header = {"descr": draw(descriptions), "fortran_order": draw(st.booleans()), "shape": shape}
    if draw(st.integers(0, 9)) == 0:
        header = draw(changed({"descr": "<f8", "fortran_order": False, "shape": [WIDTH]}))
    text = repr(header)
    if draw(st.integers(0, 9)) == 0:
        text = draw(
            st.text(max_size=40) | st.sampled_from(["(" * 5000, "-" * 9000 + "1", "9" * 9000])
        )
    text = text.encode("latin-1", "replace")
    version = draw(st.sampled_from([(1, 0), (1, 0), (2, 0), (3, 0), (0, 0), (255, 1)]))
    width = 2 if version == (1, 0) else 4
    length = draw(st.just(len(text)) | st.sampled_from([0, 1, 2**15, 2**16 - 1]))
    start = b"\x93NUMPY" + bytes(version) + length.to_bytes(width, "little")
    return start + text + bytes(draw(st.sampled_from([0, 8, 8 * WIDTH, 100])))


@fuzz(500)
@pytest.mark.filterwarnings("ignore:Reading `.npy`", "ignore:invalid escape sequence")
@given(members=st.dictionaries(st.sampled_from(ARRAYS), npy_bytes(), min_size=1))
def test_an_npz_of_lying_arrays(folder, members):
    good_vector, number = io.BytesIO(), io.BytesIO()
    np.save(good_vector, np.ones(WIDTH))
    np.save(number, 1.0)
    whole = {name: good_vector.getvalue() for name in ARRAYS[:2]}
    whole |= {name: number.getvalue() for name in ARRAYS[2:4]}
    with zipfile.ZipFile(folder / "arrays.npz", "w") as archive:
        for name, content in (whole | members).items():
            archive.writestr(f"{name}.npy", content)
    is_refused_or_sound(folder / "arrays.npz")


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_nested_provenance_is_refused_at_any_depth(folder, depth):
    vector = torch.ones(WIDTH, dtype=torch.float64)
    tensors = {"mean": vector, "std": vector.clone(), "global": vector[:2].clone()}
    provenance = f'{{"model": {nested(depth)}}}'
    path = folder / "nested.safetensors"
    save_file(tensors, path, {"format": FORMAT, "provenance": provenance})
    with pytest.raises(ReferenceFileError, match="nested.safetensors"):
        load_reference(path)


@pytest.mark.parametrize("kind", ["<U1", "|O", "<c16", "|b1", "|V8", "<M8[s]"])
def test_arrays_that_are_no_numbers_are_refused(folder, kind):
    arrays = {"per_dim_mean": np.zeros(WIDTH), "per_dim_std": np.ones(WIDTH), "global_mean": 0.0}
    arrays |= {"global_std": 1.0, "per_dim_std": np.ones(WIDTH).astype(kind)}
    np.savez(folder / "kinds.npz", **arrays)
    with pytest.raises(ReferenceFileError, match="kinds.npz"):
        load_reference(folder / "kinds.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_does_not_write_is_refused(folder, good, method):
    """An LZMA member can ask for a dictionary of four gigabytes."""
    path = folder / "other.npz"
    with zipfile.ZipFile(io.BytesIO(good[".npz"])) as source:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in source.namelist():
                archive.writestr(name, source.read(name))
    with pytest.raises(ReferenceFileError, match="compressed in a way"):
        load_reference(path)


def test_other_large_tensors_beside_a_reference_are_never_read(folder):
    vector = torch.ones(WIDTH, dtype=torch.float64)
    tensors = {"mean": vector, "std": vector.clone(), "global": vector[:2].clone()}
    tensors["more"] = torch.zeros(3, 3, dtype=torch.complex64)
    metadata = {"format": FORMAT, "provenance": "{}"}
    save_file(tensors, folder / "more.safetensors", metadata)
    assert load_reference(folder / "more.safetensors").width == WIDTH


def test_statistics_wider_than_any_model_are_refused_before_they_are_read(folder):
    path = folder / "wide.safetensors"
    tensors = {name: torch.zeros(2**21 + 1, dtype=torch.float16) for name in ("mean", "std")}
    tensors["global"] = torch.zeros(2)
    save_file(tensors, path, {"format": FORMAT, "provenance": "{}"})
    with pytest.raises(ReferenceFileError, match="mean is of shape"):
        load_reference(path)
