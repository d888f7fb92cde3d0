"""Encoders that image models tap, as deep as the real ones but 32 dimensions wide, random.

Built from the host's own classes, as its loader builds them. A parameter's values depend on its
name alone, so that two types of loader hold the same weights.
"""

import base64
import json
import zlib
from types import SimpleNamespace

import pytest
import torch

WIDTH = 32
PADDED = 32
SMALL = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
MISTRAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]")
"""Special tokens of the real tokenizer that its template has; padding is number 11 there."""


def tekken() -> str:
    """A tokenizer in Mistral's format whose words are single bytes."""
    specials = [*MISTRAL, *(f"<SPECIAL_{number}>" for number in range(len(MISTRAL), 20))]
    return json.dumps(
        {
            "config": {"default_num_special_tokens": 20, "default_vocab_size": 276},
            "vocab": [
                {"rank": byte, "token_bytes": base64.b64encode(bytes([byte])).decode()}
                for byte in range(256)
            ],
            "special_tokens": [
                {"rank": rank, "token_str": word} for rank, word in enumerate(specials)
            ],
        }
    )


def filled(clip: object) -> object:
    """``clip`` with random weights, made from each parameter's name; its vision tower, which no
    text goes through, as it is."""
    for name, parameter in clip.cond_stage_model.named_parameters():
        if ".visual." in name or ".embed_tokens." in name and not parameter.is_contiguous():
            continue
        own = name.split(".", 1)[-1]  # Without the name that the type of loader gives the encoder.
        generator = torch.Generator().manual_seed(zlib.crc32(own.encode()))
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        elif "norm" in name and name.endswith("weight"):
            parameter.data.uniform_(0.9, 1.1, generator=generator)
        else:
            parameter.data.zero_()
    return clip


def built(stage: type, tokenizer: type, tokenizer_data=None, depth=36, **sizes) -> object:
    """The host's CLIP of a text encoder's class and its tokenizer's. Flux.2's 512 tokens, nearly
    all of them padding, are 32 here."""
    import comfy.sd

    names = ("qwen3_4b", "qwen3_8b", "qwen3vl_4b", "qwen3vl_8b", "mistral3_24b")
    # The tests' host is told to give Qwen3's 4B models 8 blocks.
    options = {**SMALL, "num_hidden_layers": depth, **sizes}
    clip = comfy.sd.CLIP(
        SimpleNamespace(clip=stage, tokenizer=tokenizer, params={}),
        tokenizer_data=tokenizer_data or {},
        model_options={
            "dtype": torch.float32,
            **{f"{name}_model_config": options for name in names},
        },
    )
    inner_tokenizer = getattr(clip.tokenizer, clip.tokenizer.clip)
    inner_tokenizer.min_length = min(inner_tokenizer.min_length or 1, PADDED)
    return filled(clip)


KINDS = ("klein 4b", "klein 8b", "flux2 dev", "krea2", "ideogram4", "ideogram4 vl")


@pytest.fixture(scope="session")
def tapped_clips(host):
    """A function: the CLIP of each of :data:`KINDS`, and "z_image" and "qwen3vl", made once."""
    from comfy.text_encoders import flux, ideogram4, krea2, qwen3vl, z_image

    makers = {
        "klein 4b": lambda: built(flux.klein_te(model_type="qwen3_4b"), flux.KleinTokenizer),
        "klein 8b": lambda: built(flux.klein_te(model_type="qwen3_8b"), flux.KleinTokenizer8B),
        # As in the file of the official template: 30 blocks, and no final norm.
        "flux2 dev": lambda: built(
            flux.flux2_te(pruned=True),
            flux.Flux2Tokenizer,
            {"tekken_model": tekken()},
            30,
            vocab_size=300,
        ),
        "krea2": lambda: built(krea2.te(), krea2.Krea2Tokenizer),
        "ideogram4": lambda: built(ideogram4.te(), ideogram4.Ideogram4Tokenizer),
        "ideogram4 vl": lambda: built(ideogram4.te_qwen3vl(), ideogram4.Ideogram4Qwen3VLTokenizer),
        "z_image": lambda: built(z_image.te(), z_image.ZImageTokenizer),
        "qwen3vl": lambda: built(
            qwen3vl.te(model_type="qwen3vl_4b"), qwen3vl.tokenizer("qwen3vl_4b")
        ),
    }
    made = {}

    def get(kind):
        if kind not in made:
            with torch.inference_mode():
                made[kind] = makers[kind]()
        return made[kind]

    return get


def inner(clip) -> object:
    """The host's SDClipModel inside a CLIP."""
    stage = clip.cond_stage_model
    return getattr(stage, stage.clip)


def encoder_state(clip) -> tuple:
    """All that a call might leave behind: settings, hooks, and attributes of the instance.

    Loaded first, for the host itself sets attributes as it loads.
    """
    clip.load_model()
    encoder, stage = inner(clip), clip.cond_stage_model
    return (
        encoder.options_default,
        encoder.layer,
        encoder.layer_idx,
        sorted(name for name in vars(stage) if not name.startswith("_")),
        [
            (name, id(module), len(module._forward_hooks), len(module._forward_pre_hooks))
            for name, module in stage.named_modules()
        ],
    )
