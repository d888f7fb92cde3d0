"""ComfyUI's single file of a text encoder: against ComfyUI's own loader and transformers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from zimage_layer_lab.cli.comfy.folder import missing_requirements
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import load_decoder
from zimage_layer_lab.tiny_host.tiny_shapes import language_shapes, vision_shapes

SIZES = {
    "language": {
        "num_hidden_layers": 3,
        "intermediate_size": 64,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "vision": {"depth": 1, "intermediate_size": 64, "deepstack_visual_indexes": [0]},
}
WORDS = 300
IDS = [1, 5, 7, 100, 299, 3]
TEXTS = ["A red fox in deep snow", "", "naïve café, 北京の夜 🦊", "one <|im_end|> two\n\n  three"]
FP8 = torch.float8_e4m3fn


def random_weights(shapes):
    """bfloat16: matrices of an rms near 1 / sqrt(inputs), norms about 1."""
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("embed_tokens.weight"):
            shape = (WORDS, shape[1])
        values = torch.randn(shape, generator=generator)
        norm = len(shape) == 1 and name.endswith("weight")
        weights[name] = (1 + 0.1 * values if norm else values / shape[-1] ** 0.5).bfloat16()
    return weights


def scaled(weights, scale):
    """The matrices of the blocks in float8, each with its scale."""
    made = dict(weights)
    for name, weight in weights.items():
        if "_proj." in name and "visual" not in name:
            by = weight.float().abs().max() / 448
            made[name] = (weight.float() / by).to(FP8)
            made[name.removesuffix("weight") + scale] = by
    return made


def quantised(weights, format="float8_e4m3fn"):
    """ComfyUI's newer layout: every scaled layer says its format."""
    made = scaled(weights, "weight_scale")
    said = list(json.dumps({"format": format}).encode())
    for name in [name for name in made if name.endswith("weight_scale")]:
        made[name.replace("weight_scale", "comfy_quant")] = torch.tensor(said, dtype=torch.uint8)
    return made


def text_weights():
    return random_weights(language_shapes(SIZES, "model."))


def vision_weights():
    shapes = language_shapes(SIZES, "model.language_model.") | vision_shapes(SIZES)
    return random_weights(shapes)


FILES = {
    "bf16": text_weights,
    "float8 without scales": lambda: {
        name: weight.to(FP8) if weight.ndim == 2 else weight
        for name, weight in text_weights().items()
    },
    "fp8_scaled": lambda: (
        scaled(text_weights(), "scale_weight") | {"scaled_fp8": torch.zeros(2, dtype=FP8)}
    ),
    "comfy_quant": lambda: quantised(text_weights()),
    "Qwen3-VL": vision_weights,
    "Qwen3-VL, comfy_quant": lambda: quantised(vision_weights()),
}


