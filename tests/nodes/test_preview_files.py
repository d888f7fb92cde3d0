"""The PNG of a preview, against two readers: Pillow's and FFmpeg's."""

import json

import numpy as np
import pytest


def read_by_both(file) -> np.ndarray:
    """The picture as FFmpeg reads it, which Pillow must agree with, check sums included."""
    import av
    from PIL import Image

    with Image.open(file) as opened:
        opened.verify()
    with Image.open(file) as opened:
        assert opened.mode == "RGB"
        pixels = np.asarray(opened)
    with av.open(str(file)) as opened:
        [frame] = opened.decode(video=0)
    assert np.array_equal(frame.to_ndarray(format="rgb24"), pixels)
    return pixels


@pytest.fixture
def write(host):
    from pathlib import Path

    from zimage_layer_lab.nodes.preview_files import write_preview

    def written(pixels, prompt=None):
        saved = write_preview(pixels, prompt)
        return Path(host.folder_paths.get_temp_directory()) / saved["filename"]

    return written


@pytest.mark.parametrize("height", [1, 2, 255, 256, 257, 512, 700])
@pytest.mark.parametrize("width", [1, 7, 300])
def test_every_pixel_is_read_back(write, height, width):
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    assert np.array_equal(read_by_both(write(noise)), noise)


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: pixels[::-1],
        lambda pixels: pixels[:, 100:200],
        lambda pixels: np.broadcast_to(pixels[..., :1], pixels.shape),
        lambda pixels: np.zeros_like(pixels),
        lambda pixels: np.full_like(pixels, 255),
    ],
    ids=["upside down", "cut out", "grey", "black", "white"],
)
def test_pixels_that_lie_otherwise_in_memory_or_repeat_are_read_back(write, change):
    rng = np.random.default_rng(0)
    pixels = change(rng.integers(0, 256, (300, 310, 3), np.uint8))
    assert np.array_equal(read_by_both(write(pixels)), pixels)


def test_a_prompt_in_any_script_is_read_back_beside_the_pixels(write):
    from PIL import Image

    prompt = {"1": {"inputs": {"text": "ä \N{SNOWMAN} \N{GRINNING FACE} \ud800 \0 \n" * 5000}}}
    pixels = np.full((3, 5, 3), 7, np.uint8)
    file = write(pixels, prompt)
    assert np.array_equal(read_by_both(file), pixels)
    with Image.open(file) as opened:
        assert json.loads(opened.text["prompt"]) == prompt


def test_a_picture_like_a_photograph_is_no_larger_than_half_of_its_bytes(write):
    rows, columns = np.mgrid[:512, :512] / 512
    smooth = np.stack([np.sin(5 * rows), np.cos(7 * columns), np.sin(3 * rows * columns)], -1)
    pixels = (127.5 + 127 * smooth).round().astype(np.uint8)
    assert write(pixels).stat().st_size < pixels.nbytes / 2
