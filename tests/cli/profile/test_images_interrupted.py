"""Interrupted runs over images go on where they stopped; bad images stop a run before it starts."""

import json
import weakref

import pytest
from PIL import Image
from zimage_layer_lab.cli.profile import checkpoint as profile_checkpoint
from zimage_layer_lab.cli.profile import command
from zimage_layer_lab.cli.profile.image_prompts import ImagePrompts
from zimage_layer_lab.cli.profile.meter import ProfileMeter

from .conftest import picture


@pytest.fixture
def run(tiny_vision_model, pictures, tmp_path, layerlab):
    """A function: further options -> (exit status, what was said, what was complained about)."""

    def start(*more, images=pictures[0], out="out"):
        return layerlab(
            *("profile", tiny_vision_model, "--images", images, "--max-image-tokens", 80),
            *("--out", tmp_path / out, "--layers=-2,-3", *more),
        )

    return start


@pytest.fixture
def interrupted(run, monkeypatch, tmp_path):
    """Stopped by Ctrl-C after two of four images."""
    monkeypatch.setattr(profile_checkpoint, "WRITING_SHARE", float("inf"))
    measure, calls = ProfileMeter.measure, []

    def stopping(self, *arguments):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProfileMeter, "measure", stopping)
        assert run()[0] == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".checkpoint"]
    return run


def test_the_same_run_goes_on_and_ends_with_the_same_bits(interrupted, tmp_path):
    status, out, _ = interrupted("--batch-tokens=7")  # Which is of no matter to images.
    assert status == 0 and "Going on from a checkpoint: 2 images are done." in out
    assert interrupted(out="unbroken")[0] == 0
    for name in ("profile.json", "heat_map.png"):
        files = [tmp_path / folder / name for folder in ("out", "unbroken")]
        assert files[0].read_bytes() == files[1].read_bytes(), name


@pytest.mark.parametrize(
    ("more", "differing"),
    [(["--tokens=all"], "tokens differ"), (["--max-image-tokens=79"], "max image tokens differ")],
)
def test_another_run_starts_anew_and_says_why(interrupted, more, differing):
    status, out, _ = interrupted(*more)
    assert status == 0 and "Starting anew" in out and differing in out


def test_other_images_or_texts_start_anew(interrupted, pictures, tmp_path):
    (tmp_path / "texts.txt").write_text("w1\n")
    status, out, _ = interrupted("--prompts", tmp_path / "texts.txt")
    assert status == 0 and "images differ" in out


def test_a_checkpoint_of_prompts_is_not_gone_on_from(interrupted, tiny_vision_model, tmp_path):
    from zimage_layer_lab.cli.profile.checkpoint import Checkpoint

    stored = Checkpoint(tmp_path / "out", {"prompts": "of another run"})
    assert stored.load() is None and "images" in stored.note and "prompts" in stored.note


@pytest.mark.parametrize(
    ("name", "contents", "why"),
    [
        ("zz.jpg", b"\xff\xd8\xff no image", "zz.jpg cannot be read as an image"),
        ("zz.png", None, "zz.png: the image is 801x4 pixels"),
    ],
)
def test_a_bad_image_is_named_before_the_model_is_loaded(
    run, pictures, tmp_path, monkeypatch, name, contents, why
):
    def loaded(*arguments):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(command, "ProfileMeter", loaded)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(picture(64, 64, 1)).save(folder / "a.png")
    if contents is None:
        Image.new("RGB", (801, 4)).save(folder / name)
    else:
        (folder / name).write_bytes(contents)
    status, _, err = run(images=folder)
    assert status == 1 and err.startswith("layerlab profile: ") and why in err
    assert not (tmp_path / "out").exists()


def test_a_model_without_vision_is_refused_in_one_sentence(
    tiny_model, pictures, layerlab, tmp_path
):
    out = tmp_path / "out"
    status, _, err = layerlab("profile", tiny_model(), "--images", pictures[0], "--out", out)
    assert status == 1 and "cannot read images: it is a model of the type 'llama'" in err
    assert not out.exists()


def test_only_the_images_of_one_shard_are_in_memory(run, tmp_path, monkeypatch):
    """What is kept of an image is a name and a few numbers, whatever its size."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        Image.fromarray(picture(32, 32, number)).save(folder / f"{number:02}.png")
    pixels, alive = weakref.WeakSet(), []
    make = ImagePrompts.batch

    def counting(self, numbers):
        batch = make(self, numbers)
        pixels.add(batch.image)
        alive.append(len(pixels))
        return batch

    monkeypatch.setattr(ImagePrompts, "batch", counting)
    assert run(images=folder)[0] == 0
    assert len(alive) == 20 and max(alive) <= 2
    assert json.loads((tmp_path / "out" / "profile.json").read_text())["images"] == 20
