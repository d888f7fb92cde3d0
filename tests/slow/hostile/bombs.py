"""Loads every bomb in a process of its own and prints, as JSON, what came of it.

A line each: its name, the error's class ("" if there was none), and by how many bytes the process
grew beyond what it had ever needed before (resident, so zeroed pages that were touched count).
"""

import json
import resource
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.profile.compare import load_profile
from zimage_layer_lab.cli.profile.prompt_file import PromptFile
from zimage_layer_lab.cli.queue.graph_file import read_graph_file
from zimage_layer_lab.cli.queue.settings import read_table
from zimage_layer_lab.core.measure.reference import (
    FORMAT,
    Reference,
    load_reference,
    save_reference,
)
from zimage_layer_lab.core.record import embedding_file
from zimage_layer_lab.core.record.embedding_file import Entry, load_embedding, save_embedding

EXPANDED = 2**28
"""Bytes that a bomb makes of its few."""
PARTS = "per_dim_mean", "per_dim_std", "global_mean", "global_std"


def npy(shape, descr="<f8"):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path, **members):
    """An .npz of good arrays and these ones, each a list of pieces of bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in PARTS:
            number = npy(()) + struct.pack("<d", 1.0)
            vector = npy((3,)) + struct.pack("<3d", 1, 2, 3)
            pieces = members.get(name) or [vector if name.startswith("per") else number]
            with archive.open(f"{name}.npy", "w") as member:
                for piece in pieces:
                    member.write(piece)
        for name in set(members) - set(PARTS):
            archive.writestr(f"{name}.npy", b"".join(members[name]))
    return path


def zip_bomb(path):
    zeros = bytes(2**20)
    width = EXPANDED // 8
    return npz(path, per_dim_mean=[npy((width,)), *[zeros] * (EXPANDED // 2**20)])


def zip_that_lies_about_its_size(path):
    """The member says that it has the bytes of three numbers; behind that are as many as above."""
    content = bytearray(zip_bomb(path).read_bytes())
    whole = EXPANDED + len(npy((EXPANDED // 8,)))
    said = struct.pack("<L", len(npy((3,))) + 24)
    assert struct.pack("<L", whole) in content
    path.write_bytes(content.replace(struct.pack("<L", whole), said))
    return path


def safetensors_of(path, header, data=b"", length=None):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def sparse(path, header, size):
    """A file of ``size`` bytes that takes up a few kilobytes of disk."""
    safetensors_of(path, header)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    return path


def reference_header(width):
    size = 8 * width
    return {
        "__metadata__": {"format": FORMAT, "provenance": "{}"},
        "mean": {"dtype": "F64", "shape": [width], "data_offsets": [0, size]},
        "std": {"dtype": "F64", "shape": [width], "data_offsets": [size, 2 * size]},
    }


def embedding_of_nested_lists(path):
    save_embedding(path, [Entry(torch.ones(1, 2, 3), None, {})])
    tensors = {"hidden": torch.ones(1, 2, 3)}
    text = "[" + "[]," * 300_000 + "[]]"
    checksum = embedding_file._checksum(text, tensors)
    metadata = {"format": "layer_lab_embedding", "version": "1", "entries": text}
    save_file(tensors, path, {**metadata, "checksum": checksum})
    return path


def text_file(path, *pieces):
    path.write_bytes(b"".join(pieces))
    return path


def model_of(folder, **config):
    folder.mkdir()
    text = json.dumps({"model_type": "qwen3", **config})
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


def bombs(folder):
    """Name, loader, file."""
    huge = {"hidden": {"dtype": "F32", "shape": [1, 2**58], "data_offsets": [0, 2**60]}}
    lists = b"[" + b"[]," * 300_000 + b"[]]"
    gguf = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"
    yield "zip bomb", load_reference, zip_bomb(folder / "a.npz")
    yield "lying zip", load_reference, zip_that_lies_about_its_size(folder / "b.npz")
    for name, shape, descr in (
        ("array of 2**40 numbers", (2**40,), "<f8"),
        ("array of 2**62 numbers", (2**62,), "<f8"),
        ("array of 2**27 numbers", (2**27,), "<f8"),
        ("array of long texts", (2,), "<U100000000"),
        ("array of wide records", (), "|V268435456"),
    ):
        path = npz(folder / f"{name}.npz", per_dim_mean=[npy(shape, descr), bytes(64)])
        yield name, load_reference, path
    path = npz(folder / "c.npz", provenance=[npy((), "<U100000000"), bytes(64)])
    yield "long provenance", load_reference, path
    for name, load in (("reference", load_reference), ("embedding", load_embedding)):
        path = safetensors_of(folder / f"{name} 1.safetensors", {}, length=2**60)
        yield f"{name}: header of 2**60 bytes", load, path
        path = safetensors_of(folder / f"{name} 2.safetensors", huge, bytes(64))
        yield f"{name}: tensor of 2**60 bytes", load, path
    header = reference_header(2**26)
    path = sparse(folder / "sparse.safetensors", header, 2 * 2**29)
    yield "sparse reference", load_reference, path
    yield "embedding of lists", load_embedding, embedding_of_nested_lists(folder / "e.safetensors")
    yield "profile of lists", load_profile, text_file(folder / "profile.json", lists)
    yield "workflow of lists", read_graph_file, text_file(folder / "workflow.json", lists)
    yield "table of lists", read_table, text_file(folder / "table.json", lists)
    yield "one long cell", read_table, text_file(folder / "table.csv", b"a" * 2**20)
    yield "one long line", PromptFile, text_file(folder / "prompts.txt", b"\xff" * 2**20)
    path = text_file(folder / "a.gguf", gguf + struct.pack("<IIQ", 9, 4, 2**60))
    yield "gguf array", lambda path: ModelFiles.find(path).config(), path
    path = model_of(folder / "model", num_hidden_layers=10**9)
    yield "config of a billion blocks", lambda path: ModelFiles.find(path).config(), path


def grown():
    """Bytes that the process has needed at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def warm_up(folder):
    """What a loader needs for any file at all, imports above all."""
    vector = torch.ones(3, dtype=torch.float64)
    for suffix in (".npz", ".safetensors"):
        save_reference(Reference(vector, vector, 0.0, 1.0), folder / f"warm{suffix}")
        load_reference(folder / f"warm{suffix}")
    save_embedding(folder / "warm_e.safetensors", [Entry(torch.ones(1, 2, 3), None, {})])
    load_embedding(folder / "warm_e.safetensors")
    ModelFiles.find(model_of(folder / "warm", num_hidden_layers=2)).config()
    np.zeros(3).sum()
    zlib.decompress(zlib.compress(bytes(9)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    warm_up(folder)
    for name, load, path in bombs(folder):
        before, error = grown(), ""
        try:
            load(path)
        except Exception as raised:
            error = type(raised).__name__
        print(json.dumps([name, error, grown() - before, path.stat().st_blocks]))  # noqa: T201
