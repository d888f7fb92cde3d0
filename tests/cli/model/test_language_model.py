"""Loading models: every layout against transformers itself, and files that are not whole."""

import json

import numpy as np
import pytest
import torch
import transformers
from gguf import GGUFWriter
from safetensors.torch import load_file, save_file
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import (
    choose_device,
    choose_dtype,
    load_decoder,
    load_model,
)
from zimage_layer_lab.cli.profile.batches import TokenizedPrompts, TokenLimits, plan_batches
from zimage_layer_lab.cli.profile.meter import ProfileMeter
from zimage_layer_lab.cli.profile.prompt_file import PromptFile
from zimage_layer_lab.core.encoder.capture import (
    NotADecoderError,
    capture_hidden_states,
    find_decoder,
)
from zimage_layer_lab.core.profile.profile import summarise

from ..conftest import SHAPE

LAYOUTS = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "qwen3_vl")


def own_model(folder):
    """The model as transformers gives it, nothing of this package."""
    vision = json.loads((folder / "config.json").read_text())["model_type"] == "qwen3_vl"
    kind = transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def measure(folder, prompt_file, batch_tokens):
    """(statistics of every hidden state, token ids of every prompt)."""
    files = ModelFiles.find(folder)
    prompts = TokenizedPrompts.count(
        PromptFile(prompt_file), files.tokenizer(), TokenLimits.of(files.config())
    )
    plan = plan_batches(prompts.lengths, batch_tokens)
    meter = ProfileMeter(folder, "cpu", "float32")
    indices = range(meter.facts().blocks + 1)
    stats = None
    shards = plan.read(range(plan.shards), prompts)
    for part, _ in meter.measure_all(shards, indices, lambda prompts, tokens: None):
        stats = part if stats is None else stats.merge(part)
    return stats, [prompts.ids(number) for number in range(len(prompts.prompts))]


