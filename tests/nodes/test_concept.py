"""Concept Direction, Apply, Save and Load Concept in a real ComfyUI, against NumPy float64."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from .stock import RECORD, output, record, run, states, text_encode, with_states

WITH = "a smiling woman in the street\na photo of a smiling sailor"
WITHOUT = "a woman in the street\na photo of a sailor"


@pytest.fixture(scope="module")
def smile(clip, pack):
    with torch.inference_mode():
        return run(pack.ConceptDirection, clip=clip, with_concept=WITH, without_concept=WITHOUT)


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a red fox in deep snow")[0]


def normed(rows):
    return rows / np.sqrt((rows**2).mean(-1, keepdims=True))


def content(pack, clip, line, layer=-2):
    """The text tokens of a prompt, from Qwen3 Encode; the tiny encoder has no sink among them."""
    given = run(pack.Qwen3Encode, clip=clip, text=line, layer=layer)[0]
    kept = [number for number, role in enumerate(record(given).roles) if role == "text"]
    return states(given)[0, kept].double().numpy()


def image_mean(pack, vl_clip, image):
    given = {"image": image[None], "tokens": "image", "layer": -6}
    hidden = states(run(pack.VLEncode, clip=vl_clip, **given)[0])
    return normed(hidden[0].double().numpy()).mean(0)


def test_a_direction_is_that_of_the_prompts_content_tokens(pack, clip, smile):
    concept, report = smile
    means = [
        [normed(content(pack, clip, line)).mean(0) for line in text.split("\n")]
        for text in (WITH, WITHOUT)
    ]
    difference = np.mean(means[0], 0) - np.mean(means[1], 0)
    direction = concept.direction.numpy()
    limited = ~np.isclose(direction, difference, atol=1e-9)
    assert limited.sum() < 0.05 * len(direction), "only loud dimensions are limited"
    assert (np.abs(direction[limited]) < np.abs(difference[limited])).all()
    known = concept.provenance
    assert (known["layer"], known["pairs"], known["tokens"]) == ("-2", "2", "text")
    assert known["fingerprint"] and "qwen_3_4b" in known["model"]
    assert concept.prompts[1] == ("a photo of a smiling sailor", "a photo of a sailor")
    assert "2 pairs" in report and "after/before" in report and "consistency" in report


def test_text_moves_by_the_strength_and_the_template_stays(pack, smile, fox):
    concept, _ = smile
    moved, report = run(pack.ApplyConcept, conditioning=fox, concept=concept, strength=2.0)
    text = np.array([role == "text" for role in record(fox).roles])
    before, after = (normed(states(one)[0].double().numpy()) for one in (fox, moved))
    share = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    size = np.sqrt((concept.direction.numpy() ** 2).mean())
    np.testing.assert_allclose(share[text], 2 * size, rtol=1e-3)
    assert (share[~text] == 0).all() and 0 < text.sum() < len(text)
    assert record(moved).edits[-1].startswith("concept: add at strength 2, tokens auto")
    assert f"{int(text.sum())} of {len(text)} tokens" in report
    everything = run(pack.ApplyConcept, conditioning=fox, concept=concept, tokens="all")[0]
    assert not torch.equal(states(everything)[:, ~text], states(fox)[:, ~text])


def test_strength_0_is_the_input_bit_for_bit(pack, smile, fox):
    for mode in ("add", "amplify", "remove"):
        given = {"conditioning": fox, "concept": smile[0], "mode": mode, "strength": 0.0}
        moved, report = run(pack.ApplyConcept, **given)
        assert torch.equal(states(moved), states(fox)) and "sees no change" in report
        assert record(moved).edits == record(fox).edits


def test_remove_takes_out_what_add_brought(pack, smile, fox):
    concept, _ = smile
    direction = concept.direction.numpy()
    unit = direction / np.linalg.norm(direction)
    added = run(pack.ApplyConcept, conditioning=fox, concept=concept, strength=3.0)[0]
    gone = run(pack.ApplyConcept, conditioning=added, concept=concept, mode="remove")[0]
    text = [number for number, role in enumerate(record(fox).roles) if role == "text"]
    rows = normed(states(gone)[0, text].double().numpy()) - concept.baseline.numpy()
    assert np.abs(rows @ unit / np.linalg.norm(direction)).max() < 1e-5
    assert len(record(gone).edits) == len(record(fox).edits) + 2


def test_stock_conditionings_and_regions_move_like_ours(pack, clip, host, smile, fox):
    """A stock conditioning has no record: all of its tokens are text."""
    concept, _ = smile
    stock = text_encode(clip, "a red fox in deep snow")
    moved = run(pack.ApplyConcept, conditioning=stock, concept=concept)[0]
    ours = run(pack.ApplyConcept, conditioning=fox, concept=concept, tokens="all")[0]
    assert torch.equal(states(moved), states(ours))
    area = host.nodes.ConditioningSetArea().append(fox, 64, 64, 0, 0, 0.7)[0]
    regions = host.nodes.ConditioningCombine().combine(area, stock)[0]
    both, report = run(pack.ApplyConcept, conditioning=regions, concept=concept)
    alone = run(pack.ApplyConcept, conditioning=fox, concept=concept)[0]
    assert torch.equal(both[0][0], states(alone)) and both[0][1]["area"] == area[0][1]["area"]
    assert torch.equal(both[1][0], states(moved)) and report.count("add at strength 1:") == 2
    averaged = host.nodes.ConditioningAverage().addWeighted(fox, moved, 0.5)[0]
    assert run(pack.ApplyConcept, conditioning=averaged, concept=concept)[0][0][0].isfinite().all()


def test_a_saved_concept_is_loaded_whole(pack, smile, fox, folders):
    concept, _ = smile
    written = output(pack.SaveConcept, concept=concept, filename_prefix="lab/smile").ui["files"]
    name = "lab/smile_00001_.safetensors [output]"
    assert pack.LoadConcept.define_schema().inputs[0].options == [name]
    assert pack.LoadConcept.validate_inputs(name=name) is True
    [loaded] = run(pack.LoadConcept, name=name)
    assert (loaded.prompts, dict(loaded.provenance)) == (concept.prompts, dict(concept.provenance))
    path = folders / "output" / written[0]["subfolder"] / written[0]["filename"]
    assert torch.equal(load_file(path)["direction"], concept.direction.float())
    before, after = (
        run(pack.ApplyConcept, conditioning=fox, concept=one)[0] for one in (concept, loaded)
    )
    torch.testing.assert_close(states(before), states(after), rtol=1e-5, atol=1e-5)


def test_without_a_file_the_list_says_what_to_do(pack, folders):
    [name] = pack.LoadConcept.define_schema().inputs[0].options
    assert "run Save Concept" in pack.LoadConcept.validate_inputs(name=name)


def test_another_layer_is_accepted_and_said_and_another_width_refused(pack, clip, smile, fox):
    deep = run(pack.Qwen3Encode, clip=clip, text="a fox", layer=-6)[0]
    moved, report = run(pack.ApplyConcept, conditioning=deep, concept=smile[0])
    said = "the concept is of layer -2 and the states of layer -6"
    assert said in report and said in record(moved).edits[-1]
    narrow = [[states(fox)[..., :64], {}]]
    with pytest.raises(ValueError, match="2560 dimensions and the conditioning 64"):
        run(pack.ApplyConcept, conditioning=narrow, concept=smile[0])
    hidden = states(fox).clone()
    hidden[0, 5] *= 1000
    sunk = with_states(fox, hidden)
    moved, report = run(pack.ApplyConcept, conditioning=sunk, concept=smile[0])
    assert "sinks kept: 5" in report and torch.equal(states(moved)[0, 5], hidden[0, 5])


@pytest.mark.parametrize("kind", ["klein 4b", "krea2"])
def test_layers_side_by_side_each_have_a_direction(pack, tapped_clips, kind):
    """Against the same, tap by tap, from stock nodes' states; the record knows the layers."""
    clip = tapped_clips(kind)
    given = {"clip": clip, "with_concept": WITH, "without_concept": WITHOUT}
    concept, report = run(pack.ConceptDirection, **given)
    fox = run(pack.TapEncode, clip=clip, text="a red fox")[0]
    taps = record(fox).taps
    assert concept.taps == taps and f"layer {taps.layers[0]} " in report
    moved, report = run(pack.ApplyConcept, conditioning=fox, concept=concept)
    text = [number for number, role in enumerate(record(fox).roles) if role == "text"]
    pairs = zip(taps.split(states(fox)), taps.split(states(moved)), concept.parts, strict=True)
    for before, after, part in pairs:
        before, after = (normed(one[0].double().numpy()) for one in (before, after))
        share = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
        np.testing.assert_allclose(share[text], part.size, rtol=1e-3)
        assert (np.delete(share, text) == 0).all()
    single, _ = run(pack.ConceptDirection, **given, layer=-2, taps="single layer")
    assert single.taps is None and single.provenance["layer"] == "-2"
    with pytest.raises(ValueError, match="make the concept with the text encoder"):
        plain = run(pack.Qwen3Encode, clip=clip, text="a fox")[0]
        run(pack.ApplyConcept, conditioning=plain, concept=concept)


