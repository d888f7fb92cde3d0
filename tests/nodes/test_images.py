"""Layer Profile and Build Reference Stats over images, against transformers' Qwen3-VL."""

import json
import shutil

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import output, record, run, states
from .twins import IMAGE_PAD, LANGUAGE, VISION, VL_ROPE, Qwen3VLTwin

TEMPLATE = [151644, 872, 198, 151652], [151653, 151645, 198, 151644, 77091, 198]
"""Ids before and after the image tokens of Z-Image's prompt."""
IMAGES = 2
ERROR = 1e-4


def batch():
    """Images that need no resizing, as 8-bit values."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (IMAGES, 256, 256, 3), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module", autouse=True)
def float_positions(vl_clip):
    """The host interpolates image positions in the weights' bfloat16; transformers' in float32."""
    table = vl_clip.cond_stage_model.qwen3vl_4b.transformer.visual.pos_embed
    dtype = table.weight.dtype
    table.float()
    yield
    table.to(dtype)


@pytest.fixture(scope="module")
def truth(host):
    """hidden state -> each image's tokens alone, in float64, from transformers alone."""
    before, after = TEMPLATE
    ids = [*before, *[IMAGE_PAD] * 64, *after]
    with torch.inference_mode():
        twin = Qwen3VLTwin(
            host.base / "models/text_encoders/qwen3vl_4b_bf16.safetensors", load_sizes()
        )
        of_images = [twin.states(ids, [image]) for image in batch()]
    return [
        [state[0, 4:68].double().numpy() for state in of_layer]
        for of_layer in zip(*of_images, strict=True)
    ]


