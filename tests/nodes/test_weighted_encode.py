"""Weighted Encode against Qwen3 Encode, transformers' Qwen3 and the formula in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import output, record, run, states
from .twins import Qwen3Twin

PLAIN = "a red fox in fog (old)"
WEIGHTED = r"a (red:1.4) fox in [fog] \(old\)"
RED, FOG = 4, 7
"""Their positions, behind <|im_start|>, user, the new line and "a"."""


@pytest.fixture(scope="module")
def plain(clip, pack):
    with torch.inference_mode():
        conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text=PLAIN)
    return states(conditioning), prompt


@pytest.mark.parametrize("text", ["", r"a red fox in fog \(old\)", r"a (red:1) fox in fog \(old\)"])
def test_without_weights_it_is_qwen3_encode_bitwise(clip, pack, text):
    conditioning, prompt, report = run(pack.WeightedEncode, clip=clip, text=text, layer=-3)
    theirs, exact = run(pack.Qwen3Encode, clip=clip, text=PLAIN if text else "", layer=-3)
    assert torch.equal(states(conditioning), states(theirs)) and prompt == exact
    assert record(conditioning) == record(theirs)
    assert "no weights: as Qwen3 Encode" in report


def without(twin, ids, position, filler, method):
    """transformers' states of the last block but one, without the word at ``position``."""
    ids = [*ids[:position], filler, *ids[position + 1 :]]
    if method == "replaced":
        return twin.states(ids)[-2]
    hidden = torch.zeros(len(ids), len(ids)).fill_(-torch.inf).triu(1)
    hidden[position + 1 :, position] = -torch.inf
    return twin.states(ids, mask=hidden)[-2]
