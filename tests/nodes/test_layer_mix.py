"""Layer Mix against its formulas in float64, on the states of transformers and the stock encode."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.tiny_host.tiny_weights import load_sizes

from .stock import QUERIES, RECORD, output, record, run, same_options, states, text_encode
from .twins import Qwen3Twin

PROMPT = "A red fox in deep snow, 35 mm film"
MEAN = "mean of normalised layers"


@pytest.fixture(scope="module")
def stock(clip):
    """Layer -> the stock encode's states as (tokens, width) float64."""
    with torch.inference_mode():
        return {
            layer: states(text_encode(clip, PROMPT, layer=layer))[0].double().numpy()
            for layer in (-2, -4, -6)
        }


def rms(tokens: np.ndarray) -> np.ndarray:
    return np.sqrt((tokens**2).mean(axis=-1, keepdims=True))


def formula(stock: dict, weights: dict, method: str) -> np.ndarray:
    """sum(w h) / sum(w); rms matched: every token first at the first layer's rms."""
    layers = [stock[layer] for layer in weights]
    if method == "rms matched":
        layers = [layer / rms(layer) * rms(layers[0]) for layer in layers]
    total = sum(weights.values())
    return sum(w * layer for w, layer in zip(weights.values(), layers, strict=True)) / total


def assert_close(conditioning: list, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    result = states(conditioning)[0].double().numpy()
    assert result.shape == expected.shape
    # Each token by itself: a massive one would hide the errors of the others.
    assert (np.abs(result - expected).max(axis=1) < tolerance * rms(expected)[:, 0]).all()


@pytest.mark.parametrize("method", ["raw", "rms matched"])
@pytest.mark.parametrize(
    "weights",
    [{-2: 0.5, -6: 0.5}, {-6: 0.7, -2: 0.3}, {-2: 3.0, -4: 1.0, -6: 2.0}, {-2: 1.5, -6: -0.5}],
    ids=str,
)
def test_a_weighted_mix_is_its_formula_on_the_stock_encodes_states(
    clip, pack, stock, weights, method
):
    text = ", ".join(f"{layer}: {weight}" for layer, weight in weights.items())
    [mixed] = run(pack.LayerMix, clip=clip, text=PROMPT, weights=text, method=method)
    assert_close(mixed, formula(stock, weights, method))
    assert states(mixed).dtype == torch.float32


def test_the_methods_differ_as_the_layers_differ_in_scale(stock):
    """Else the tests above could not tell them apart."""
    weights = {-2: 0.5, -6: 0.5}
    raw, matched = (formula(stock, weights, method) for method in ("raw", "rms matched"))
    assert np.abs(raw - matched).max() > 1e-2 * rms(raw).min()


def test_the_defaults_are_half_and_half_rms_matched(clip, pack, stock):
    [mixed] = run(pack.LayerMix, clip=clip, text=PROMPT)
    assert_close(mixed, formula(stock, {-2: 0.5, -6: 0.5}, "rms matched"))


def test_the_mean_of_normalised_layers_is_that_of_all_of_transformers_hidden_states(
    host, clip, pack
):
    ids = [entry[0] for entry in clip.tokenize(PROMPT)["qwen3_4b"][0]]
    path = host.base / "models/text_encoders/qwen_3_4b.safetensors"
    layers = [s[0].double().numpy() for s in Qwen3Twin(path, load_sizes()).states(ids)]
    assert len(layers) == 9
    normed = [(h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True) for h in layers]
    # Weights are not used, not even read.
    [mixed] = run(pack.LayerMix, clip=clip, text=PROMPT, method=MEAN, weights="anything")
    assert_close(mixed, np.mean(normed, axis=0), 1e-4)


@pytest.mark.parametrize("method", ["raw", "rms matched", MEAN])
def test_a_mix_is_one_pass(clip, pack, decoder_passes, method):
    run(pack.LayerMix, clip=clip, text=PROMPT, weights="-2: 1, -6: 1, 0: 1", method=method)
    assert len(decoder_passes) == 1


@pytest.mark.parametrize(
    ("method", "edit"),
    [
        ("raw", "layer mix: raw, -2: 0.7, -6: 0.3"),
        ("rms matched", "layer mix: rms matched, -2: 0.7, -6: 0.3"),
        (MEAN, "layer mix: mean of normalised layers, 9 hidden states, -9 to -1"),
    ],
)
def test_the_record_has_no_single_layer_and_names_the_mix(clip, pack, method, edit):
    settings = {"text": PROMPT, "system_prompt": "Be brief.", "think_block": "empty"}
    [mixed] = run(pack.LayerMix, clip=clip, weights="7: 0.7, -6: 0.3", method=method, **settings)
    alone, _ = run(pack.Qwen3Encode, clip=clip, **settings)
    ours, theirs = record(mixed), record(alone)
    assert ours.layer is None and ours.edits == (edit,)
    assert (ours.ids, ours.texts, ours.roles) == (theirs.ids, theirs.texts, theirs.roles)
    assert (ours.source, ours.fingerprint) == (theirs.source, theirs.fingerprint)
    plain = {key: value for key, value in alone[0][1].items() if key != RECORD}
    assert same_options(mixed[0][1], plain)


@pytest.mark.parametrize("method", ["raw", "rms matched"])
@pytest.mark.parametrize(
    "weights", ["-6: 0.3", "-6: 1, -2: 0", "-2: 0, -6: 1", "-2: 0, -6: 2, 0: 0"]
)
def test_all_the_weight_on_one_layer_is_that_layer_with_no_edit(clip, pack, weights, method):
    [mixed] = run(pack.LayerMix, clip=clip, text=PROMPT, weights=weights, method=method)
    alone, _ = run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-6)
    assert torch.equal(states(mixed), states(alone)) and record(mixed) == record(alone)


