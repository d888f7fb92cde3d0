"""The files that rows name: damaged, foreign, newer and wrong ones, in an input folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.concept.concept_file import save_concept
from zimage_layer_lab.core.measure.reference import Reference, save_reference
from zimage_layer_lab.core.record.embedding_file import Entry, save_embedding

WIDTH = 6


def write_files(folder: Path) -> None:
    """All of them into ``folder``; "secret" ones beside it."""
    ones, zeros = torch.ones(WIDTH, dtype=torch.float64), torch.zeros(WIDTH, dtype=torch.float64)
    reference = Reference(zeros, ones, 0.0, 1.0, provenance={"model": "a test", "layer": "-2"})
    save_embedding(folder / "good.safetensors", [Entry(torch.ones(1, 3, WIDTH), None, {})])
    save_reference(reference, folder / "good reference.safetensors")
    save_concept(Concept(ones, zeros, ones), folder / "good concept.safetensors")
    for name in ("good", "good reference", "good concept"):
        whole = (folder / f"{name}.safetensors").read_bytes()
        cut = folder / f"{name}.safetensors".replace("good", "cut")
        cut.write_bytes(whole[: len(whole) // 2])
    (folder / "empty.safetensors").write_bytes(b"")
    save_file({"hidden": torch.ones(1, 3, WIDTH)}, folder / "other.safetensors")
    _resave(folder / "good.safetensors", folder / "newer.safetensors", version="2")
    _resave(folder / "good.safetensors", folder / "changed.safetensors", factor=2)
    _resave(
        folder / "good reference.safetensors",
        folder / "newer reference.safetensors",
        format="layer_lab_reference_v2",
    )
    _resave(
        folder / "good concept.safetensors",
        folder / "newer concept.safetensors",
        format="layer_lab_concept_v2",
    )
    (folder / "a folder.safetensors").mkdir(exist_ok=True)
    numbers = {"per_dim_mean": zeros.numpy(), "global_mean": 0.0, "global_std": 1.0}
    np.savez(folder / "half.npz", **numbers)
    for name, std in {
        "whole": ones.numpy(),
        "negative": -ones.numpy(),
        "nan": np.full(WIDTH, np.nan),
        "pickle": np.array([{"a": 1}], dtype=object),
    }.items():
        np.savez(folder / f"{name}.npz", per_dim_std=std, **numbers)
    (folder / "cut.npz").write_bytes((folder / "whole.npz").read_bytes()[:-40])
    (folder / "prompts.txt").write_text("a red fox\n", encoding="utf-8")
    (folder / "latin.txt").write_bytes("un caf\u00e9".replace("caf", "ca").encode("latin-1"))
    (folder / "blank.txt").write_text(" \n\n", encoding="utf-8")
    for suffix in ("safetensors", "npz", "txt"):
        (folder.parent / f"secret.{suffix}").write_bytes(b"not yours")


def _resave(source: Path, target: Path, factor: float = 1, **metadata: str) -> None:
    """``source`` again with other numbers or other metadata."""
    with safe_open(source, framework="pt") as file:
        known = dict(file.metadata())
    tensors = {name: tensor * factor for name, tensor in load_file(source).items()}
    save_file(tensors, target, {**known, **metadata})
