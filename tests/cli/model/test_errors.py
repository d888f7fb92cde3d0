"""What is advised where a package is missing: that package, never another download."""

import json

import pytest
import transformers.utils
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
    assert f"without the package {package}, which is not installed here. Install it" in told
    assert f"(python -m pip install {package}), or give another file of the same model" in told
    assert "download" not in told.lower()


def hide(package, monkeypatch):
    """As if it were not installed, where it is."""
    from transformers.quantizers import auto

    module = auto.AUTO_QUANTIZER_MAPPING
    for kind in module.values():
        name = f"is_{package.replace('-', '_')}_available"
        source = __import__(kind.__module__, fromlist=["x"])
        if hasattr(source, name):
            monkeypatch.setattr(source, name, lambda *versions: False)


@pytest.mark.parametrize(
    ("package", "files"),
    [
        ("sentencepiece", ["spiece.model"]),
        ("mistral-common", ["tekken.json"]),
    ],
)
def test_words_of_transformers_for_tokenizers(package, files):
    """Its own texts, whichever of the packages are here."""
    text = getattr(
        transformers.utils.import_utils, f"{package.upper().replace('-', '_')}_IMPORT_ERROR"
    )
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
        (
            ValueError("You need to have sentencepiece or tiktoken installed to convert a slow"),
            "sentencepiece",
        ),
        (ValueError("the file is not whole"), None),
        (ImportError("requires a GPU"), None),
    ],
)
def test_what_an_error_says_is_missing(error, package):
    assert missing_package(error) == package


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
