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


def refusal(path):
    with pytest.raises(ConceptFileError) as refused:
        load_concept(path)
    return str(refused.value)


def foreign(path, metadata, **vectors):
    tensors = {key: torch.tensor(one) for key, one in {**VECTORS, **vectors}.items() if one}
    save_file(tensors, path, {**GOOD, **metadata})
    return refusal(path)


def test_refusals_are_whole_sentences(tmp_path):
    path = tmp_path / "odd.safetensors"
    again = "choose another file, or make and save the concept again"
    assert refusal(path) == f"{path}: there is no such file"
    assert foreign(path, {"format": "x"}) == (
        "odd.safetensors is not a concept of this pack (its format is 'x', not "
        f"'layer_lab_concept_v1'); {again}"
    )
    assert foreign(path, {"format": "layer_lab_concept_v10"}) == (
        "odd.safetensors is not a concept of this pack (its format is 'layer_lab_concept_v10', not "
        "'layer_lab_concept_v1'); update Z-Image Layer Lab"
    )
    save_file({"x": torch.ones(1)}, path)
    assert refusal(path).startswith("odd.safetensors is not a concept of this pack (its format is ")
    cannot = "odd.safetensors cannot be read as a concept: "
    for metadata, why in (
        ({"prompts": '[["a", "b"], ["c"]]'}, "its prompts are [['a', 'b'], ['c']], not pairs of "
         "texts"),
        ({"prompts": '[["a", 1]]'}, "its prompts are [['a', 1]], not pairs of texts"),
        ({"provenance": "[]"}, "its provenance is [], not texts by name"),
        ({"provenance": '{"a": 1}'}, "its provenance is {'a': 1}, not texts by name"),
        ({"taps": '{"layers": [1.0], "width": 2, "order": "layer-major", "blocks": 0}'},
         "its taps are {'blocks': 0, 'layers': [1.0], 'order': 'layer-major', 'width': 2}, not "
         "whole numbers"),
        ({"taps": '{"layers": [true], "width": 2, "order": "layer-major", "blocks": 0}'},
         "its taps are {'blocks': 0, 'layers': [True], 'order': 'layer-major', 'width': 2}, not "
         "whole numbers"),
        ({"taps": '{"layers": [1], "width": 3, "order": "layer-major", "blocks": 0}'},
         "direction has 2 dimensions, and its taps have 3"),
        ({"taps": '{"layers": [1], "width": 2, "order": "x", "blocks": 0}'},
         "the order is 'x': give layer-major or interleaved"),
    ):  # fmt: skip
        assert foreign(path, metadata) == f"{cannot}{why}; {again}"
    for key in ("prompts", "provenance"):
        given = {one: text for one, text in GOOD.items() if one != key}
        save_file({name: torch.ones(2) for name in VECTORS}, path, given)
        assert refusal(path) == f"{cannot}it lacks '{key}'; {again}"
    for half in ({"prompts": r'[["\ud800", "b"]]'}, {"provenance": r'{"\ud800": "b"}'}):
        assert "surrogates not allowed" in foreign(path, half)
    with pytest.raises(ConceptFileError) as refused:
        save_concept(concept(), tmp_path / "a.pt")
    assert str(refused.value) == "a.pt: a concept is saved as .safetensors"


def test_a_file_is_readable_to_people_and_its_ending_may_be_upper_case(tmp_path):
    path = tmp_path / "LACH.SAFETENSORS"
    save_concept(concept(prompts=(("L\u00e4cheln", "\u5b57"),)), path)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {
            "format": "layer_lab_concept_v1",
            "provenance": json.dumps(PROVENANCE),
            "prompts": '[["L\u00e4cheln", "\u5b57"]]',
        }
    plain = Concept(*(torch.ones(2),) * 3, provenance={"note": "\u00fc"})
    save_concept(plain, path)
    with safe_open(path, "pt") as file:
        assert file.metadata()["provenance"] == '{"note": "\u00fc"}'
    assert load_concept(str(path)).provenance["note"] == "\u00fc"


def test_refused_pairs_are_told_in_a_whole_sentence():
    def said(one, other):
        with pytest.raises(ValueError) as refused:
            pair_prompts(one, other)
        return str(refused.value)

    assert said("", "a") == "with_concept is empty: write one prompt a line"
    assert said("a\nb\nc", "d") == (
        "with_concept has 3 lines and without_concept 1: write one prompt a line, as many in both, "
        "line by line a pair"
    )
    assert said("a\nb\nc", "d\n\nf") == (
        "line 2 of without_concept is empty, and the other side says 'b': write its partner, or "
        "remove both lines"
    )
    assert said("\nc", "d\nf") == (
        "line 1 of with_concept is empty, and the other side says 'd': write its partner, or "
        "remove both lines"
    )
    assert said("a\n\nb", "a\n\nb") == (
        "the two sides of every pair are equal, so there is no concept between them: change the "
        "prompts of one side"
    )


def test_one_pair_that_differs_is_enough_and_lines_need_not_be_the_same_objects():
    assert pair_prompts("a\nb", "a\nc") == [("a", "a"), ("b", "c")]
    many = "\n".join(map(str, range(300)))
    assert len(pair_prompts(many, many.replace("7", "x"))) == 300
