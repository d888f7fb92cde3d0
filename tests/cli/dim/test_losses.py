"""Losses, plain and with a dimension replaced, against transformers' own pass in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli.model.causal import load_causal, with_head
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.core.dimension.loss import LossRun, Variant
from zimage_layer_lab.core.dimension.probe import LayerProbe, Measures, Task
from zimage_layer_lab.core.dimension.prompt_tokens import arrange_prompts
from zimage_layer_lab.core.dimension.ways import PLACES, WAYS
from zimage_layer_lab.core.shipped import DEMO_PROMPTS

from ...oracles import naive_losses
from ..conftest import word_prompt


def compare(model, tokens, index, dimension, places=PLACES):
    """Every ablation of one dimension, all prompts in one pass, against the naive way."""
    states = torch.cat(model.states(tokens.prompts, [index])[index])
    probe = LayerProbe(tokens, index, model.blocks, states, Measures(len(tokens), 0, 1))
    predicted = [tokens.predicted(number) for number in range(len(tokens))]
    own = [states[tokens.rows(number)] for number in range(len(tokens))]
    run = LossRun(model, index, tokens.prompts, predicted, own, batch_tokens=4096)
    tasks = [Task(dimension, way, place, len(tokens)) for way in WAYS for place in places]
    variants = [Variant(0, None), *map(probe.variant, tasks)]
    found = run.losses(variants, range(len(tokens)))
    naive = [naive_losses.losses(model.loaded.model, tokens.prompts, predicted)]
    for variant in variants[1:]:
        naive.append(
            naive_losses.losses(
                model.loaded.model, tokens.prompts, predicted, index, dimension, variant.values
            )
        )
    return np.array(found), np.array(naive)


@pytest.mark.parametrize("layout", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"])
def test_losses_are_those_of_transformers_at_every_hidden_state(layout, tiny_model):
    """From the embeddings to the normed last state; prompts of several lengths share a pass."""
    files = ModelFiles.find(tiny_model(layout))
    model, tokenizer = load_causal(files, "cpu", "float32"), files.tokenizer()
    model.loaded.model.double()
    prompts = [tokenizer.ids(word_prompt(number, 3 + 4 * number)) for number in range(4)]
    tokens = arrange_prompts(prompts, [], tokenizer.text, {0, 1, 2}.__contains__)
    assert (tokens.start, tokens.end) == (2, 2)  # "<s> user" and "</s> assistant"
    for index in range(model.blocks + 1):
        found, naive = compare(model, tokens, index, 7, places=["all"])
        assert np.abs(found - naive).max() < 1e-6
        assert np.abs(naive[1:] - naive[0]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "index", "dimension"), [("smollm2", 25, 507), ("gemma3", 13, 163)]
)
def test_losses_of_the_real_models(name, index, dimension, request):
    """And what zeroing the two known dimensions costs is what was measured by hand."""
    model = request.getfixturevalue(name)
    prompts = DEMO_PROMPTS.read_text(encoding="utf-8").split("\n")[:3]
    ids = [model.chat_ids(prompt) for prompt in prompts]
    special = set(model.tokenizer.all_special_ids)
    probes = [model.chat_ids(text) for text in ("a", "7")]
    tokens = arrange_prompts(ids, probes, model.token_text, special.__contains__)
    model.model.double()
    try:
        found, naive = compare(with_head(model), tokens, index, dimension)
    finally:
        model.model.float()
    assert np.abs(found - naive).max() < 1e-6
    costs = dict(zip([(way, place) for way in WAYS for place in PLACES], naive[1:], strict=True))
    costs = {key: (losses - naive[0]).mean() for key, losses in costs.items()}
    assert costs["zero", "sinks"] > 1.0 > 0.2 > costs["mean", "others"]
    assert costs["mean", "sinks"] == costs["shuffle", "sinks"] == 0.0
