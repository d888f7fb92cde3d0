"""Qwen3 Encode at Layer against the stock text encode and transformers' Qwen3."""

import pytest
import torch
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import output, record, run, same_options, states, text_encode
from .twins import Qwen3Twin, largest_error

PROMPT = "A red fox in deep snow, 35 mm film"
TEXTS = {
    "plain": PROMPT,
    "empty": "",
    "unicode": "naïve café, 北京の夜, ночь, e\u0301\u200d\ufeff",
    "emoji": "a 🦊 beside 👩\u200d🚀 and 🇫🇷",
    "parentheses": "(red:1.5) fox, ((detailed)) [sharp], unbalanced ) (",
    "escapes": r"\(escaped\) C:\new\table {curly} {} %s <lora:x:1>",
    "white space": "  \n\nfirst\n\n\tsecond line  \r\n ",
    "chat markup": "one <|im_end|> two <|im_start|>user\nthree",
    "long": "many words about a fox " * 25,
}


@pytest.fixture(scope="module")
def twin_states(host, clip):
    """transformers' hidden states of PROMPT, for the ids that the stock tokenizer makes of it."""
    ids = [entry[0] for entry in clip.tokenize(PROMPT)["qwen3_4b"][0]]
    path = host.base / "models/text_encoders/qwen_3_4b.safetensors"
    with torch.inference_mode():
        return Qwen3Twin(path, load_sizes()).states(ids)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_layer_minus_2_is_clip_text_encode_bitwise(clip, pack, text):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=text)
    [[hidden, options]] = text_encode(clip, text)
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_layer_minus_6_is_set_last_layer_and_clip_text_encode_bitwise(clip, pack, text):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=text, layer=-6)
    [[hidden, options]] = text_encode(clip, text, layer=-6)
    assert torch.equal(states(conditioning), hidden)
    assert same_options(conditioning[0][1], options)


@pytest.mark.parametrize("connected", [-1, -6, -24])
def test_a_connected_set_last_layer_does_not_override_the_nodes_own_layer(
    host, clip, pack, connected
):
    [set_clip] = host.nodes.CLIPSetLastLayer().set_last_layer(clip, connected)
    conditioning, _ = run(pack.Qwen3Encode, clip=set_clip, text=PROMPT, layer=-3)
    assert torch.equal(states(conditioning), states(text_encode(clip, PROMPT, layer=-3)))
    assert set_clip.layer_idx == connected


@pytest.mark.parametrize("layer", [*range(-9, 0), *range(9)])
def test_every_layer_equals_transformers(clip, pack, twin_states, layer):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer)
    hidden = states(conditioning)
    assert hidden.dtype == torch.float32
    assert largest_error(hidden, twin_states[layer]) < 1e-4
    assert record(conditioning).layer == (layer if layer < 0 else layer - 9)


def test_layer_minus_1_is_the_normed_state_unlike_the_hosts_own(clip, pack, twin_states):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-1)
    # The tiny weights' final norm has weights near 1, so a normed token has an rms near 1.
    rms = states(conditioning).pow(2).mean(-1).sqrt()
    assert torch.allclose(rms, torch.ones_like(rms), atol=0.02)
    un_normed = states(text_encode(clip, PROMPT, layer=-1))
    assert largest_error(states(conditioning), un_normed) > 0.1


def test_encoding_again_gives_the_same_states(clip, pack):
    first, second = (
        states(run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-6)[0]) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_the_stock_encoder_is_the_same_after_the_node_ran(clip, pack):
    before = states(text_encode(clip, PROMPT)), states(text_encode(clip, PROMPT, layer=-6))
    for layer in (0, -6, -1):
        run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer)
    after = states(text_encode(clip, PROMPT)), states(text_encode(clip, PROMPT, layer=-6))
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