@pytest.mark.parametrize("template", [True, False], ids=["template", "plain"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_measures_what_transformers_computes(
    layout, template, tiny_model, prompt_file, naive_states, naive_sinks
):
    """Padded batches against one prompt at a time, float64, without a line of this package."""
    folder = tiny_model(layout, template)
    stats, ids = measure(folder, prompt_file, 90)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for prompt, found in zip(prompt_file.read_text().splitlines(), ids, strict=True):
        text = f"<s> user {prompt} </s> assistant" if template else f"<s> {prompt}"
        assert tokenizer.convert_ids_to_tokens(found) == text.split()
    states = naive_states(own_model(folder), ids)
    profile = summarise(stats, "tiny")
    assert len(states) == len(profile.layers) == 5
    for of_prompts, layer in zip(states, profile.layers, strict=True):
        rows = np.concatenate(of_prompts)
        channels = stats.dimensions[layer.index].all
        assert channels.tokens == len(rows) == profile.tokens
        np.testing.assert_allclose(channels.std, rows.std(0, ddof=1), rtol=2e-5)
        np.testing.assert_allclose(channels.max_abs, np.abs(rows).max(0), rtol=2e-5)
        assert layer.median_abs == pytest.approx(np.median(np.abs(rows)), rel=2e-3)
        found = stats.sink_positions(layer.index)
        assert [list(positions) for positions in found] == [naive_sinks(x) for x in of_prompts]


@pytest.mark.parametrize("layout", ["mistral", "gemma3", "qwen3_vl"])
def test_padding_is_never_counted(layout, tiny_model, prompt_file):
    """All prompts in one batch, 40 words beside 1, equals one by one."""
    together, _ = measure(tiny_model(layout), prompt_file, 10_000)
    alone, _ = measure(tiny_model(layout), prompt_file, 1)
    assert together.tokens == alone.tokens
    for index in together.indices:
        a, b = together.dimensions[index].all, alone.dimensions[index].all
        assert a.count.tolist() == b.count.tolist()
        np.testing.assert_allclose(a.std, b.std, rtol=2e-5)
        np.testing.assert_allclose(a.low, b.low, rtol=2e-5, atol=1e-6)
        assert together.sink_positions(index) == alone.sink_positions(index)


def test_one_prompt_gives_the_decoders_states(tiny_model, naive_states):
    loaded = load_model(ModelFiles.find(tiny_model("qwen3")), "cpu", "float32")
    ids = loaded.chat_ids("w1 w2 w3")
    found = loaded.hidden_states(ids, [-2, 1])
    truth = naive_states(own_model(tiny_model("qwen3")), [ids])
    for index in (1, 3):
        np.testing.assert_allclose(found[index], truth[index][0], rtol=1e-5, atol=1e-6)
    assert [loaded.token_text(one) for one in ids] == "<s> user w1 w2 w3 </s> assistant".split()


def test_the_chat_template_of_an_image_processor_is_used(model_copy):
    """Where Qwen-VL folders keep it."""
    (model_copy / "chat_template.jinja").unlink()
    assert not ModelFiles.find(model_copy).tokenizer().has_template
    template = "{% for m in messages %}assistant {{ m['content'] }}{% endfor %}"
    (model_copy / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    tokenizer = ModelFiles.find(model_copy).tokenizer()
    assert tokenizer.has_template
    assert tokenizer.ids("w1") == [5, 7]


def test_a_template_does_not_get_todays_date(model_copy):
    """As Llama's does, so that a profile made tomorrow is the same."""
    template = "{% if not date_string is defined %}w9 {% endif %}{{ messages[0]['content'] }}"
    (model_copy / "chat_template.jinja").write_text(template)
    assert ModelFiles.find(model_copy).tokenizer().ids("w1") == [7]


def test_smollm2_from_gguf_is_instruct_with_its_own_template(smollm2):
    text = smollm2.tokenizer.decode(smollm2.chat_ids("a cat"))
    assert text.endswith("<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n")
    assert (smollm2.blocks, smollm2.width, smollm2.dtype) == (30, 576, torch.float32)


@pytest.mark.parametrize("name", ["vocab of nobody", "tpu:7", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ModelError, match=f"--device {name}.*Leave --device out"):
        choose_device(name)


def test_dtypes():
    """float32 on the CPU, the checkpoint's own elsewhere, and what was asked for everywhere."""
    config = transformers.LlamaConfig(dtype="bfloat16")
    cpu, elsewhere = torch.device("cpu"), torch.device("meta")
    assert choose_dtype("auto", cpu, config) == torch.float32
    assert choose_dtype("auto", elsewhere, config) == torch.bfloat16
    assert choose_dtype("auto", elsewhere, None) == torch.float32
    assert choose_dtype("float16", cpu, config) == torch.float16


def load(folder):
    return load_decoder(ModelFiles.find(folder), "cpu", "auto")


@pytest.mark.parametrize(
    "kept", [0, 4, 1000, -1], ids=["empty", "4 bytes", "1000 bytes", "all but 1"]
)
def test_truncated_safetensors_are_refused(model_copy, kept):
    weights = model_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelError, match="model: the weights cannot be read.*download them again"):
        load(model_copy)


def test_corrupted_safetensors_are_refused(model_copy):
    weights = model_copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[8:40] = b"\xff" * 32
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="model: the weights cannot be read"):
        load(model_copy)


def test_pickled_weights_are_not_opened(model_copy):
    weights = model_copy / "model.safetensors"
    torch.save(load_file(weights), model_copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="model.safetensors"):
        load(model_copy)


def edit_weights(folder, edit):
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, {"format": "pt"})


def test_missing_weights_are_not_made_up(model_copy):
    """transformers would fill them with random numbers."""
    name = "model.layers.1.self_attn.q_proj.weight"
    edit_weights(model_copy, lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=f"lacks 1 weights of the decoder, for example {name}"):
        load(model_copy)


def test_a_missing_output_head_does_not_matter(model_copy):
    edit_weights(model_copy, lambda weights: weights.pop("lm_head.weight"))
    assert load(model_copy).blocks == 4


def test_weights_of_another_model_are_refused(model_copy):
    name = "model.layers.2.mlp.up_proj.weight"
    edit_weights(model_copy, lambda weights: weights.update({name: torch.zeros(8, 32)}))
    with pytest.raises(ModelError, match=rf"{name} has shape \(8, 32\).*\(48, 32\)"):
        load(model_copy)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("{", "configuration cannot be read"),
        ('{"model_type": "no such"}', "configuration cannot be read"),
        ('{"model_type": "x", "auto_map": {"AutoConfig": "code.X"}}', "configuration cannot be"),
        ('{"model_type": "t5"}', "type 't5'.*neither as a causal language model"),
        ('{"model_type": "clip"}', "type 'clip'.*neither as a causal language model"),
    ],
    ids=["no JSON", "unknown", "remote code", "T5", "CLIP"],
)
def test_other_configurations_are_refused(model_copy, config, why):
    (model_copy / "config.json").write_text(config)
    (model_copy / "code.py").write_text("raise SystemExit('run')")
    with pytest.raises(ModelError, match=f"model.*{why}"):
        load(model_copy)


