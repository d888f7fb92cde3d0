"""Which files of a folder are its images, in which order, and what their pixels are."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from zimage_layer_lab.cli.profile.image_folder import ENDINGS, ImageFolder, ImageFolderError

from .conftest import picture

COLOURS = picture(8, 12, 0)


def save(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options)


def read(folder):
    return [image.numpy() for image in ImageFolder(folder)]


def test_images_come_in_the_order_of_code_points(tmp_path):
    """Not as the file system lists them, and not as a locale would sort them."""
    names = ["b.png", "a10.png", "B.png", "a2.png", "é.png", "狐.png", "a.PNG", "_.png"]
    for name in names:
        save(tmp_path / name, COLOURS, format="PNG")
    folder = ImageFolder(tmp_path)
    assert folder.names == [
        *("B.png", "_.png", "a.PNG", "a10.png", "a2.png", "b.png", "é.png", "狐.png")
    ]
    assert len(folder) == 8


def test_other_files_folders_and_hidden_ones_are_passed_over(tmp_path):
    save(tmp_path / "a.png", COLOURS)
    (tmp_path / "below.png").mkdir()
    save(tmp_path / "below.png" / "b.png", COLOURS)
    for name in ("._a.png", ".hidden.jpg", "notes.txt", "a.png.txt", "png"):
        (tmp_path / name).write_bytes(b"no image")
    assert ImageFolder(tmp_path).names == ["a.png"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_read(tmp_path, ending):
    kind = {".jpg": "JPEG", ".tif": "TIFF"}.get(ending, ending[1:].upper())
    lossless = {"lossless": True} if kind == "WEBP" else {}
    save(tmp_path / f"a{ending.upper()}", COLOURS, format=kind, **lossless)
    [pixels] = read(tmp_path)
    assert pixels.shape == COLOURS.shape and pixels.dtype == np.uint8
    if kind in ("BMP", "PNG", "TIFF", "WEBP"):
        assert np.array_equal(pixels, COLOURS)
    assert np.abs(pixels.astype(int) - COLOURS).mean() < 40


def test_the_contents_decide_not_the_ending(tmp_path):
    save(tmp_path / "a.jpg", COLOURS, format="PNG")
    assert np.array_equal(read(tmp_path)[0], COLOURS)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (4, lambda x: x[::-1]),
        (5, lambda x: x.swapaxes(0, 1)),
        (6, lambda x: np.rot90(x, -1)),
        (7, lambda x: x[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda x: np.rot90(x)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path)[0], upright(COLOURS))


def test_transparency_is_dropped_and_the_colours_under_it_count(tmp_path):
    alpha = np.zeros((8, 12, 1), np.uint8)
    save(tmp_path / "a.png", np.concatenate([COLOURS, alpha], -1))
    grey = np.stack([COLOURS[..., 0], alpha[..., 0]], -1)
    Image.frombytes("LA", (12, 8), grey.tobytes()).save(tmp_path / "b.png")
    palette = Image.fromarray(COLOURS).quantize(4)
    palette.save(tmp_path / "c.png", transparency=bytes([0, 0, 0, 0]))
    colour, level, indexed = read(tmp_path)
    assert np.array_equal(colour, COLOURS)
    assert np.array_equal(level, np.repeat(COLOURS[..., :1], 3, -1))
    assert np.array_equal(indexed, np.asarray(palette.convert("RGB")))


def test_grey_of_one_eight_and_sixteen_bits(tmp_path):
    ramp = np.linspace(0, 65535, 96).reshape(8, 12)
    Image.fromarray(ramp.round().astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(COLOURS[..., 0]).save(tmp_path / "b.png")
    Image.fromarray(COLOURS[..., 0] > 127).save(tmp_path / "c.png")
    sixteen, eight, one = read(tmp_path)
    for channel in range(3):
        assert np.array_equal(sixteen[..., channel], (ramp.round() / 257).round())
        assert np.array_equal(eight[..., channel], COLOURS[..., 0])
        assert np.array_equal(one[..., channel], 255 * (COLOURS[..., 0] > 127))


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    first, second = (Image.fromarray(COLOURS[:, :, i]) for i in (0, 1))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert np.array_equal(read(tmp_path)[0][..., 0], COLOURS[..., 0])


def test_images_that_cannot_be_read_are_named(tmp_path):
    save(tmp_path / "good.png", COLOURS)
    whole = (tmp_path / "good.png").read_bytes()
    save(tmp_path / "x.jpg", picture(200, 300, 1))
    jpeg = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "x.jpg").unlink()
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    cases = {
        "cut.png": (whole[:-30], "cut.png cannot be read as an image: "),
        "cut.jpg": (jpeg[:-500], "cut.jpg cannot be read as an image: image file is truncated"),
        "empty.jpg": (b"", "it holds none of the formats BMP, GIF, JPEG, PNG, TIFF, WEBP"),
        "text.webp": (b"no image", "text.webp cannot be read as an image: it holds none of the"),
        "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "it holds none of the formats"),
    }
    for name, (contents, _) in cases.items():
        (tmp_path / name).write_bytes(contents)
    says = {name: why for name, (_, why) in cases.items()}
    says["float.tif"] = "float.tif cannot be read as an image: its pixels are floating-point"
    folder = ImageFolder(tmp_path)
    for number, name in enumerate(folder.names):
        if name == "good.png":
            assert np.array_equal(folder[number], COLOURS)
            continue
        with pytest.raises(ImageFolderError) as caught:
            folder[number]
        assert says[name] in str(caught.value) and str(tmp_path / name) in str(caught.value)
        assert "take it out" in str(caught.value)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path):
    """A few bytes that promise 60,000 x 60,000 pixels."""
    header = Image.new("1", (1, 1))
    header.save(tmp_path / "bomb.png")
    data = bytearray((tmp_path / "bomb.png").read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageFolderError, match="bomb.png cannot be read as an image: .*limit"):
        ImageFolder(tmp_path)[0]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "there is no such folder; give --images a folder"),
        (lambda path: path.write_bytes(b""), "is not a folder; give --images the folder"),
        (lambda path: path.mkdir(), "holds no image: put at least one into it"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, make, why):
    make(tmp_path / "images")
    with pytest.raises(ImageFolderError, match=why):
        ImageFolder(tmp_path / "images")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageFolderError, match="a.png is no file"):
        ImageFolder(tmp_path)[0]


def test_a_link_to_nowhere_is_told(tmp_path):
    try:
        Path(tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    except OSError:
        pytest.skip("this system allows no symbolic links")
    with pytest.raises(ImageFolderError, match="a.png is no file"):
        ImageFolder(tmp_path)[0]
