"""The models that take several layers, as ComfyUI's text encoders list them, written down again."""

import pytest
from zimage_layer_lab.core.taps.known import KNOWN, model_of_width, models_of_encoder
from zimage_layer_lab.core.taps.layout import Taps

THREE_OF_QWEN = (9, 18, 27)
TWELVE = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)
THIRTEEN = (1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 36)
MODELS = [
    ("Flux.2 Klein 4B", "Qwen3-4B", THREE_OF_QWEN, 2560, "layer-major", 36, 7680),
    ("Flux.2 Klein 9B", "Qwen3-8B", THREE_OF_QWEN, 4096, "layer-major", 36, 12288),
    ("Flux.2 dev", "Mistral Small 24B", (10, 20, 30), 5120, "layer-major", 40, 15360),
    ("Krea 2", "Qwen3-VL-4B", TWELVE, 2560, "layer-major", 36, 30720),
    ("Ideogram 4", "Qwen3-VL-8B", THIRTEEN, 4096, "interleaved", 36, 53248),
    ("Lens", "gpt-oss-20b", (6, 12, 18, 24), 2880, "layer-major", 24, 11520),
]


@pytest.mark.parametrize(("name", "encoder", "layers", "width", "order", "blocks", "total"), MODELS)
def test_a_model_is_known_by_its_width(name, encoder, layers, width, order, blocks, total):
    assert model_of_width(total) == (name, encoder, Taps(layers, width, order, blocks))


def test_no_other_model_is_known():
    assert [model.name for model in KNOWN] == [name for name, *_ in MODELS]


@pytest.mark.parametrize(
    ("blocks", "width", "names"),
    [
        (36, 2560, ["Flux.2 Klein 4B", "Krea 2"]),
        (36, 4096, ["Flux.2 Klein 9B", "Ideogram 4"]),
        (24, 2880, ["Lens"]),
        (24, 2560, []),
        (36, 2880, []),
    ],
)
def test_models_of_an_encoder_have_its_blocks_and_its_width(blocks, width, names):
    assert [model.name for model in models_of_encoder(blocks, width)] == names