def test_a_single_layer_is_the_same_behind_every_type_of_loader(pack, tapped_clips):
    given = {"with_concept": WITH, "without_concept": WITHOUT, "layer": -6, "taps": "single layer"}
    one, other = (
        run(pack.ConceptDirection, clip=tapped_clips(kind), **given)[0]
        for kind in ("klein 4b", "z_image")
    )
    assert torch.equal(one.direction, other.direction)


def test_images_have_a_direction_of_their_image_tokens(pack, vl_clip):
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    given = {"with_concept": "", "without_concept": "", "layer": -6, "without_image": image}
    brighter = image * 0.5 + 0.5
    concept, report = run(pack.ConceptDirection, clip=vl_clip, **given, with_image=brighter)
    assert concept.provenance["tokens"] == "image" and "1 pair, " in report
    difference = image_mean(pack, vl_clip, brighter[0]) - image_mean(pack, vl_clip, image[0])
    cosine = concept.direction.numpy() @ difference
    cosine /= np.linalg.norm(difference) * np.linalg.norm(concept.direction.numpy())
    assert cosine > 0.99
    picture = run(pack.VLEncode, clip=vl_clip, image=image, text="a fox", layer=-6)[0]
    moved = run(pack.ApplyConcept, conditioning=picture, concept=concept, tokens="image")[0]
    changed = (states(moved) != states(picture)).any(-1)[0]
    assert changed.tolist() == [role == "image" for role in record(picture).roles]
    with pytest.raises(ValueError, match="with_image has 2 images and without_image 1: give"):
        run(pack.ConceptDirection, clip=vl_clip, **given, with_image=image.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="connect both with_image and without_image, or neither"):
        run(pack.ConceptDirection, clip=vl_clip, **given)


def test_bad_pairs_are_refused_before_the_graph_runs(pack):
    check = pack.ConceptDirection.validate_inputs
    assert "2 lines and without_concept 1" in check(with_concept="a\nb", without_concept="c")
    assert "every pair are equal" in check(with_concept="a", without_concept="a")
    assert check(with_concept="", without_concept="", with_image=None) is True
    assert check(with_concept=None, without_concept="a") is True


def test_a_prompt_without_content_is_refused_by_its_number(pack, clip):
    with pytest.raises(ValueError, match="prompt 1 of with_concept: it has no content token"):
        run(pack.ConceptDirection, clip=clip, with_concept="<|im_end|>", without_concept="a")


def test_the_record_travels_on(pack, smile, fox):
    moved = run(pack.ApplyConcept, conditioning=fox, concept=smile[0])[0]
    assert moved[0][1][RECORD].ids == record(fox).ids
    assert "concept: add at strength 1" in run(pack.Describe, conditioning=moved)[0]
