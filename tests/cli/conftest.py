"""Tiny random language models of every layout, prompt files, and the command itself."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ..oracles import sink_rule

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", *(f"w{i}" for i in range(58))]
TEMPLATE = (
    "<s> {% for message in messages %}{{ message['role'] }} {{ message['content'] }} </s> "
    "{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
)
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def tiny_config(layout):
    """A configuration; windows shorter than the prompts, so that they matter."""
    import transformers as t

    if layout == "qwen3_vl":
        rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
        vision = {
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 32,
            "deepstack_visual_indexes": [0],
        }
        return t.Qwen3VLConfig(text_config={**SHAPE, "rope_parameters": rope}, vision_config=vision)
    return {
        "llama": lambda: t.LlamaConfig(**SHAPE),
        "mistral": lambda: t.MistralConfig(**SHAPE, sliding_window=4),
        "qwen2": lambda: t.Qwen2Config(**SHAPE),
        "qwen3": lambda: t.Qwen3Config(**SHAPE),
        "gemma2": lambda: t.Gemma2Config(**SHAPE, sliding_window=4),
        "gemma3": lambda: t.Gemma3TextConfig(**SHAPE, sliding_window=4),
    }[layout]()


def tiny_tokenizer(template):
    """One token a word; a tokenizer without a template begins every text with <s>."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # In a Qwen folder transformers puts in a pre-tokenizer of its own; added tokens survive it.
    inner.add_tokens([AddedToken(word, single_word=word[0] != "<") for word in WORDS])
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", WORDS.index("<s>"))]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    tokenizer.chat_template = TEMPLATE if template else None
    return tokenizer


def write_tiny_model(folder, layout="llama", template=True):
    """A folder such as people download, with random weights and one loud dimension."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    config = tiny_config(layout)
    vision = layout == "qwen3_vl"
    kind = transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM
    torch.manual_seed(0)
    model = kind.from_config(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 7] *= 40
        # New models have all norms at 1; trained ones are told apart by them. Each layout has its
        # own here.
        generator = torch.Generator().manual_seed(len(layout) * 1000 + sum(layout.encode()))
        for name, weight in model.named_parameters():
            if "norm" in name and weight.ndim == 1:
                weight += 0.1 * torch.rand(weight.shape, generator=generator)
    model.save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder


def word_prompt(number, words):
    """A prompt of ``words`` words that differs from others."""
    return " ".join(f"w{(number * 7 + i * i) % 58}" for i in range(words))


def end_all(processes, seconds=20):
    """SIGTERM to each that still runs, for it may have started Ray or a server; then SIGKILL."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models are slower on several, above all where another process wants the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A function: (layout, template) -> folder of a tiny model, made once."""
    made = {}

    def make(layout="llama", template=True):
        if (layout, template) not in made:
            name = layout if template else f"{layout}-plain"
            folder = tmp_path_factory.mktemp("models") / f"tiny-{name}"
            made[layout, template] = write_tiny_model(folder, layout, template)
        return made[layout, template]

    return make


@pytest.fixture
def model_copy(tiny_model, tmp_path):
    """A tiny Llama that a test may damage."""
    import shutil

    return Path(shutil.copytree(tiny_model(), tmp_path / "model"))


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory):
    """A file of prompts of very different lengths."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    lengths = [3, 40, 1, 12, 7, 25, 2, 9, 18, 5]
    path.write_text("\n".join(word_prompt(n, words) for n, words in enumerate(lengths)) + "\n")
    return path


@pytest.fixture
def layerlab(capsys):
    """Run the command in this process: arguments -> (exit status, stdout, stderr)."""
    from zimage_layer_lab.cli import main

    def run(*arguments):
        capsys.readouterr()  # Transformers shows the progress of a model that a fixture writes.
        status = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return status, " ".join(output.out.split()), " ".join(output.err.split())

    return run


@pytest.fixture
def layerlab_process():
    """Start the command in a process of its own: arguments, Popen's keywords -> Popen.

    What still runs when the test ends is asked to end, and then killed.
    """
    paths = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    started = []

    def start(*arguments, **keywords):
        command = [sys.executable, "-m", "zimage_layer_lab.cli", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **keywords,
        )
        started.append(process)
        return process

    yield start
    end_all(started)


@pytest.fixture(scope="session")
def naive_states():
    """A function: (model, list of token ids) -> per hidden state, a float64 array per prompt.

    Prompt by prompt, unpadded, from transformers' own ``output_hidden_states``.
    """
    import torch

    def compute(model, prompts):
        states = []
        for ids in prompts:
            with torch.no_grad():
                output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
            states.append([hidden[0].double().numpy() for hidden in output.hidden_states])
        return [list(of_layer) for of_layer in zip(*states, strict=True)]

    return compute


@pytest.fixture(scope="session")
def naive_sinks():
    """A function: a prompt's states -> positions of its sink tokens."""
    return lambda states: np.flatnonzero(sink_rule.sinks(states)).tolist()
