"""The prompt that Qwen3 Encode builds, and the record of its tokens on its way through a graph."""

import logging

import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from .stock import record, run, states, text_encode

START, END, NEWLINE = 151644, 151645, 198
USER, ASSISTANT, SYSTEM = 872, 77091, 8948
THINK_BLOCK = [151667, 271, 151668, 271]
HEADER = [START, ASSISTANT, NEWLINE]


@pytest.fixture(scope="module")
def tokenize(comfyui):
    """Qwen2's tokenizer straight from transformers."""
    from transformers import Qwen2Tokenizer

    folder = comfyui / "comfy/text_encoders/qwen25_tokenizer"
    tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    return lambda text: tokenizer(text)["input_ids"]


def test_the_default_prompt_is_z_images_own_template(clip, pack, tokenize):
    conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text="a red fox")
    assert prompt == "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n"
    expected = [START, USER, NEWLINE, *tokenize("a red fox"), END, NEWLINE, *HEADER]
    assert list(record(conditioning).ids) == expected


def test_an_empty_think_block_follows_the_assistants_header(clip, pack, tokenize):
    conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text="a red fox", think_block="empty")
    assert prompt == (
        "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    expected = [START, USER, NEWLINE, *tokenize("a red fox"), END, NEWLINE, *HEADER, *THINK_BLOCK]
    assert list(record(conditioning).ids) == expected


def test_thoughts_and_the_beginning_of_an_answer_are_the_hosts_states_of_that_string(clip, pack):
    conditioning, prompt = run(
        pack.Qwen3Encode, clip=clip, text="a fox", think_text="red, in snow", assistant_text="It is"
    )
    tokens = clip.tokenize(prompt, llama_template="{}")
    [[hidden, _]] = clip.encode_from_tokens_scheduled(tokens)
    assert torch.equal(states(conditioning), hidden)
    assert prompt.endswith("assistant\n<think>\nred, in snow\n</think>\n\nIt is")
    found = record(conditioning)
    by_role = {
        role: "".join(t for t, own in zip(found.texts, found.roles, strict=True) if own is role)
        for role in (Role.THINK, Role.TEXT)
    }
    assert by_role[Role.THINK] == "<think>\nred, in snow\n</think>\n\n"
    assert by_role[Role.TEXT] == "a foxIt is"


def test_a_system_prompt_is_a_turn_of_its_own_before_the_user(clip, pack, tokenize):
    conditioning, prompt = run(
        pack.Qwen3Encode,
        clip=clip,
        text="a red fox",
        system_prompt="Describe light.",
        think_block="empty",
    )
    assert prompt == (
        "<|im_start|>system\nDescribe light.<|im_end|>\n"
        "<|im_start|>user\na red fox<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    system = [START, SYSTEM, NEWLINE, *tokenize("Describe light."), END, NEWLINE]
    user = [START, USER, NEWLINE, *tokenize("a red fox"), END, NEWLINE]
    assert list(record(conditioning).ids) == [*system, *user, *HEADER, *THINK_BLOCK]


def test_the_states_of_a_system_prompt_are_the_hosts_for_the_same_string(clip, pack):
    conditioning, prompt = run(
        pack.Qwen3Encode,
        clip=clip,
        text="a {red} fox",
        system_prompt="Say {nothing}.",
        think_block="empty",
    )
    tokens = clip.tokenize(prompt, llama_template="{}")
    [[hidden, _]] = clip.encode_from_tokens_scheduled(tokens)
    assert torch.equal(states(conditioning), hidden)


@pytest.mark.parametrize("text", ["", "北京 🦊 é", r"\(a\) {b}", "tail  \n"])
def test_the_prompt_output_shows_what_the_tokens_spell(clip, pack, text):
    conditioning, prompt = run(pack.Qwen3Encode, clip=clip, text=text)
    spelled = text.replace(r"\(", "(").replace(r"\)", ")")  # the host unescapes parentheses
    assert prompt == f"<|im_start|>user\n{spelled}<|im_end|>\n<|im_start|>assistant\n"
    assert len(record(conditioning)) == states(conditioning).shape[1]


def test_roles_and_texts_line_up_with_the_ids(clip, pack, tokenize):
    conditioning, _ = run(
        pack.Qwen3Encode,
        clip=clip,
        text="a red fox",
        system_prompt="Be brief.",
        think_block="empty",
    )
    found = record(conditioning)
    system, user = len(tokenize("Be brief.")), len(tokenize("a red fox"))
    assert found.roles == (
        *[Role.TEMPLATE] * 3,
        *[Role.SYSTEM] * system,
        *[Role.TEMPLATE] * 5,
        *[Role.TEXT] * user,
        *[Role.TEMPLATE] * 5,
        *[Role.THINK] * 4,
    )
    assert [tokenize(text) for text in found.texts] == [[number] for number in found.ids]


def test_an_empty_prompt_has_no_text_token(clip, pack):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text="")
    assert set(record(conditioning).roles) == {Role.TEMPLATE}
    assert len(record(conditioning)) == 8


def test_the_record_names_layer_and_source(clip, pack):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text="a", layer=3)
    assert record(conditioning).layer == -6
    assert "qwen_3_4b.safetensors" in record(conditioning).source
    assert record(conditioning).edits == ()


