"""``layerlab concept`` against transformers and NumPy, and on real models."""

import json

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.concept.concept_file import load_concept
from zimage_layer_lab.core.concept.direction import find_direction, measure_side

from ..encode.conftest import hidden_states_of, tiny_qwen3  # noqa: F401  (fixtures)

PAIRS = {
    "smile": [["a smiling fox", "a fox"], ["one smiling owl", "one owl"]],
    "rain": [["snow in the rain", "snow"]],
}


def normed(rows):
    return rows / np.sqrt((rows**2).mean(-1, keepdims=True))


def test_every_concept_of_the_file_is_written_as_its_definition(
    layerlab, tiny_qwen3, hidden_states_of, tmp_path  # noqa: F811
):  # fmt: skip
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(PAIRS), encoding="utf-8")
    out = tmp_path / "library"
    status, said, _ = layerlab("concept", path, "--model", tiny_qwen3, "--layer=-3", "--out", out)
    assert status == 0 and "Wrote 2 concepts" in said
    assert sorted(one.name for one in out.iterdir()) == ["rain.safetensors", "smile.safetensors"]
    for name, pairs in PAIRS.items():
        concept = load_concept(out / f"{name}.safetensors")
        # A token is a byte, and <|im_start|> is one.
        sides = [[means(hidden_states_of(one)[-3], one) for one in pair] for pair in pairs]
        difference = np.mean([one - other for one, other in sides], 0)
        direction = concept.direction.numpy()
        same = np.isclose(direction, difference, atol=2e-4)
        assert same.sum() >= len(same) - 2 and not same[7], "dimension 7 is loud, and limited"
        np.testing.assert_allclose(
            concept.baseline.numpy(), np.mean([other for _, other in sides], 0), atol=2e-4
        )
        assert concept.prompts == tuple(map(tuple, pairs))
        known = concept.provenance
        assert (known["layer"], known["pairs"], known["tokens"]) == ("-3", str(len(pairs)), "text")
        assert known["fingerprint"] and known["command"].startswith("layerlab concept")


def means(states, prompt):
    """The mean of the prompt's own bytes after RMSNorm."""
    first = 1 + len("user\n")
    return normed(states[first : first + len(prompt)]).mean(0)


SUBJECTS = ["woman", "man", "child", "sailor"]
SCENES = ["a portrait of a {}, soft light", "a photo of a {} in the street"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2", "gemma3"])
def test_pairs_of_other_words_have_nearly_the_same_direction_in_a_real_model(request, name):
    """And another concept's is another: held-out pairs tell them apart."""
    model = request.getfixturevalue(name)
    index = model.blocks - 1

    def side(prompt):
        # Without a template all but the first token is content in both models.
        ids = model.tokenizer(prompt)["input_ids"]
        hidden = model.hidden_states(ids, [index])[index]
        content = torch.ones(len(ids), dtype=torch.bool)
        content[0] = False
        return measure_side(hidden, content, torch.ones(len(ids), dtype=torch.bool), None)

    def direction(word, subjects, scene):
        pairs = [(scene.format(f"{word} {one}"), scene.format(one)) for one in subjects]
        found = find_direction([(side(a), side(b)) for a, b in pairs])
        return found, found.concept.direction

    found, smile = direction("smiling", SUBJECTS[:2], SCENES[0])
    _, other = direction("smiling", SUBJECTS[2:], SCENES[1])
    _, old = direction("old", SUBJECTS[2:], SCENES[1])
    held_out, across = (float(torch.cosine_similarity(smile, one, 0)) for one in (other, old))
    assert held_out > 0.5 and held_out > across + 0.2, (held_out, across)
    assert float(found.cosines.min()) > 0.5
