"""Output and input folders with files that somebody made to do harm.

A listing runs whenever a page asks for the nodes: were it to raise, no node would be there at all.
"""

import os
import shutil
import struct
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ..slow.hostile.fuzzing import damaged, fuzz
from .stock import run

GOOD = ["good.npz [input]", "good.safetensors [input]"]


@pytest.fixture(scope="module")
def folders(host, tmp_path_factory):
    """Input and output folders with good files, bad ones, and links to what is outside."""
    from zimage_layer_lab.core.measure.reference import Reference, save_reference
    from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding

    base = tmp_path_factory.mktemp("hostile")
    patch = pytest.MonkeyPatch()
    for name in ("input", "output"):
        (base / name).mkdir()
        patch.setattr(host.folder_paths, f"{name}_directory", str(base / name))
    vector = torch.ones(3, dtype=torch.float64)
    for suffix in (".npz", ".safetensors"):
        save_reference(Reference(vector, vector, 0.0, 1.0), base / f"secret{suffix}")
        shutil.copy(base / f"secret{suffix}", base / "input" / f"good{suffix}")
    save_embedding(base / "input" / "mine.safetensors", [Entry(torch.ones(1, 2, 3), None, {})])
    make_bad(base)
    yield base
    patch.undo()


def make_bad(base):
    output = base / "output"
    good = (base / "secret.npz").read_bytes()
    for name, content in {
        "empty.npz": b"",
        "text.npz": b"PK but no zip",
        "cut.npz": good[:-10],
        "<b>.npz": b"",
        "huge.safetensors": struct.pack("<Q", 2**60) + b"{}",
        "deep.safetensors": struct.pack("<Q", 10**6) + b"[" * 10**6,
    }.items():
        (output / name).write_bytes(content)
    with zipfile.ZipFile(output / "up.npz", "w") as archive:
        for name in ("../../per_dim_mean.npy", "/per_dim_std.npy"):
            archive.writestr(name, b"")
    save_file({"x": torch.ones(1)}, output / "long.safetensors", {"format": "y" * 10**6})
    for suffix in (".npz", ".safetensors"):
        (output / f"link{suffix}").symlink_to(base / f"secret{suffix}")
        (output / f"self{suffix}").symlink_to(f"self{suffix}")
        (output / f"folder{suffix}").mkdir()
        os.mkfifo(output / f"pipe{suffix}")
    (base / "elsewhere").mkdir()
    shutil.copy(base / "secret.npz", base / "elsewhere" / "x.npz")
    (output / "outside").symlink_to(base / "elsewhere")
    (base / "input" / "round").symlink_to(base / "input")
    shutil.copy(base / "secret.npz", os.fsencode(output) + b"/bytes-\xff.npz.txt")


@pytest.mark.parametrize("node", ["LoadReference", "LoadEmbedding"])
def test_only_sound_files_inside_the_folders_are_offered(pack, folders, node):
    options = getattr(pack, node).define_schema().inputs[0].options
    names = [name for name in options if "round" not in name]
    if node == "LoadReference":
        assert names.pop(0).endswith("[shipped]")
    assert names == (GOOD if node == "LoadReference" else ["mine.safetensors [input]"])
    # A link to the folder itself is still inside; the host follows it as deep as the system does.
    assert len(options) < 200


BAD = [
    "empty.npz",
    "text.npz",
    "cut.npz",
    "<b>.npz",
    "huge.safetensors",
    "deep.safetensors",
    "up.npz",
    "long.safetensors",
    *(
        f"{name}{suffix}"
        for name in ("link", "self", "folder", "pipe")
        for suffix in (".npz", ".safetensors")
    ),
    "outside/x.npz",
    "outside/../../secret.npz",
    "\ud83e.npz",
    "a\0b.npz",
    "x" * 5000 + ".npz",
    "/".join(["d"] * 3000) + ".npz",
]


@pytest.mark.parametrize("name", BAD, ids=lambda name: repr(name[:30]))
@pytest.mark.parametrize("node", ["LoadReference", "LoadEmbedding"])
def test_a_bad_file_that_a_graph_names_is_refused_with_a_message(pack, folders, node, name):
    """A graph comes from anybody, so its name need not be one that is offered."""
    given = f"{name} [output]"
    cls = getattr(pack, node)
    said = cls.validate_inputs(name=given)
    with pytest.raises(ValueError) as refused:
        run(cls, name=given)
    assert type(refused.value) is ValueError
    str(refused.value).encode("utf-8", "backslashreplace")
    assert len(str(refused.value)) < 12_000
    assert said is True or str(refused.value) == said


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@fuzz(25)
@given(data=st.data())
def test_a_listing_outlives_any_file(pack, folders, suffix, data):
    from zimage_layer_lab.nodes.reference import reference_names

    path = folders / "output" / f"damaged{suffix}"
    path.write_bytes(data.draw(damaged((folders / f"secret{suffix}").read_bytes())))
    try:
        assert set(GOOD) <= set(reference_names())
    finally:
        path.unlink()