def test_an_image_placeholder_that_a_user_typed_is_not_an_image_token(clip, pack):
    conditioning, _ = run(pack.Qwen3Encode, clip=clip, text="a <|image_pad|> fox")
    assert torch.equal(states(conditioning), states(text_encode(clip, "a <|image_pad|> fox")))
    assert Role.IMAGE not in record(conditioning).roles


def test_what_an_endoftext_token_hides_counts_as_padding(clip, pack, caplog):
    text = "a fox <|endoftext|> in snow"
    with caplog.at_level(logging.WARNING):
        conditioning, _ = run(pack.Qwen3Encode, clip=clip, text=text)
    [[hidden, options]] = text_encode(clip, text)
    assert torch.equal(states(conditioning), hidden)
    hidden_tokens = [role is Role.PAD for role in record(conditioning).roles]
    assert hidden_tokens == (options["attention_mask"][0] == 0).tolist() and any(hidden_tokens)
    assert "endoftext" in caplog.text


def test_the_record_survives_stock_timestep_range_and_combine(host, clip, pack):
    nodes = host.nodes
    one, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox")
    two, _ = run(pack.Qwen3Encode, clip=clip, text="snow", layer=-6)
    [ranged] = nodes.ConditioningSetTimestepRange().set_range(one, 0.0, 0.5)
    [combined] = nodes.ConditioningCombine().combine(ranged, two)
    assert [options["layer_lab"] for _, options in combined] == [record(one), record(two)]
    masked, _ = run(pack.OutlierMask, conditioning=combined)
    assert [options["layer_lab"].ids for _, options in masked] == [
        record(one).ids,
        record(two).ids,
    ]
    assert masked[0][1]["end_percent"] == 0.5


def test_the_record_is_dropped_with_a_warning_after_stock_concat(host, clip, pack, caplog):
    one, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox")
    two, _ = run(pack.Qwen3Encode, clip=clip, text="snow")
    [joined] = host.nodes.ConditioningConcat().concat(one, two)
    with caplog.at_level(logging.WARNING):
        masked, report = run(pack.OutlierMask, conditioning=joined)
    tokens = states(joined).shape[1]
    assert f"the conditioning has {tokens}" in caplog.text and "dropped" in caplog.text
    assert len(record(masked)) == tokens
    assert set(record(masked).roles) == {Role.TEXT} and record(masked).layer is None
    assert "unknown layer" in report


def test_the_record_changes_nothing_for_the_stock_sampler(host, clip, model, pack):
    from .stock import empty_latent, ksample

    ours, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox")
    stock = text_encode(clip, "a red fox")
    latents = []
    for positive in (ours, stock):
        [negative] = host.nodes.ConditioningZeroOut().zero_out(positive)
        latents.append(ksample(model, positive, negative, empty_latent(64, 64), steps=1))
    assert torch.equal(latents[0]["samples"], latents[1]["samples"])
