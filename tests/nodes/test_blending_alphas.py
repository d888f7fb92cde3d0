"""Embedding Blend with alphas by word, over real encodings."""

import numpy as np
import pytest
import torch

from ..oracles.blending_formulas import blended
from .stock import record, run, states


def array(conditioning: list) -> np.ndarray:
    return states(conditioning)[0].double().numpy()


@pytest.mark.parametrize(
    ("prompt", "word", "kept"),
    [
        ("a red fox in deep snow, a Fox alone", "fox", "snow"),
        ("an extraordinarily vulpine creature, in snow", "extraordinarily", "snow"),
        ("一只红狐在深雪里，𠮷", "𠮷", "雪"),
    ],
)
def test_named_words_take_their_alpha_and_all_others_alpha(pack, clip, vision, prompt, word, kept):
    text, _ = run(pack.Qwen3Encode, clip=clip, text=prompt)
    given = f"{word}: 0.8, {kept}: 0"
    result, report = run(pack.Blend, text=text, vision=vision, match="none", alphas=given)
    # The host's own tokenizer says where the words are.
    ids, tokenizer = record(text).ids, clip.tokenizer.qwen3_4b.tokenizer
    alphas = np.full(len(ids), 0.3)
    for one, alpha in ((word, 0.8), (kept, 0.0)):
        for start in range(len(ids)):
            for end in range(start + 1, min(start + 6, len(ids)) + 1):
                spelled = tokenizer.decode(list(ids[start:end])).strip().lower()
                if spelled == one and not (alphas[start:end] == alpha).any():
                    alphas[start:end] = alpha
    assert {0.8, 0.3} <= set(alphas) and 0.0 in alphas
    side, other = array(text), array(vision)
    wholes = [blended(side, other, alpha, "interpolate", "none") for alpha in alphas]
    want = np.stack([whole[token] for token, whole in enumerate(wholes)])
    assert np.abs(array(result) - want).max() < 2e-5 * np.sqrt((want**2).mean())
    same = np.flatnonzero(alphas == 0).tolist()
    assert torch.equal(states(result)[0, same], states(text)[0, same])
    named = record(text).names(np.flatnonzero(alphas == 0.8).tolist())
    assert f"alpha 0.8: {named}" in report
    assert f"alphas ({given})" in record(result).edits[-1]


def test_padding_takes_no_part(pack, padded, vision):
    result, report = run(pack.Blend, text=padded, vision=vision, alpha=0.0, alphas="fox: 1")
    moved = (states(result) != states(padded)).any(-1)[0].nonzero().flatten().tolist()
    assert [record(padded).texts[i] for i in moved] == [" fox"]
    with pytest.raises(ValueError, match="names 'gone', which is not in the text: .*a, red, fox"):
        run(pack.Blend, text=padded, vision=vision, alphas="gone: 1")


def test_nothing_written_is_bit_for_bit_the_blend_without(pack, text, vision):
    plain = run(pack.Blend, text=text, vision=vision)
    for empty in ("", " \n"):
        result, report = run(pack.Blend, text=text, vision=vision, alphas=empty)
        assert torch.equal(states(result), states(plain[0])) and report == plain[1]
        assert record(result) == record(plain[0])
