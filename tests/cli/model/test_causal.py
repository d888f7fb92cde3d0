"""The language-model head: whose it is, and when there is none."""

import pytest
import torch
import transformers
from safetensors.torch import save_file
from zimage_layer_lab.cli.model.causal import load_causal, with_head
from zimage_layer_lab.cli.model.errors import ModelError
from zimage_layer_lab.cli.model.files import ModelFiles


def single_file(path, width):
    """A Qwen3 of one block as ComfyUI keeps a text encoder: no head, no configuration."""
    config = transformers.Qwen3Config(
        vocab_size=64,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = transformers.Qwen3ForCausalLM(config).eval()
    state = {name: one for name, one in model.state_dict().items() if "lm_head" not in name}
    save_file(state, path)
    return model


def test_the_head_of_comfyuis_single_file_is_its_embeddings(tmp_path):
    model = single_file(tmp_path / "encoder.safetensors", 1024)
    ids = (3, 7, 9, 11)
    causal = load_causal(ModelFiles.find(tmp_path / "encoder.safetensors"), "cpu", "float32")
    [normed] = causal.states([ids], [1])[1]
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ids])).logits[0]
    assert torch.allclose(causal.logits(normed), theirs, atol=1e-5)
    weight = model.model.norm.weight[5] * model.lm_head.weight[:, 5]
    assert torch.allclose(causal.column(5), weight.detach(), atol=1e-6)


def test_a_single_file_that_has_a_head_of_its_own_elsewhere_is_refused(tmp_path):
    single_file(tmp_path / "encoder.safetensors", 32)
    with pytest.raises(ModelError, match="no language-model head, so it predicts no token: give"):
        load_causal(ModelFiles.find(tmp_path / "encoder.safetensors"), "cpu", "float32")


def test_a_model_that_makes_its_logits_in_another_way_is_refused(tiny_model):
    loaded = load_causal(ModelFiles.find(tiny_model()), "cpu", "float32").loaded

    def double(module, args, output):
        output.logits = 2 * output.logits
        return output

    handle = loaded.model.register_forward_hook(double)
    try:
        with pytest.raises(ModelError, match="its logits are not its final norm and head alone"):
            with_head(loaded)
    finally:
        handle.remove()