@pytest.fixture(scope="module")
def of_comfyui(comfyui, skip_or_fail, tmp_path_factory):
    """Per file: (path, hidden states 0 to 2 of ComfyUI, the stock tokenizer's ids of TEXTS)."""
    if missing := missing_requirements(comfyui, sys.executable):
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("single")
    wanted, paths = [], []
    for name, make in FILES.items():
        paths.append(folder / f"{name}.safetensors")
        save_file(make(), paths[-1])
        wanted.append(
            {
                "file": str(paths[-1]),
                "type": "LUMINA2",
                "name": "qwen3vl_4b" if "VL" in name else "qwen3_4b",
                "options": {**SIZES["language"], "vocab_size": WORDS},
                "vision": {"hidden_size": 1024, **SIZES["vision"]},
                "ids": IDS,
                "texts": TEXTS,
            }
        )
    out = folder / "states.safetensors"
    script = Path(__file__).with_name("comfy_states.py")
    subprocess.run(
        [sys.executable, script, comfyui, folder, out, json.dumps(wanted)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    states, tokens = load_file(out), json.loads(Path(f"{out}.json").read_text())
    return {
        name: (path, [states[f"{number}.{k}"][0] for k in range(3)], tokens[number])
        for number, (name, path) in enumerate(zip(FILES, paths, strict=True))
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_states_are_those_of_comfyui(of_comfyui, name):
    path, truth, _ = of_comfyui[name]
    model = load_decoder(ModelFiles.find(path), "cpu", "float32")
    assert (model.name, model.blocks, model.width) == (name, 3, 2560)
    found = model.hidden_states(IDS, [0, 1, 2])
    for k, expected in enumerate(truth):
        rms = expected.double().square().mean().sqrt()
        assert (found[k] - expected).abs().max() < 1e-4 * rms


@pytest.mark.slow
def test_without_a_tokenizer_of_its_own_it_gets_comfyuis_in_zimages_template(
    of_comfyui, comfyui, monkeypatch
):
    monkeypatch.setenv("COMFYUI_PATH", str(comfyui))
    path, _, truth = of_comfyui["bf16"]
    tokenizer = ModelFiles.find(path).tokenizer()
    assert [tokenizer.ids(text) for text in TEXTS] == truth
    assert tokenizer.template == "Z-Image's"
    # ComfyUI adds an empty think block for Qwen3-VL, which its own template does not have.
    path, _, truth = of_comfyui["Qwen3-VL"]
    tokenizer = ModelFiles.find(path).tokenizer()
    assert [[*tokenizer.ids(text), 151667, 271, 151668, 271] for text in TEXTS] == truth


@pytest.fixture(scope="module")
def tiny_qwen3(tmp_path_factory):
    """A tiny Qwen3 as transformers makes it, with the settings that ComfyUI has for the family."""
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    return transformers.Qwen3ForCausalLM(config).eval()


def tiny_file(folder, model, rename=lambda name: name, name="qwen_tiny.safetensors", edit=dict):
    weights = {rename(key): value.clone() for key, value in model.model.state_dict().items()}
    save_file(edit(weights), folder / name)
    return folder / name


@pytest.mark.parametrize(
    "prefix", ["", "model.", "qwen3_4b.transformer.model.", "text_encoders.qwen3_4b.model."]
)
def test_sizes_come_from_the_shapes_whatever_stands_before_the_names(
    tiny_qwen3, tmp_path, prefix, naive_states
):
    path = tiny_file(tmp_path, tiny_qwen3, lambda name: prefix + name)
    files = ModelFiles.find(path)
    ids = [1, 5, 7, 30, 63]
    found = load_decoder(files, "cpu", "float32").hidden_states(ids, range(5))
    truth = naive_states(tiny_qwen3, [ids])
    for k, [expected] in enumerate(truth):
        assert torch.allclose(found[k].double(), torch.tensor(expected), rtol=1e-5, atol=1e-6)
    config = files.config()
    for name in ("vocab_size", "hidden_size", "head_dim", "num_hidden_layers", "intermediate_size"):
        assert getattr(config, name) == getattr(tiny_qwen3.config, name)
    assert config.get_text_config().num_key_value_heads == 2


def test_the_command_profiles_it_with_a_tokenizer_named(
    tiny_qwen3, tiny_model, tmp_path, prompt_file, layerlab, monkeypatch
):
    path = tiny_file(tmp_path, tiny_qwen3)
    out = tmp_path / "out"
    arguments = ("profile", path, "--prompts", prompt_file, "--out", out, "--layers=-2")
    status, text, _ = layerlab(*arguments, "--tokenizer", tiny_model("qwen3"))
    assert status == 0 and "qwen_tiny: 4 blocks, width 32" in text
    assert "in Z-Image's chat template" in text
    # Without: from a ComfyUI, or a sentence.
    monkeypatch.setattr("zimage_layer_lab.cli.model.single_file.find_comfyui", lambda: None)
    status, _, error = layerlab(*arguments)
    assert status == 1 and "qwen_tiny.safetensors holds weights alone, and no ComfyUI" in error
    assert "with --tokenizer, or set COMFYUI_PATH" in error
    status, _, error = layerlab(*arguments, "--tokenizer", tmp_path / "absent")
    assert status == 1 and "absent: there is no such folder" in error


def one(*names):
    return {name: torch.zeros(2, 2) for name in names}


OTHERS = {
    "is a CLIP text encoder.*give a text encoder that is a decoder": one(
        "text_model.encoder.layers.0.mlp.fc1.weight"
    ),
    "is a T5 text encoder.*give a text encoder that is a decoder": one(
        "encoder.block.0.layer.0.SelfAttention.k.weight"
    ),
    "is a Gemma text encoder.*transformers folder": one(
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.post_feedforward_layernorm.weight",
    ),
    "is a Qwen2.5 text encoder.*or a GGUF of it": one("model.layers.0.self_attn.k_proj.bias"),
    "is a language model, but neither Qwen3 nor": one("model.layers.0.self_attn.q_proj.weight"),
    r"is a diffusion model \(Lumina or Z-Image\)": one("cap_embedder.1.weight", "layers.0.w"),
    "is a VAE.*such as qwen_3_4b.safetensors": one("decoder.conv_in.weight"),
    "is a LoRA": one("layers.0.q_proj.lora_A.weight"),
    r"is no text encoder \(it holds 2 tensors, for example a\)": one("b", "a"),
}


@pytest.mark.parametrize("why", OTHERS)
def test_any_other_file_is_said_to_be_what_it_is(tmp_path, why):
    save_file(OTHERS[why], tmp_path / "file.safetensors")
    files = ModelFiles.find(tmp_path / "file.safetensors")
    with pytest.raises(ModelError, match=f"file.safetensors {why}"):
        files.config()
    with pytest.raises(ModelError, match=f"file.safetensors {why}"):
        load_decoder(files, "cpu", "auto")


def without(pattern):
    return lambda weights: {k: v for k, v in weights.items() if not re.fullmatch(pattern, k)}


def with_one(name, weight):
    return lambda weights: {**weights, name: weight}


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (
            without("layers.2.input_layernorm.weight"),
            "lacks 1 weights.*layers.2.input_layernorm",
        ),
        (without("norm.weight"), "ends after 4 blocks without a final norm"),
        (without("layers.1.*"), "lacks blocks in between"),
        (
            with_one("layers.0.self_attn.q_proj.pre_quant_scale", torch.ones(1)),
            "weights that Qwen3 does not have, for example layers.0.self_attn.q_proj.pre_quant",
        ),
        (lambda weights: quantised(weights, "nvfp4"), "in the format nvfp4.*only ComfyUI reads"),
        (
            with_one("layers.3.mlp.up_proj.weight", torch.zeros(8, 32)),
            r"layers.3.mlp.up_proj.weight has shape \(8, 32\)",
        ),
    ],
    ids=["a weight", "the norm", "a block", "a foreign scale", "nvfp4", "a shape"],
)
def test_what_would_give_wrong_numbers_is_refused(tiny_qwen3, tmp_path, edit, why):
    path = tiny_file(tmp_path, tiny_qwen3, edit=edit)
    with pytest.raises(ModelError, match=f"qwen_tiny.safetensors.*{why}"):
        load_decoder(ModelFiles.find(path), "cpu", "float32")


def test_a_part_of_a_transformers_model_is_sent_to_its_folder(model_copy):
    with pytest.raises(ModelError, match="a part of a transformers model: give the folder"):
        ModelFiles.find(model_copy / "model.safetensors").config()


@pytest.mark.parametrize("kept", [0, 4, 1000])
def test_a_file_that_is_not_whole_is_refused(tiny_qwen3, tmp_path, kept):
    path = tiny_file(tmp_path, tiny_qwen3)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="qwen_tiny.safetensors.*cannot be read"):
        ModelFiles.find(path).config()
