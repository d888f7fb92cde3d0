"""Concept files: whole, plain to others, and refused where they are none; and what fits what."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.concept.concept_file import ConceptFileError, load_concept, save_concept
from zimage_layer_lab.core.concept.pairs import pair_prompts
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps

WIDTH = 6
PROVENANCE = {"model": "qwen_3_4b", "fingerprint": "ab12", "layer": "-2", "pairs": "1"}


def concept(dimensions=WIDTH, **more):
    vector = torch.arange(1.0, dimensions + 1, dtype=torch.float64)
    return Concept(vector / 8, -vector, vector, provenance=PROVENANCE, **more)


@pytest.mark.parametrize("taps", [None, Taps((9, None, 9), 2, INTERLEAVED, 36)])
def test_a_saved_concept_comes_back_and_is_a_plain_vector_to_others(tmp_path, taps):
    path = tmp_path / "smile.safetensors"
    saved = concept(taps=taps, prompts=(("ein L\u00e4cheln", "\u5b57"),))
    save_concept(saved, path)
    loaded = load_concept(path)
    for name in ("direction", "baseline", "spread"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
        assert torch.equal(load_file(path)[name].double(), getattr(saved, name))
    assert (loaded.taps, loaded.prompts) == (taps, saved.prompts)
    assert dict(loaded.provenance) == PROVENANCE
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["provenance"])["layer"] == "-2"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


GOOD = {"format": "layer_lab_concept_v1", "provenance": "{}", "prompts": "[]"}
VECTORS = dict.fromkeys(("direction", "baseline", "spread"), (1.0, 2.0))


@pytest.mark.parametrize(
    ("metadata", "vectors", "says"),
    [
        ({"format": "layer_lab_reference_v1"}, {}, "not a concept of this pack.*choose another"),
        ({"format": "layer_lab_concept_v2"}, {}, "concept_v2.*update"),
        ({"prompts": '[["a"]]'}, {}, "not pairs of texts"),
        ({"prompts": "7"}, {}, "cannot be read as a concept"),
        ({"provenance": '{"layer": -2}'}, {}, "not texts by name"),
        ({"taps": '{"layers": [1, "x"], "width": 1, "blocks": 0, "order": "x"}'}, {}, "whole numb"),
        ({"taps": "{}"}, {}, "it lacks 'layers'"),
        ({}, {"direction": (0.0, 0.0)}, "direction is all zeros"),
        ({}, {"direction": (1.0, float("nan"))}, "direction holds NaN"),
        ({}, {"baseline": (1.0,)}, "baseline has shape"),
        ({}, {"spread": (-1.0, 1.0)}, "negative"),
        ({}, {"spread": None}, "cannot be read as a concept"),
    ],
)
def test_what_is_no_concept_is_refused_by_name(tmp_path, metadata, vectors, says):
    path = tmp_path / "odd.safetensors"
    given = {key: value for key, value in {**VECTORS, **vectors}.items() if value}
    save_file({key: torch.tensor(one) for key, one in given.items()}, path, {**GOOD, **metadata})
    with pytest.raises(ConceptFileError, match=says) as caught:
        load_concept(path)
    assert "odd.safetensors" in str(caught.value)


def test_files_that_are_missing_cut_or_named_otherwise_are_refused(tmp_path):
    path = tmp_path / "smile.safetensors"
    with pytest.raises(ConceptFileError, match="no such file"):
        load_concept(path)
    save_concept(concept(), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConceptFileError, match="cannot be read as a concept"):
        load_concept(path)
    with pytest.raises(ConceptFileError, match="smile.txt: a concept is saved as .safetensors"):
        save_concept(concept(), tmp_path / "smile.txt")


def test_what_fits_and_what_is_said():
    """As references: another width is refused, another model or layer is said."""
    three = Taps((9, 18, 35), WIDTH, LAYER_MAJOR, 36)
    layers = [-28, -19, -2]
    one = concept()
    assert None not in one.parts_for(WIDTH, None, [None])
    moved = one.parts_for(3 * WIDTH, three, layers)
    assert [part is not None for part in moved] == [False, False, True]
    assert None not in one.parts_for(3 * WIDTH, three, [None, None, None])
    with pytest.raises(ValueError, match=r"has 6 dimensions and the conditioning 7.*make"):
        one.parts_for(7, None, [-2])
    stack = concept(3 * WIDTH, taps=three)
    assert len(stack.parts_for(3 * WIDTH, three, layers)) == 3
    with pytest.raises(ValueError, match="has 3 layers of 6 dimensions and the conditioning 6"):
        stack.parts_for(WIDTH, None, [-2])
    assert not one.remarks(None, [-2], "ab12", "qwen") and not one.remarks(None, [None], "", "x")
    [layer] = one.remarks(None, [-6], "ab12", "qwen")
    assert "of layer -2 and the states of layer -6" in layer
    [model] = one.remarks(None, [-2], "cd34", "another")
    assert "another model, qwen_3_4b (fingerprint ab12" in model
    other = Taps((1, 2, 3), WIDTH, LAYER_MAJOR, 36)
    [said] = stack.remarks(other, layers, "ab12", "qwen")
    assert "layers 9, 18, 35" in said and "layers 1, 2, 3" in said


def test_lines_are_paired_and_blank_in_both_is_no_pair():
    assert pair_prompts(" a \n\nb\n\n", "c\n\nd") == [("a", "c"), ("b", "d")]
    for one, other, says in (
        ("a\nb", "c", "2 lines and without_concept 1: write"),
        ("a\n\nb", "c\nd\ne", "line 2 of with_concept is empty.*says 'd'.*remove both"),
        ("a\nb", "a\nb", "the two sides of every pair are equal.*change"),
        ("", "a", "with_concept is empty: write"),
        ("a", " \n ", "without_concept is empty: write"),
        (7, "a", "with_concept is int, not text"),
    ):
        with pytest.raises(ValueError, match=says):
            pair_prompts(one, other)