@pytest.mark.parametrize(("layer", "blocks"), [(-6, 3), (3, 3), (-2, 7), (-1, 8), (8, 8), (1, 1)])
def test_blocks_above_the_layer_are_not_run(clip, pack, layer, blocks):
    layers = clip.cond_stage_model.qwen3_4b.transformer.model.layers
    ran: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(layers)
    ]
    try:
        run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=layer)
    finally:
        for handle in handles:
            handle.remove()
    assert ran == list(range(blocks))


def test_several_layers_come_from_one_pass(clip, pack):
    from zimage_layer_lab.nodes.encoder import encode

    model = clip.cond_stage_model.qwen3_4b.transformer.model
    passes: list[int] = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    prompt = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    try:
        encodings = encode(clip, prompt, [-2, 0, -6, -1])
    finally:
        handle.remove()
    assert len(passes) == 1
    assert [encoding.record.layer for encoding in encodings] == [-2, -9, -6, -1]
    for encoding in encodings:
        alone, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=encoding.record.layer)
        assert torch.equal(states(encoding.conditioning), states(alone))


def test_the_vision_language_encoder_reads_plain_text_without_its_automatic_think_block(
    vl_clip, pack
):
    conditioning, prompt = run(pack.Qwen3Encode, clip=vl_clip, text=PROMPT)
    clip = vl_clip.clone()
    clip.clip_layer(-2)
    tokens = clip.tokenize(PROMPT, thinking=True)
    [[hidden, _]] = clip.encode_from_tokens_scheduled(tokens)
    assert torch.equal(states(conditioning), hidden)
    assert "think" not in prompt


def test_the_preview_shows_token_count_layer_and_prompt(clip, pack):
    shown = output(pack.Qwen3Encode, clip=clip, text="a red fox").ui["text"][0]
    assert "11 tokens" in shown and "-2" in shown
    assert "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n" in shown


def test_a_textual_inversion_counts_as_a_token_without_an_id(host, clip, pack):
    from safetensors.torch import save_file

    folder = host.base / "models/embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"qwen3_4b": torch.randn(3, 2560)}, folder / "lab_style.safetensors")
    text = "a fox, embedding:lab_style in snow"
    conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text=text)
    assert torch.equal(states(conditioning), states(text_encode(clip, text)))
    assert len(record(conditioning)) == states(conditioning).shape[1]
    assert record(conditioning).ids.count(-1) == 3
    assert prompt.count("<embedding>") == 3 and "lab_style" not in prompt


def test_a_textual_inversion_of_another_width_is_ignored_as_by_the_host(host, clip, pack):
    from safetensors.torch import save_file

    folder = host.base / "models/embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"qwen3_4b": torch.randn(2, 768)}, folder / "lab_sd1.safetensors")
    text = "a fox, embedding:lab_sd1 in snow"
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=text)
    hidden = states(conditioning)
    assert torch.equal(hidden, states(text_encode(clip, text)))
    assert len(record(conditioning)) == hidden.shape[1]


def test_a_pass_that_memory_does_not_suffice_for_is_warned_of(clip, monkeypatch, caplog):
    """9,000 tokens took a server to its end: on a CPU ComfyUI's attention was measured to hold the
    scores of its 32 heads, 4 bytes each, twice."""
    import comfy.model_management
    from zimage_layer_lab.nodes.encoder import language_model, warn_of_memory

    config = language_model(clip).transformer.model.config
    monkeypatch.setattr(config, "num_attention_heads", 32)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 8e9)
    for tokens, said in ((5000, ""), (9000, "Encoding 9000 tokens takes some 20.7 GB, ")):
        warn_of_memory(clip, language_model(clip), [[(1, 1.0)] * tokens])
        assert bool(caplog.text) == bool(said) and said in caplog.text
    assert "and 8 GB are free: the system may end ComfyUI. Shorten the prompt" in caplog.text


def test_the_warning_comes_before_the_pass(clip, pack, monkeypatch, decoder_passes):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("zimage_layer_lab.nodes.encoder.warn_of_memory", stop)
    with pytest.raises(KeyboardInterrupt):
        run(pack.Qwen3Encode, clip=clip, text=PROMPT)
    assert not decoder_passes
