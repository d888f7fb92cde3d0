"""What Qwen3-VL's vision tower is given, and which models can take it."""

import re
import shutil

import pytest
import torch
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import load_decoder
from zimage_layer_lab.cli.model.prompt_tokenizer import PromptTokenizer
from zimage_layer_lab.cli.model.vision import patches, require_image_tokens, require_vision

from ...oracles import vision_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vision_model.write(tmp_path_factory.mktemp("vision") / "tiny-vl")


@pytest.fixture
def copy(folder, tmp_path):
    """A model that a test may damage."""
    return ModelFiles.find(shutil.copytree(folder, tmp_path / "model"))


@pytest.mark.parametrize("size", [(256, 256), (320, 288), (64, 1024)])
def test_patches_are_those_of_transformers(size):
    image = torch.randint(0, 256, (*size, 3), generator=torch.Generator().manual_seed(1))
    image = image.to(torch.uint8)
    want = vision_model.preprocess(image.numpy(), 1024)
    pixels, grid = patches(image)
    assert torch.equal(grid, want["image_grid_thw"])
    torch.testing.assert_close(pixels, want["pixel_values"], rtol=0, atol=1e-6)


def test_a_qwen3_vl_can_and_knows_its_image_token(folder):
    files = ModelFiles.find(folder)
    config = files.config()
    require_vision(files, config)
    assert require_image_tokens(files, files.tokenizer(), config) == vision_model.IMAGE


@pytest.mark.parametrize("layout", ["llama", "qwen3"])
def test_models_without_vision_are_refused(tiny_model, layout):
    files = ModelFiles.find(tiny_model(layout))
    says = f"cannot read images: it is a model of the type '{layout}'; give a Qwen3-VL folder"
    with pytest.raises(ModelError, match=says):
        require_vision(files, files.config())


@pytest.mark.parametrize("name", ["a.gguf", "qwen3vl_4b_bf16.safetensors"])
def test_a_single_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"GGUF" if name == "a.gguf" else b"")
    says = f"{name}: images cannot be read with a single file here; give a Qwen3-VL folder"
    with pytest.raises(ModelError, match=says):
        require_vision(ModelFiles.find(tmp_path / name), None)


def test_another_vision_tower_is_refused(folder):
    files = ModelFiles.find(folder)
    config = files.config()
    config.vision_config.patch_size = 14
    with pytest.raises(ModelError, match="patches of 14 pixels, merged 2 x 2, and Qwen3-VL's"):
        require_vision(files, config)


@pytest.mark.parametrize("mark", vision_model.MARKS)
def test_a_tokenizer_without_one_of_the_marks_is_refused(folder, mark):
    """Also where it makes one token of it all the same: the one for unknown words."""
    words = [word for word in vision_model.WORDS if word != mark]
    tokenizer = PromptTokenizer(vision_model.tokenizer(words))
    assert tokenizer.plain_ids(mark) == [words.index("<unk>")]
    files = ModelFiles.find(folder)
    with pytest.raises(ModelError, match=f"tokenizer does not know {re.escape(mark)}, which"):
        require_image_tokens(files, tokenizer, files.config())


def test_a_tokenizer_and_a_configuration_that_disagree_are_refused(folder):
    files = ModelFiles.find(folder)
    config = files.config()
    config.image_token_id = 3
    with pytest.raises(ModelError, match=r"<\|image_pad\|> is token 6 of its tokenizer and 3 in"):
        require_image_tokens(files, files.tokenizer(), config)


def test_a_tower_whose_weights_are_missing_is_not_made_up(copy):
    """transformers would fill it with random numbers, and the figures would be of those."""
    from safetensors.torch import load_file, save_file

    weights = load_file(copy.path / "model.safetensors")
    [lost] = [name for name in weights if name.endswith("visual.blocks.0.attn.qkv.weight")]
    del weights[lost]
    save_file(weights, copy.path / "model.safetensors", {"format": "pt"})
    assert load_decoder(copy, "cpu", "float32").blocks == vision_model.BLOCKS
    with pytest.raises(ModelError, match="lacks 1 weights of the vision tower, for example .*qkv"):
        load_decoder(copy, "cpu", "float32", vision=True)