def test_layer_profile_equals_transformers_at_every_layer(vl_clip, pack, folders, truth):
    image, report = run(
        pack.LayerProfile, clip=vl_clip, prompts="", images=batch().float() / 255, threshold=1.2
    )
    [path] = (folders / "output").glob("*.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    assert (document["prompts"], document["images"], document["tokens"]) == (2, 2, 128)
    assert document["image_tokens"] == "image"
    for of_images, layer in zip(truth, document["layers"], strict=True):
        rows = np.concatenate(of_images)
        assert layer["std"] == pytest.approx(rows.std(ddof=1), rel=ERROR)
        assert layer["max_abs"] == pytest.approx(np.abs(rows).max(), rel=ERROR)
        assert layer["median_abs"] == pytest.approx(np.median(np.abs(rows)), rel=3e-3)
        for outlier in layer["outliers"]:
            std = rows[:, outlier["dimension"]].std(ddof=1)
            assert outlier["std"] == pytest.approx(std, rel=ERROR)
            assert 4 <= outlier["top_token"]["position"] < 68
            assert outlier["top_token"]["text"] == "<|image_pad|>"
    assert "2 images, 128 image tokens, 8 blocks, 2560 dimensions" in report
    assert " of 2 images; " in report and " of 2 prompts" not in report
    assert image.shape[0] == 1


def test_build_reference_equals_transformers(vl_clip, pack, truth):
    answer = output(*(pack.BuildReference,), clip=vl_clip, layer=-6, images=batch().float() / 255)
    [reference] = answer.args
    rows = np.concatenate(truth[-6])
    np.testing.assert_allclose(reference.std, rows.std(0, ddof=1), rtol=10 * ERROR)
    scale = ERROR * rows.std()
    np.testing.assert_allclose(reference.mean, rows.mean(0), rtol=ERROR, atol=scale)
    known = reference.provenance
    assert (known["images"], known["image_tokens"], known["tokens"]) == ("2", "image", "128")
    assert "prompts" not in known and known["note"] == "text after the images: none"
    assert "2 images, 128 image tokens, with and without" in answer.ui["text"][0]


def test_it_is_what_vl_image_token_encode_hands_over(vl_clip, pack, folders):
    """Image by image, resized within the same budget, the text after the image."""
    images = torch.rand(2, 200, 300, 3, generator=torch.Generator().manual_seed(2))
    inputs = {"clip": vl_clip, "prompts": "a fox\na bear", "layer": -6, "images": images}
    [reference] = run(pack.BuildReference, **inputs)
    rows = [
        states(
            run(pack.VLEncode, clip=vl_clip, image=images[i : i + 1], text=text, tokens="image")[0]
        )[0]
        for i, text in enumerate(["a fox", "a bear"])
    ]
    rows = torch.cat(rows).double().numpy()
    np.testing.assert_allclose(reference.std, rows.std(0, ddof=1), rtol=1e-6)
    assert reference.provenance["tokens"] == str(len(rows))
    assert reference.provenance["note"] == "text after the images: typed"


def test_one_text_stands_after_every_image(vl_clip, pack):
    from zimage_layer_lab.nodes.image_batch import encode_images

    images = torch.rand(2, 64, 64, 3)
    for texts, expected in (
        ([], ["", ""]),
        (["a fox"], ["a fox", "a fox"]),
        (["a", "b"], ["a", "b"]),
    ):
        found = [one.prompt for [one] in encode_images(vl_clip, images, texts, [0])]
        block = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        assert found == [f"{block}{t}<|im_end|>\n<|im_start|>assistant\n" for t in expected]


def test_images_are_encoded_one_at_a_time(vl_clip, pack):
    """Nothing of the second is made before the first is measured."""
    from zimage_layer_lab.nodes.image_batch import encode_images

    passes = []
    model = vl_clip.cond_stage_model.qwen3vl_4b.transformer.model
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    try:
        encoded = encode_images(vl_clip, torch.rand(3, 64, 64, 3), [], [0])
        for done in range(1, 4):
            [encoding] = next(encoded)
            assert len(passes) == done
            assert encoding.record.roles.count(Role.IMAGE) == 64
    finally:
        handle.remove()


def test_texts_that_do_not_fit_the_images_are_refused(vl_clip, pack):
    images = torch.rand(3, 64, 64, 3)
    for node in (pack.LayerProfile, pack.BuildReference):
        with pytest.raises(ValueError, match="there are 2 prompts and 3 images: give no prompt"):
            run(node, clip=vl_clip, prompts="a fox\na bear", images=images)
        with pytest.raises(ValueError, match=r"prompt 1 holds <\|image_pad\|>, which stands"):
            run(node, clip=vl_clip, prompts="a <|image_pad|>", images=images)


def test_a_text_encoder_without_vision_is_refused_as_by_vl_image_token_encode(clip, pack):
    for node in (pack.LayerProfile, pack.BuildReference):
        with pytest.raises(ValueError, match="has no vision tower and cannot read images"):
            run(node, clip=clip, prompts="", images=torch.rand(1, 64, 64, 3))


def test_no_prompt_is_needed_where_images_are_connected(pack):
    """Validation is given None for a connected input, and nothing for one that is not there."""
    validate = pack.LayerProfile.validate_inputs
    assert "empty" in validate(prompts="", threshold=10.0)
    assert validate(prompts="", threshold=10.0, images=None) is True
    assert "not in ComfyUI's input folder" in validate(prompts="gone.txt", images=None)


def test_the_record_of_an_image_goes_with_its_reference(vl_clip, pack):
    images = torch.rand(1, 64, 64, 3)
    [reference] = run(pack.BuildReference, clip=vl_clip, layer=-6, images=images)
    encoding, _ = run(pack.VLEncode, clip=vl_clip, image=images, tokens="image")
    assert reference.provenance["fingerprint"] == record(encoding).fingerprint
    assert reference.provenance["model"] == record(encoding).source


@pytest.fixture(scope="module")
def folder(host, comfyui, tmp_path_factory):
    """The host's file as a transformers folder: its names are transformers' own."""
    from transformers import Qwen3VLConfig

    sizes = load_sizes()
    text = {**LANGUAGE, **sizes["language"], "vocab_size": 151936, "rope_parameters": VL_ROPE}
    vision = {**VISION, **sizes["vision"]}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    folder = tmp_path_factory.mktemp("transformers") / "tiny-qwen3-vl"
    config.save_pretrained(folder)
    source = host.base / "models/text_encoders/qwen3vl_4b_bf16.safetensors"
    (folder / "model.safetensors").symlink_to(source)
    for file in (comfyui / "comfy/text_encoders/qwen25_tokenizer").iterdir():
        shutil.copy(file, folder)
    return folder


@pytest.mark.slow
def test_the_command_measures_the_same_of_the_same_files(vl_clip, pack, folder, folders):
    """Node and command, each by its own way from files of any size to figures."""
    from PIL import Image
    from zimage_layer_lab.cli import main
    from zimage_layer_lab.core.measure.reference import load_reference

    generator = torch.Generator().manual_seed(9)
    pixels = torch.randint(0, 256, (2, 300, 421, 3), generator=generator, dtype=torch.uint8)
    (folders / "images").mkdir()
    for number, image in enumerate(pixels.numpy()):
        Image.fromarray(image).save(folders / "images" / f"{number}.png")
    (folders / "texts.txt").write_text("a red fox\n")
    options = ("--images", folders / "images", "--prompts", folders / "texts.txt")
    out = folders / "out"
    arguments = ["profile", folder, *options, "--out", out, "--device", "cpu", "--layers=-2,-6"]
    assert main([str(argument) for argument in arguments]) == 0
    for layer in (-2, -6):
        inputs = {"clip": vl_clip, "layer": layer, "images": pixels.float() / 255}
        [ours] = run(pack.BuildReference, prompts="a red fox", **inputs)
        theirs = load_reference(out / f"reference_{layer}.safetensors")
        np.testing.assert_allclose(theirs.std, ours.std, rtol=10 * ERROR)
        scale = ERROR * ours.global_std
        np.testing.assert_allclose(theirs.mean, ours.mean, rtol=ERROR, atol=scale)
        for name in ("fingerprint", "layer", "images", "image_tokens", "tokens"):
            assert theirs.provenance[name] == ours.provenance[name], name