def test_a_model_without_blocks_and_norm_is_refused(tmp_path):
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 1, "vocab_size": 16}
    transformers.AutoModelForCausalLM.from_config(transformers.GPT2Config(**shape)).save_pretrained(
        tmp_path / "gpt2"
    )
    with pytest.raises(ModelError, match="gpt2.*is not a decoder language model"):
        load(tmp_path / "gpt2")


def test_a_model_of_several_streams_is_refused_in_one_sentence(tmp_path):
    """Gemma 3n's AltUp: (streams, batch, tokens, width) between the blocks."""
    shape = {
        **SHAPE,
        "intermediate_size": [48] * 4,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 64,
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "altup_num_inputs": 4,
    }
    model = transformers.Gemma3nForCausalLM(transformers.Gemma3nTextConfig(**shape)).eval()
    model.save_pretrained(tmp_path / "gemma-3n")
    with pytest.raises(
        ModelError,
        match="gemma-3n: .*'gemma3n_text' has no one hidden state a token.*4 streams.*"
        "cannot be profiled: give a decoder language model such as Qwen3",
    ):
        load(tmp_path / "gemma-3n")
    # Without knowing the name of the setting, in core: what any such model would meet.
    ids = torch.tensor([[1, 5, 7]])
    with (
        pytest.raises(NotADecoderError, match=r"hidden state 2 is of the shape \(4, 1, 3, 32\)"),
        capture_hidden_states(find_decoder(model), [2, 3]),
        torch.no_grad(),
    ):
        find_decoder(model)(input_ids=ids, use_cache=False)
    assert len(find_decoder(model).layers) == 4


@pytest.mark.parametrize("layout", ["llama", "qwen2"])
def test_a_folder_without_a_tokenizer_is_refused(tiny_model, tmp_path, layout):
    """For Qwen transformers would make up an empty one."""
    for name in ("config.json", "model.safetensors", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_model(layout) / name).read_bytes())
    with pytest.raises(ModelError, match="has no tokenizer.*copy the tokenizer files"):
        ModelFiles.find(tmp_path).tokenizer()


def test_a_damaged_tokenizer_is_refused(model_copy):
    (model_copy / "tokenizer.json").write_text('{"version": "1.0", "model": ')
    with pytest.raises(ModelError, match="tokenizer cannot be read"):
        ModelFiles.find(model_copy).tokenizer()


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a gguf at all, but some text" * 9])
def test_a_damaged_gguf_is_refused(tmp_path, content):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged\.gguf.*cannot be read"):
        ModelFiles.find(path).config()
    with pytest.raises(ModelError, match=r"damaged\.gguf.*cannot be read"):
        load(path)


def test_a_gguf_of_a_kind_that_transformers_does_not_read_asks_for_the_folder(tmp_path):
    """Not for another download."""
    path = tmp_path / "new.gguf"
    writer = GGUFWriter(path, "architecture-of-tomorrow")
    writer.add_block_count(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="not supported.*give the model's transformers folder"):
        ModelFiles.find(path).config()
