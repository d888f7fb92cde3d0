"""Images as prompts: counted from the files alone, each read again when its turn comes."""

import pytest
import torch
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.profile.batches import TokenLimits, plan_batches
from zimage_layer_lab.cli.profile.image_folder import ImageFolderError
from zimage_layer_lab.cli.profile.image_prompts import (
    ImageOptionError,
    ImagePrompts,
    ImageSource,
    ImageTokenizer,
)
from zimage_layer_lab.cli.profile.prompt_file import PromptFileError

from ...oracles import vision_model
from .conftest import picture


@pytest.fixture
def how(tiny_vision_model):
    tokenizer = ModelFiles.find(tiny_vision_model).tokenizer()
    return ImageTokenizer(tokenizer, vision_model.IMAGE, TokenLimits(512, 62))


@pytest.fixture
def folder(tmp_path):
    """Three images: 64, 80 and 64 tokens."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    for seed, (name, size) in enumerate({"a": (256, 256), "b": (320, 256), "c": (9, 9)}.items()):
        Image.fromarray(picture(*size, seed)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images"


@pytest.fixture
def count(folder, how, tmp_path):
    """A function: texts, limits -> counted images."""

    def run(texts=None, chosen=None, budget=None, how=how):
        path = None
        if texts is not None:
            path = tmp_path / "texts.txt"
            path.write_text("\n".join(texts))
        return ImagePrompts.count(ImageSource.find(folder, path, chosen, budget), how)

    return run


def test_tokens_and_lengths_are_those_of_the_prompts(count):
    prompts = count()
    assert list(prompts.image_tokens) == [64, 80, 64]
    assert list(prompts.lengths) == [71, 87, 71]
    assert (len(prompts), prompts.tokens) == (3, 208)
    assert count(chosen="all").tokens == 229
    assert [prompts.ids(n) for n in range(3)] == [vision_model.prompt_ids(n) for n in (64, 80, 64)]
    assert count(["w1 w2"]).ids(1) == vision_model.prompt_ids(80, ["w1", "w2"])
    assert count(["w1", "w2", "w3"]).ids(2) == vision_model.prompt_ids(64, ["w3"])


def test_a_batch_is_one_image_within_the_budget_and_what_is_measured_of_it(count):
    prompts = count(budget=66)
    batch = prompts.batch([1])
    assert batch.number == 1 and batch.ids == vision_model.prompt_ids(63)
    assert tuple(batch.image.shape) == (9 * 32, 7 * 32, 3) and batch.image.dtype == torch.uint8
    assert batch.selected.sum() == 63 and batch.selected[0, 3:66].all()
    assert count(chosen="all").batch([0]).selected.all()


def test_every_image_has_a_pass_of_its_own_and_the_largest_comes_first(count):
    prompts = count()
    plan = plan_batches(prompts.lengths, prompts.tokens_per_pass(2048))
    assert [plan.numbers(shard) for shard in range(plan.shards)] == [[[1]], [[0]], [[2]]]


def test_what_decides_the_numbers(count, folder):
    """Names, contents, texts, tokens and budget: nothing of the folder's own name or times."""
    before = count().decisive()
    assert before == count().decisive()
    assert before["images"] != count(["w1"]).decisive()["images"]
    assert before != count(chosen="all").decisive() and before != count(budget=99).decisive()
    moved = folder.rename(folder.parent / "elsewhere")
    (folder.parent / "elsewhere" / "a.png").touch()
    moved.rename(folder)
    assert before == count().decisive()
    (folder / "a.png").rename(folder / "aa.png")
    assert before != count().decisive()
    (folder / "aa.png").rename(folder / "a.png")
    data = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes())
    (folder / "b.png").write_bytes(data)
    assert before != count().decisive()


def test_an_image_that_changes_meanwhile_is_noticed(count, folder):
    prompts = count()
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes())
    with pytest.raises(ImageFolderError, match="a.png was changed while"):
        prompts.batch([0])
    (folder / "c.png").unlink()
    with pytest.raises(ImageFolderError, match="c.png is no file"):
        prompts.batch([2])


def test_texts_that_change_meanwhile_are_noticed(count, tmp_path):
    prompts = count(["w1", "w2", "w3"])
    (tmp_path / "texts.txt").write_text("w1\nw2\nw3 w4 w5\n")
    with pytest.raises(PromptFileError, match="texts.txt was changed"):
        prompts.ids(2)


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"])
def test_a_text_with_an_images_tokens_is_named_by_line(count, token):
    with pytest.raises(PromptFileError, match=r"texts.txt, line 2: the prompt holds <\|.*remove"):
        count(["w1", f"w2 {token}", "w3"])


def test_texts_that_are_neither_one_nor_one_each_are_refused(count):
    with pytest.raises(ImageOptionError, match="holds 2 prompts and --images .* 3 images: give"):
        count(["w1", "w2"])


@pytest.mark.parametrize("budget", [3, -1, 12545])
def test_bad_budgets_are_refused(count, budget):
    with pytest.raises(ImageOptionError, match=f"--max-image-tokens is {budget}: .*4 and 12544"):
        count(budget=budget)


def test_an_image_that_the_model_cannot_take_is_named(count, how):
    short = ImageTokenizer(how.tokenizer, how.image_token, TokenLimits(80, None))
    with pytest.raises(
        ImageFolderError, match="b.png: the image and its prompt have 87 tokens and"
    ):
        count(how=short)
    assert count(how=short, budget=70).tokens == 64 + 63 + 64
    other = ImageTokenizer(how.tokenizer, how.image_token, TokenLimits(None, 8))
    with pytest.raises(ImageFolderError, match="a.png: the tokenizer gives token 8 and the model"):
        count(how=other)


def test_a_strip_is_refused_by_name(count, folder):
    from PIL import Image

    Image.new("RGB", (801, 4)).save(folder / "strip.png")
    with pytest.raises(ImageFolderError, match="strip.png: the image is 801x4 pixels.*crop it"):
        count()
