"""A tiny Qwen3-VL folder and a folder of images of many sizes."""

import numpy as np
import pytest
from PIL import Image

from ...oracles import vision_model

SIZES = {"b.png": (256, 320), "a.png": (300, 200), "Z.png": (100, 140), "é.png": (480, 640)}
"""Name -> height and width: as they are, made smaller, made larger."""


@pytest.fixture(scope="session")
def tiny_vision_model(tmp_path_factory):
    """The folder of a tiny Qwen3-VL with random weights."""
    return vision_model.write(tmp_path_factory.mktemp("vision") / "tiny-vl")


def picture(height, width, seed):
    """(height, width, 3) uint8: soft colours with some noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 40
    soft = np.stack([np.sin(rows + seed), np.cos(columns), np.sin(rows * columns / 9)], -1)
    return np.clip(127 + 90 * soft + random.normal(0, 20, soft.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder of PNGs, and its arrays in the order of their names' code points."""
    folder = tmp_path_factory.mktemp("pictures")
    arrays = {}
    for seed, (name, size) in enumerate(SIZES.items()):
        arrays[name] = picture(*size, seed)
        Image.fromarray(arrays[name]).save(folder / name)
    return folder, [arrays[name] for name in ("Z.png", "a.png", "b.png", "é.png")]
