"""What is advised where a package is missing: that package, never another download."""

import json

import pytest
import transformers.utils
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING
from zimage_layer_lab.cli.model import errors, tokenizer_files
from zimage_layer_lab.cli.model.errors import ModelError, explained, missing_package
from zimage_layer_lab.cli.model.files import ModelFiles
from zimage_layer_lab.cli.model.language_model import load_decoder

ABSENT = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "optimum": {"quant_method": "gptq", "bits": 4},
    "gptqmodel": {"quant_method": "awq", "bits": 4},
    "compressed-tensors": {"quant_method": "compressed-tensors", "config_groups": {}},
    "aqlm": {"quant_method": "aqlm"},
    "auto-round": {"quant_method": "auto-round", "bits": 4},
}
"""Package -> the quantization_config of a model that needs it. None is required by the pack."""


@pytest.mark.parametrize("package", ABSENT)
def test_quantised_weights_name_the_package_that_reads_them(model_copy, package, monkeypatch):
    config = json.loads((model_copy / "config.json").read_text())
    config["quantization_config"] = ABSENT[package]
    (model_copy / "config.json").write_text(json.dumps(config))
    hide(package, monkeypatch)
    with pytest.raises(ModelError) as caught:
        load_decoder(ModelFiles.find(model_copy), "cpu", "auto")
    told = str(caught.value)
    assert f"without the package {package}, which is missing here or too old. Install it" in told
    assert f"(python -m pip install -U {package}), or give another file of the same model" in told
    assert "download" not in told.lower()


def hide(package, monkeypatch):
    """As if it were not installed, where it is."""
    for kind in AUTO_QUANTIZER_MAPPING.values():
        check = f"is_{package.replace('-', '_')}_available"
        monkeypatch.setattr(f"{kind.__module__}.{check}", lambda *versions: False, raising=False)


@pytest.mark.parametrize("package", ["sentencepiece", "mistral-common", "protobuf"])
def test_words_of_transformers_for_tokenizers(package):
    """Its own texts, whichever of the packages are here."""
    name = f"{package.upper().replace('-', '_')}_IMPORT_ERROR"
    text = getattr(transformers.utils.import_utils, name)
    assert missing_package(ImportError(text.format("LlamaTokenizer"))) == package


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'hqq.core'", name="hqq.core"), "hqq"),
        (ValueError("`tiktoken` is required. Install it with `pip install tiktoken`."), "tiktoken"),
        (
            ImportError("requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`"),
            "bitsandbytes",
        ),
        (ImportError("auto-round library (`pip install 'auto-round>=0.5'`)"), "auto-round"),
        (ImportError("on CUDA requires fbgemm-gpu library"), "fbgemm-gpu"),
        (ValueError("the file is not whole"), None),
        (ImportError("requires a GPU"), None),
    ],
)
def test_what_an_error_says_is_missing(error, package):
    assert missing_package(error) == package


@pytest.mark.parametrize(
    ("here", "package"),
    [
        (set(), "sentencepiece"),
        ({"sentencepiece"}, "tiktoken"),
        ({"sentencepiece", "tiktoken"}, None),
    ],
)
def test_of_two_packages_that_would_do_the_one_that_is_not_here(here, package, monkeypatch):
    monkeypatch.setattr(errors, "find_spec", lambda name: name if name in here else None)
    error = ValueError("You need to have sentencepiece or tiktoken installed to convert a slow")
    assert missing_package(error) == package


def test_a_tekken_vocabulary_alone_is_not_taken_for_an_empty_one(model_copy, monkeypatch):
    """transformers without mistral-common makes an empty tokenizer of it."""
    monkeypatch.setattr(tokenizer_files, "find_spec", lambda name: None)
    (model_copy / "tekken.json").write_text("{}")
    assert ModelFiles.find(model_copy).tokenizer().ids("w1")
    (model_copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tekken.json cannot be read without.*mistral-common"):
        ModelFiles.find(model_copy).tokenizer()


def test_a_package_of_the_packs_own_is_left_to_the_command(tmp_path):
    own = ModuleNotFoundError("No module named 'gguf'", name="gguf")
    with pytest.raises(ModuleNotFoundError), explained(tmp_path, "it cannot be read", "Again."):
        raise own


def test_quantised_weights_that_are_not_read_for_another_reason(model_copy):
    config = json.loads((model_copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "of tomorrow"}
    (model_copy / "config.json").write_text(json.dumps(config))
    (model_copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(
        ModelError, match="quantised .'of tomorrow'.: give another file of the same"
    ):
        load_decoder(ModelFiles.find(model_copy), "cpu", "auto")
