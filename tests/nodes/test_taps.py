"""Several layers at once: the host's own list bit for bit, other lists against block inputs."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from .stock import record, same_options, states, text_encode
from .tiny_encoders import KINDS, PADDED, WIDTH, encoder_state, inner

PROMPT = "a red fox (in deep snow)"
OWN = {
    "klein 4b": (9, 18, 27),
    "klein 8b": (9, 18, 27),
    "flux2 dev": (10, 20, 30),
    "krea2": tuple(range(2, 36, 3)),
    "ideogram4": (*range(1, 35, 3), 36),
    "ideogram4 vl": (*range(1, 35, 3), 36),
}


def encode(clip, *args, **keywords):
    from zimage_layer_lab.nodes.taps import encode_taps, tapped_clip

    return encode_taps(tapped_clip(clip), *args, **keywords)


def block_inputs(clip, text):
    """Hidden state k (tokens, width) from a hook on block k, and the last from the final norm or
    the last block, while the stock node encodes."""
    decoder = inner(clip).transformer.model
    seen = {}

    def keep(index):
        def hook(module, args, kwargs):
            seen[index] = kwargs["x"][0].clone()

        return hook

    with ExitStack() as hooks:
        for index, block in enumerate(decoder.layers):
            handle = block.register_forward_pre_hook(keep(index), with_kwargs=True)
            hooks.callback(handle.remove)

        def end(module, args, output):
            seen[len(decoder.layers)] = output[0][0].clone()

        hooks.callback(decoder.register_forward_hook(end).remove)
        text_encode(clip, text)
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_own_list_is_clip_text_encode_bitwise(tapped_clips, kind):
    clip = tapped_clips(kind)
    [[hidden, options]] = text_encode(clip, PROMPT)
    before = encoder_state(clip)
    conditioning, prompt, _ = encode(clip, PROMPT)
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)
    assert encoder_state(clip) == before
    own = record(conditioning)
    assert own.taps.layers == OWN[kind] and own.taps.width == WIDTH
    assert len(own) == hidden.shape[1]
    assert PROMPT in prompt and "<|endoftext|>" not in prompt


SLOW = ("klein 8b", "flux2 dev", "ideogram4")
"""Kinds that differ from another in width or depth alone."""


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] if kind in SLOW else []) for kind in KINDS],
)
def test_other_lists_are_the_inputs_of_those_blocks(tapped_clips, kind):
    """Reversed, and with repetitions, the first block and the last hidden state."""
    clip = tapped_clips(kind)
    seen, before = block_inputs(clip, PROMPT), encoder_state(clip)
    own = OWN[kind]
    wanted = [own[::-1], (max(seen), 0, 0, *own[3:])]
    for layers in wanted:
        hidden = states(encode(clip, PROMPT, layers).conditioning)[0].numpy()
        kept = hidden.shape[0]
        stack = np.stack([seen[layer][-kept:].numpy() for layer in layers], axis=1)
        if kind.startswith("ideogram4"):
            stack = stack.transpose(0, 2, 1)
        assert np.array_equal(hidden, stack.reshape(kept, -1))
    assert encoder_state(clip) == before


@pytest.mark.parametrize("kind", ["klein 4b", "krea2"])
def test_a_failure_leaves_the_encoder_as_it_was(tapped_clips, kind):
    clip = tapped_clips(kind)
    right, before = states(text_encode(clip, PROMPT)), encoder_state(clip)
    block = inner(clip).transformer.model.layers[7]

    def fail(*_):
        raise RuntimeError("out of memory, say")

    for layers in (None, OWN[kind][::-1]):
        handle = block.register_forward_pre_hook(fail)
        try:
            with pytest.raises(RuntimeError, match="out of memory, say"):
                encode(clip, PROMPT, layers)
        finally:
            handle.remove()
        assert encoder_state(clip) == before
    with pytest.raises(ValueError, match=r"2 layers are listed.*takes (3|12).*layers empty"):
        encode(clip, PROMPT, (3, 4))
    assert encoder_state(clip) == before
    assert torch.equal(states(text_encode(clip, PROMPT)), right)


def test_what_each_token_is_stays_with_it_where_the_head_is_cut_off(tapped_clips):
    from zimage_layer_lab.core.record.record import Role

    own = record(encode(tapped_clips("krea2"), "a fox").conditioning)
    assert own.texts[:2] == ("a", " fox") and own.roles[:2] == (Role.TEXT, Role.TEXT)
    own = record(encode(tapped_clips("klein 4b"), "a fox").conditioning)
    assert len(own) == PADDED and own.roles.count(Role.PAD) == PADDED - 14
    own = record(encode(tapped_clips("flux2 dev"), "fox").conditioning)
    assert own.roles.count(Role.TEXT) == 3 and own.roles[:2] == (Role.TEMPLATE, Role.TEMPLATE)
    assert Role.SYSTEM in own.roles and own.texts[1] == "[SYSTEM_PROMPT]"


def test_another_system_prompt_and_think_block_are_what_is_encoded(tapped_clips):
    """Their places in each template: core/taps/test_template.py."""
    changed = {"system_prompt": "Answer {briefly}.", "think_block": "empty"}
    conditioning, prompt, own = encode(tapped_clips("krea2"), PROMPT, **changed)
    assert prompt == (
        "<|im_start|>system\nAnswer {briefly}.<|im_end|>\n<|im_start|>user\n"
        f"{PROMPT}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert own.texts[:2] == ("a", " red") and own.texts[-1] == "\n\n"
    assert states(conditioning).shape[1] == len(own)


@pytest.mark.parametrize("kind", ["z_image"])
def test_a_clip_of_one_layer_is_refused_with_the_types_that_are_tapped(tapped_clips, kind):
    with pytest.raises(ValueError, match="one layer, not several.*flux2.*krea2.*ideogram4"):
        encode(tapped_clips(kind), PROMPT)