def test_a_scheduled_lora_gives_a_mix_for_every_entry(clip, pack):
    """With hook keyframes the host encodes once for each span of the sampling."""
    import comfy.hooks
    from comfy_extras.nodes_hooks import SetClipHooks

    generator = torch.Generator().manual_seed(5)
    key = "text_encoders.qwen3_4b.transformer.model.layers.1.self_attn.q_proj"
    lora = {
        f"{key}.lora_up.weight": torch.randn(QUERIES, 2, generator=generator) * 0.1,
        f"{key}.lora_down.weight": torch.randn(2, 2560, generator=generator) * 0.1,
    }
    hooks = comfy.hooks.create_hook_lora(lora, 1.0, 1.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=0.25, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)
    [hooked] = SetClipHooks().apply_hooks(clip, True, True, hooks)
    sides, _ = run(pack.LayerSweep, clip=hooked, text=PROMPT)
    [mixed] = run(pack.LayerMix, clip=hooked, text=PROMPT, method="raw")
    assert len(mixed) == len(sides[0]) == 2
    for entry, (one, options), (other, _) in zip(mixed, *sides, strict=True):
        expected = (one[0].double() + other[0].double()).numpy() / 2
        assert_close([entry], expected)
        assert entry[1]["clip_start_percent"] == options["clip_start_percent"]
        assert entry[1][RECORD].edits == ("layer mix: raw, -2: 0.5, -6: 0.5",)
    assert not torch.equal(mixed[0][0], mixed[1][0])


def test_the_preview_shows_the_mix_and_the_prompt(clip, pack):
    shown = output(pack.LayerMix, clip=clip, text="a red fox").ui["text"][0]
    assert "11 tokens" in shown and "rms matched, -2: 0.5, -6: 0.5" in shown
    assert "<|im_start|>user\na red fox<|im_end|>\n<|im_start|>assistant\n" in shown


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ("", "empty"),
        ("-2", "'-2'"),
        ("-2: x", "'x'"),
        ("-2: nan", "nan"),
        ("-2: 1, 35: 1, -2: 3", "again"),
        ("-2: 1, -6: -1", "add up to 0"),
        ("-38: 1", "-38"),
    ],
)
@pytest.mark.parametrize("method", ["raw", "rms matched"])
def test_bad_weights_are_refused_by_validation(pack, weights, named, method):
    assert named in pack.LayerMix.validate_inputs(weights=weights, method=method)


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ("-2: nan", "nan"),
        ("-2: 1, 7: 3", "layer -2 again"),
        ("-2: 1, -6: -1", "add up to 0"),
        ("-10: 1", "8 blocks"),
    ],
)
def test_bad_weights_that_are_connected_are_refused_before_the_encoder_runs(
    clip, pack, decoder_passes, weights, named
):
    with pytest.raises(ValueError, match=named):
        run(pack.LayerMix, clip=clip, text=PROMPT, weights=weights)
    assert not decoder_passes


@pytest.mark.parametrize("weights", [5, ["-2: 1"], {"-2": 1}])
def test_weights_that_are_no_text_are_refused_typed_and_connected(
    clip, pack, decoder_passes, weights
):
    message = pack.LayerMix.validate_inputs(weights=weights, method="raw")
    assert "list of weights" in message and "no text" in message
    with pytest.raises(ValueError, match="list of weights.*no text"):
        run(pack.LayerMix, clip=clip, text=PROMPT, weights=weights, method="raw")
    assert not decoder_passes


@pytest.mark.parametrize("method", [None, [], 3])
def test_a_method_that_is_no_text_is_refused_when_it_runs(clip, pack, decoder_passes, method):
    """A typed null cannot be told from a connected input before."""
    with pytest.raises(ValueError, match="method .* is not one of raw"):
        run(pack.LayerMix, clip=clip, text=PROMPT, method=method)
    assert not decoder_passes


def test_an_unknown_method_is_refused(clip, pack):
    assert "'median' is not one of raw" in pack.LayerMix.validate_inputs(method="median")
    with pytest.raises(ValueError, match="'median' is not one of raw"):
        run(pack.LayerMix, clip=clip, text=PROMPT, method="median")


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"weights": None, "method": "raw"},
        {"weights": "-2: 0.7, -37: 0.3", "method": "raw"},
        {"weights": "not read", "method": MEAN},
        {"weights": "checked when it runs", "method": None},
    ],
)
def test_validation_lets_good_unused_and_connected_inputs_pass(pack, inputs):
    assert pack.LayerMix.validate_inputs(**inputs) is True
