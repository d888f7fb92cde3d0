"""Planted dimensions: each gets its verdict, and loses it when the plant is taken out."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.cli.model.causal import with_head
from zimage_layer_lab.cli.model.language_model import LoadedDecoder
from zimage_layer_lab.core.dimension.loss import LossRun, Variant
from zimage_layer_lab.core.dimension.probe import PLAIN, LayerProbe, Measures
from zimage_layer_lab.core.dimension.prompt_tokens import arrange_prompts

WORDS, WIDTH = 24, 32
LABEL, CONSTANT, IDLE, NORM = 3, 11, 19, 27
PROBED = (LABEL, CONSTANT, IDLE, NORM)
EXPECTED = {LABEL: "signal", CONSTANT: "constant bias", IDLE: "unused"}


def planted(label=True, constant=True, idle=True):
    """A real Llama whose one block adds nothing, so that its states are its embeddings.

    Of two languages, words 4.. and 16.., a text is in one. A word's embedding carries which
    (LABEL), and the head raises the words of that language by it. CONSTANT has one value in every
    word, by which the head lowers the words 28.. that no text has. IDLE varies, and nothing reads
    it. NORM is large and constant, so that the final norm divides by much the same whatever becomes
    of the others. ``label``, ``constant``: whether the head reads them; ``idle``: whether it does
    not.
    """
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=WIDTH,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        block = model.model.layers[0]
        block.self_attn.o_proj.weight.zero_()
        block.mlp.down_proj.weight.zero_()
        words = model.model.embed_tokens.weight
        words.copy_(0.3 * torch.randn(words.shape, generator=generator))
        side = torch.where(torch.arange(64) < 16, 1.0, -1.0)
        words[:, LABEL], words[:, CONSTANT], words[:, NORM] = side, 0.5, 20.0
        words[:, IDLE] = torch.randn(64, generator=generator)
        head = model.lm_head.weight
        head.copy_(0.06 * torch.randn(head.shape, generator=generator))
        head[:, PROBED] = 0
        used = torch.arange(64) < 28
        if label:
            head[:, LABEL] = torch.where(used, 11 * side, torch.zeros(64))
        if constant:
            head[:, CONSTANT] = torch.where(used, 40.0, -40.0)
        if not idle:
            head[:, IDLE] = 4 * torch.randn(64, generator=generator)
    return model


def texts():
    """Token ids of 16 texts, half of them in either language, after one first token."""
    random = np.random.default_rng(0)
    low = [4 if number % 2 else 16 for number in range(16)]
    return [[1, *random.integers(first, first + 12, 10).tolist()] for first in low]


def verdicts(model):
    """The verdict on each probed dimension at the input of the block."""
    causal = with_head(LoadedDecoder("planted", model, model.model))
    tokens = arrange_prompts(texts(), [], lambda number: f" w{number}", {1}.__contains__)
    states = torch.cat(causal.states(tokens.prompts, [0])[0])
    probe = LayerProbe(tokens, 0, 1, states, Measures(16, 8, 8))
    predicted = [tokens.predicted(number) for number in range(16)]
    own = [states[tokens.rows(number)] for number in range(16)]
    run = LossRun(causal, 0, tokens.prompts, predicted, own)
    losses = {PLAIN: run.losses([Variant(0, None)], range(16))[0]}
    for task in probe.tasks(PROBED):
        [losses[task.name]] = run.losses([probe.variant(task)], range(task.prompts))
    return {
        dimension: probe.result(
            dimension, PROBED, losses, causal.column(dimension), lambda number: f" w{number}"
        ).verdict.name
        for dimension in EXPECTED
    }


def test_each_plant_gets_its_verdict():
    assert verdicts(planted()) == EXPECTED


@pytest.mark.parametrize(
    ("taken_out", "dimension"), [("label", LABEL), ("constant", CONSTANT), ("idle", IDLE)]
)
def test_without_its_plant_a_dimension_loses_its_verdict(taken_out, dimension):
    found = verdicts(planted(**{taken_out: False}))
    assert found.pop(dimension) != EXPECTED[dimension]
    assert found == {other: EXPECTED[other] for other in found}
