"""LoRA on the text encoder: honoured at every layer, kept while blocks are left out, and undone."""

import pytest
import torch
from safetensors.torch import save_file

from .stock import KEYS, QUERIES, RECORD, run, states, text_encode

PROMPT = "a red fox in deep snow"
TOUCHED = (0, 2, 5, 6, 7)
"""Layer -6 runs blocks 0 to 2 and layer -2 blocks 0 to 6, so some are above either."""
ALL_BLOCKS = -1


def encoder_weight(clip, block: int) -> torch.Tensor:
    transformer = clip.cond_stage_model.qwen3_4b.transformer
    return transformer.model.layers[block].self_attn.q_proj.weight


@pytest.fixture(scope="module")
def lora_weights():
    generator = torch.Generator().manual_seed(3)
    weights = {}
    for block in TOUCHED:
        for name, rows in (("self_attn.q_proj", QUERIES), ("self_attn.v_proj", KEYS)):
            key = f"text_encoders.qwen3_4b.transformer.model.layers.{block}.{name}"
            weights[f"{key}.lora_up.weight"] = torch.randn(rows, 2, generator=generator) * 0.1
            weights[f"{key}.lora_down.weight"] = torch.randn(2, 2560, generator=generator) * 0.1
    return weights


@pytest.fixture
def load_lora(host, clip, lora_weights):
    """A fresh stock LoraLoader's clip each time; everything is unloaded before and after."""
    import comfy.model_management

    folder = host.base / "models/loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(lora_weights, folder / "lab_encoder.safetensors")

    def load(strength: float = 1.0):
        loader = host.nodes.LoraLoader()
        return loader.load_lora(None, clip, "lab_encoder.safetensors", 0.0, strength)[1]

    comfy.model_management.unload_all_models()
    yield load
    comfy.model_management.unload_all_models()


@pytest.mark.parametrize("layer", [-6, -2])
def test_a_lora_is_honoured_bitwise_as_by_the_stock_encode(clip, pack, load_lora, layer):
    import comfy.model_management

    original = states(text_encode(clip, PROMPT, layer=layer))
    expected = states(text_encode(load_lora(), PROMPT, layer=layer))
    assert not torch.equal(expected, original)
    comfy.model_management.unload_all_models()
    # Now the pack's node is the one that makes the host load and patch the encoder.
    ours, _ = run(pack.Qwen3Encode, clip=load_lora(), text=PROMPT, layer=layer)
    assert torch.equal(states(ours), expected)


def test_blocks_that_were_not_run_are_patched_all_the_same(clip, pack, load_lora):
    import comfy.model_management

    expected = states(text_encode(load_lora(), PROMPT, layer=ALL_BLOCKS))
    comfy.model_management.unload_all_models()
    plain = [encoder_weight(clip, block).clone() for block in range(8)]
    patched = load_lora()
    run(pack.Qwen3Encode, clip=patched, text=PROMPT, layer=-6)
    changed = [
        block for block in range(8) if not torch.equal(encoder_weight(clip, block), plain[block])
    ]
    assert changed == list(TOUCHED)
    # The same clip, still loaded: the stock node sees the LoRA in every block.
    assert torch.equal(states(text_encode(patched, PROMPT, layer=ALL_BLOCKS)), expected)


def test_the_plain_clip_gives_its_own_states_again(clip, pack, load_lora):
    original = {
        layer: states(text_encode(clip, PROMPT, layer=layer)) for layer in (-6, -2, ALL_BLOCKS)
    }
    plain = [encoder_weight(clip, block).clone() for block in range(8)]
    run(pack.Qwen3Encode, clip=load_lora(), text=PROMPT, layer=-6)
    for layer, hidden in original.items():
        assert torch.equal(states(text_encode(clip, PROMPT, layer=layer)), hidden)
    ours, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-6)
    assert torch.equal(states(ours), original[-6])
    assert all(torch.equal(encoder_weight(clip, block), plain[block]) for block in range(8))


def test_two_strengths_in_turn_do_not_mix(pack, load_lora):
    weak, strong = load_lora(0.3), load_lora(1.0)
    turns = [(weak, -2), (strong, -6), (weak, -6), (strong, -2)]
    ours = [
        states(run(pack.Qwen3Encode, clip=lora_clip, text=PROMPT, layer=layer)[0])
        for lora_clip, layer in turns
    ]
    for hidden, (lora_clip, layer) in zip(ours, turns, strict=True):
        assert torch.equal(hidden, states(text_encode(lora_clip, PROMPT, layer=layer)))
    assert not torch.equal(ours[0], ours[3])


def hooked(clip, lora_weights, strengths):
    """``clip`` with a LoRA of each strength over an equal span of the sampling."""
    import comfy.hooks
    from comfy_extras.nodes_hooks import SetClipHooks

    hooks = comfy.hooks.create_hook_lora(lora_weights, 1.0, 1.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for place, strength in enumerate(strengths):
        start = place / len(strengths)
        keyframes.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    return SetClipHooks().apply_hooks(clip, True, True, hooks)[0]


def test_a_lora_that_is_scheduled_by_hooks_gives_every_stock_entry(clip, pack, lora_weights):
    """With hook keyframes the host encodes once for each span of the sampling."""
    scheduled = hooked(clip, lora_weights, [1.0, 0.25])
    stock = text_encode(scheduled, PROMPT)
    ours, _ = run(pack.Qwen3Encode, clip=scheduled, text=PROMPT)
    assert len(stock) == 2 and len(ours) == 2
    for (hidden, options), (expected, expected_options) in zip(ours, stock, strict=True):
        assert torch.equal(hidden, expected)
        assert options["clip_start_percent"] == expected_options["clip_start_percent"]
        assert len(options[RECORD]) == hidden.shape[1]
    assert not torch.equal(stock[0][0], stock[1][0])


def test_words_are_weighed_at_each_strength_of_a_scheduled_lora(clip, pack, lora_weights):
    def weighted(*strengths):
        lora_clip = hooked(clip, lora_weights, strengths)
        return run(pack.WeightedEncode, clip=lora_clip, text="a (red:1.5) fox", layer=-6)[0]

    scheduled = weighted(1.0, 0.25)
    alone = [weighted(1.0)[0], weighted(0.25)[0]]
    plain, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-6)
    assert not torch.equal(scheduled[0][0], scheduled[1][0])
    for (hidden, options), (expected, _), start in zip(scheduled, alone, (0.0, 0.5), strict=True):
        assert torch.equal(hidden, expected) and options["clip_start_percent"] == start
        assert not torch.equal(hidden, states(plain))
