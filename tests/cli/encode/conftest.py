"""A tiny Qwen3 whose tokenizer reads any text, and folders of captions."""

import numpy as np
import pytest
import torch

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
"""What Qwen3's official template makes of a user's turn."""
WIDTH, BLOCKS, CONTEXT = 32, 4, 4096


def write_qwen3(folder):
    """A folder of a Qwen3 with random weights, dimension 7 loud; a token is a byte."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: n for n, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    inner.add_special_tokens(special)
    inner.add_tokens(["<think>", "</think>"])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=special[0], eos_token=special[2]
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=CONTEXT,
    )
    torch.manual_seed(0)
    model = transformers.Qwen3ForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 7] *= 40
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory):
    """The folder of a tiny Qwen3."""
    return write_qwen3(tmp_path_factory.mktemp("qwen3") / "tiny-qwen3")


@pytest.fixture(scope="session")
def hidden_states_of(tiny_qwen3):
    """A function: caption -> float64 (tokens, width) of each hidden state, by transformers alone.

    With the chat template as Diffusers' Z-Image pipeline calls it, one caption at a time.
    """
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_qwen3, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_qwen3)

    def compute(caption):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": caption}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        return [hidden[0].double().numpy() for hidden in output.hidden_states]

    return compute


def near(found, expected):
    """Whether all values are within 1e-4 of the rms of what is expected."""
    return np.abs(found - expected).max() < 1e-4 * np.sqrt(np.square(expected).mean())


@pytest.fixture
def write_dataset(tmp_path):
    """A function: {name of an image: caption or None} -> the folder of both."""

    def write(captions, name="images"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image, caption in captions.items():
            (folder / image).touch()
            if caption is not None:
                (folder / image).with_suffix(".txt").write_text(caption, encoding="utf-8")
        return folder

    return write
