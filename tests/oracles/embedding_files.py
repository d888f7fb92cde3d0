"""Embedding files to test with, whole ones and such as somebody else might write."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load, save_file
from zimage_layer_lab.core.record import embedding_file
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding
from zimage_layer_lab.core.record.record import Record, Role
from zimage_layer_lab.core.taps.layout import INTERLEAVED, Taps

TOKENS, WIDTH = 5, 6


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(dtype=torch.float32, batch=1, seed=0):
    return (randn(batch, TOKENS, WIDTH, seed=seed) * 100).to(dtype)


def record_of(hidden, **changed):
    """A record in which every field differs from its default."""
    record = Record(
        layer=None,
        source="qwen_3_4b.safetensors (Qwen3_4B)",
        ids=(151644, 872, -1, -1, 151645),
        texts=("<|im_start|>", "user\n", "狐 🦊", '"quoted" \\ \x00', ""),
        roles=(Role.TEMPLATE, Role.TEXT, Role.IMAGE, Role.VISION_MARKER, Role.PAD),
        edits=("outlier mask: zero", "blend: 30% of …"),
        fingerprint="0123456789abcdef",
        layers=(-2, -2, -6, -6, None),
        prompt="<|im_start|>user\n<|image_pad|>…",
        images=((9, 13), (1, 1)),
        taps=Taps((5, None), WIDTH // 2, INTERLEAVED, 36),
    )
    return replace(record, **changed).sealed(hidden)


def saved(path, *entries, **changed):
    """The path of a file with ``entries``, or with one of a full record."""
    hidden = states()
    save_embedding(path, entries or [Entry(hidden, record_of(hidden, **changed), {})])
    return path


def parts(path):
    """The tensors and the metadata of a file."""
    with safe_open(path, framework="pt") as file:
        return load(Path(path).read_bytes()), dict(file.metadata())


def write(path, tensors, metadata):
    """A file whose checksum is right, as a program that knows the format would write it."""
    checksum = embedding_file._checksum(metadata["entries"], tensors)
    save_file(tensors, path, {**metadata, "checksum": checksum})
    return path


def rewritten(path, change):
    """The file at ``path`` again, after ``change(entries)`` on its JSON."""
    tensors, metadata = parts(path)
    entries = json.loads(metadata["entries"])
    change(entries)
    return write(path, tensors, {**metadata, "entries": json.dumps(entries)})
