"""``layerlab profile --images`` against transformers and NumPy in float64, all states kept."""

import json

import numpy as np
import pytest
from zimage_layer_lab.core.measure.reference import load_reference

from ...oracles import vision_model

BUDGET = 80
IMAGE_TOKENS = [70, 70, 80, 70]


@pytest.fixture(scope="module")
def truth(tiny_vision_model, pictures):
    """Every hidden state of every picture without text, and its ids."""
    return vision_model.naive_states(tiny_vision_model, pictures[1], BUDGET)


@pytest.fixture
def profiled(tiny_vision_model, pictures, tmp_path, layerlab):
    """A function: further options -> (folder written, what was said)."""

    def run(*more):
        status, out, err = layerlab(
            *("profile", tiny_vision_model, "--images", pictures[0], "--out", tmp_path / "out"),
            *("--max-image-tokens", BUDGET, *more),
        )
        assert (status, err) == (0, "")
        return tmp_path / "out", out

    return run


def chosen_rows(states, ids, tokens):
    """The rows of each prompt that are measured."""
    keep = [of == vision_model.IMAGE if tokens == "image" else of >= 0 for of in ids]
    return [[x[rows] for x, rows in zip(layer, keep, strict=True)] for layer in states]


@pytest.mark.parametrize("tokens", ["image", "all"])
def test_every_figure_equals_the_naive_computation(profiled, truth, naive_sinks, tokens):
    """DeepStack's features, which go in after the first three blocks, included."""
    states, ids = truth
    out, _ = profiled(*([] if tokens == "image" else ["--tokens", "all"]))
    profile = json.loads((out / "profile.json").read_text(encoding="utf-8"))
    chosen = chosen_rows(states, ids, tokens)
    assert [len(of) for of in ids] == [count + 7 for count in IMAGE_TOKENS]
    assert (profile["prompts"], profile["images"]) == (4, 4)
    assert profile["image_tokens"] == tokens
    assert profile["tokens"] == sum(len(x) for x in chosen[0])
    assert len(profile["layers"]) == len(chosen) == vision_model.BLOCKS + 1
    for of_images, layer in zip(chosen, profile["layers"], strict=True):
        rows = np.concatenate(of_images)
        bare = np.concatenate([np.delete(x, naive_sinks(x), axis=0) for x in of_images])
        assert layer["max_abs"] == pytest.approx(np.abs(rows).max(), rel=1e-5)
        assert layer["median_abs"] == pytest.approx(np.median(np.abs(rows)), rel=2e-3)
        assert layer["std"] == pytest.approx(rows.std(ddof=1), rel=1e-5)
        assert layer["std_without_sinks"] == pytest.approx(bare.std(ddof=1), rel=1e-5)
        reference = load_reference(out / f"reference_{layer['layer']}.safetensors")
        np.testing.assert_allclose(reference.std, rows.std(0, ddof=1), rtol=1e-5)
        scale = rows.std() * 1e-5
        np.testing.assert_allclose(reference.mean, rows.mean(0), rtol=1e-5, atol=scale)
        np.testing.assert_allclose(reference.std_without_sinks, bare.std(0, ddof=1), rtol=1e-5)
        for outlier in layer["outliers"]:
            place = outlier["top_token"]
            square = (rows[:, outlier["dimension"]] - rows[:, outlier["dimension"]].mean()) ** 2
            x = states[layer["index"]][place["prompt"]][place["position"], outlier["dimension"]]
            assert (x - rows[:, outlier["dimension"]].mean()) ** 2 == pytest.approx(square.max())


def test_image_tokens_alone_know_nothing_of_the_sink_before_them(profiled, truth):
    """The loud token of this model is <|im_start|>: a sink where all tokens are measured."""
    out, _ = profiled("--tokens", "all", "--layers=0")
    assert json.loads((out / "profile.json").read_text())["sink_positions"][0][0] == 0
    out, _ = profiled("--layers=0")
    assert json.loads((out / "profile.json").read_text())["sink_positions"] == [[], [], [], []]


@pytest.mark.parametrize("texts", [["w1 w2 w3"], ["w1", "w2 w3", "w4", "w5 w6 w7 w8"]])
def test_text_beside_the_images(profiled, tiny_vision_model, pictures, tmp_path, texts):
    """One for all or one for each, after the image: image tokens do not see it, all others do."""
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts) + "\n")
    beside = texts * (4 // len(texts))
    states, ids = vision_model.naive_states(tiny_vision_model, pictures[1], BUDGET, beside)
    out, said = profiled("--prompts", path, "--tokens", "all", "--layers=-2")
    rows = np.concatenate(states[-2])
    reference = load_reference(out / "reference_-2.safetensors")
    np.testing.assert_allclose(reference.std, rows.std(0, ddof=1), rtol=1e-5)
    assert reference.provenance["tokens"] == str(len(rows)) == str(sum(map(len, ids)))
    assert reference.provenance["prompt_file"] == str(path)
    assert ("one text for all" if len(texts) == 1 else "each with its text") in said


def test_what_it_measures_is_said_and_kept(profiled, pictures):
    out, said = profiled("--layers=-2,-3")
    count = sum(IMAGE_TOKENS)
    assert "Looking through them" in said and "4/4 images" in said
    assert f"4 images, {count} image tokens in Qwen3-VL's prompt, without text; at most 80" in said
    known = load_reference(out / "reference_-2.safetensors").provenance
    assert (known["images"], known["image_tokens"], known["tokens"]) == ("4", "image", str(count))
    assert (known["max_image_tokens"], known["prompt_file"]) == ("80", "none")
    assert known["image_folder"] == str(pictures[0]) and "prompts" not in known
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"6 blocks, width 32; 4 images, {count} image tokens" in page
    assert '"unit": "image"' in page and "(prompt " not in page


def test_the_words_name_images(profiled):
    """<|im_start|> stands at 0 and behind the image, so at another place for each size."""
    out, said = profiled("--tokens", "all", "--layers=-7")
    assert [i for i, word in enumerate(vision_model.prompt_ids(70)) if word == 2] == [0, 75]
    sentence = "position 0 is a sink token in 4 of 4 images, and 4 tokens elsewhere."
    assert f"At hidden state 0 {sentence}" in said
    assert "of its variance over 4 images" in said and "token '<|im_start|>' 9" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert sentence in page and "prompt 1" not in page
