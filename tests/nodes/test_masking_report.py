"""What Outlier Mask says, what it measures against, and what it refuses."""

import json
import math
import re

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.record.record import Role
from zimage_layer_lab.core.shipped import PUBLISHED_REFERENCE

from .stock import (
    empty_latent,
    ksample,
    record,
    run,
    same_options,
    snapshot,
    states,
    unchanged,
    with_states,
)


def normal_states(std: torch.Tensor, mean: float = 0.0, tokens: int = 60) -> torch.Tensor:
    """(1, tokens, width) with exactly this std in every dimension, in float32."""
    generator = torch.Generator().manual_seed(9)
    noise = torch.randn(tokens, len(std), generator=generator, dtype=torch.float64)
    noise = (noise - noise.mean(0)) / noise.std(0)
    return (noise * std + mean).float()[None]


def published_std() -> torch.Tensor:
    """The figures as published: five dimensions by name, the median for all others."""
    facts = json.loads(PUBLISHED_REFERENCE.read_text(encoding="utf-8"))
    std = torch.full((2560,), facts["median_std"], dtype=torch.float64)
    for dimension, value in facts["std"].items():
        std[int(dimension)] = value
    return std


def row(report: str, dimension: int) -> str:
    """The line of the report's table about one dimension."""
    [line] = re.findall(rf"^{dimension} .*", report, re.MULTILINE)
    return line


def test_without_a_record_width_2560_is_measured_against_the_published_figures(pack):
    hidden = normal_states(published_std())
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]])
    # Against the median of these states dimension 4 would be 492.6 times too loud.
    assert torch.equal(states(masked), hidden)
    header, *rest = report.split("\n")
    assert header.endswith(
        "against Qwen3-4B at layer -2 (published figures, approximate: exact in 5 of 2560 "
        "dimensions)"
    )
    assert (
        "these published figures are exact in dimensions 0, 4, 9, 100, 396 only: every other one "
        "holds the median std of all, so its ratio may be several times too high or too low. "
        "llm-dit's own file is exact in all: layerlab stats convert qwen3_4b_stats.npz "
        "FILE.safetensors turns it into a reference to measure against"
    ) in rest


def test_layer_minus_2_of_a_real_encoder_is_measured_against_the_published_figures(clip, pack):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox in deep snow")
    _, report = run(pack.OutlierMask, conditioning=encoding)
    assert "Qwen3-4B at layer -2" in report and "published" in report
    # Random weights have none of the massive activations: the two that the seed named are quiet.
    assert "quiet" in row(report, 396) and "quiet" in row(report, 4)


@pytest.mark.parametrize("layer", [-6, -1])
def test_other_layers_are_measured_against_their_own_median(clip, pack, layer):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=layer)
    _, report = run(pack.OutlierMask, conditioning=encoding)
    assert "the median std of its own dimensions" in report and "published" not in report
    assert "stats convert" not in report


def test_other_widths_are_measured_against_their_own_median(pack):
    std = torch.ones(768, dtype=torch.float64)
    std[[11, 12]] = torch.tensor([30.0, 1 / 40], dtype=torch.float64)
    hidden = normal_states(std)
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]])
    assert "the median std of its own dimensions" in report
    assert bool((states(masked)[..., 11] == 0).all())
    assert torch.equal(states(masked)[..., 12], hidden[..., 12])


def test_both_directions_are_reported_whatever_was_masked(pack):
    std = torch.ones(64, dtype=torch.float64)
    std[[11, 12]] = torch.tensor([30.0, 1 / 40], dtype=torch.float64)
    for direction in ("loud", "quiet", "both"):
        for mode in ("zero", "drop sinks"):
            _, report = run(
                pack.OutlierMask,
                conditioning=[[normal_states(std), {}]],
                mode=mode,
                direction=direction,
            )
            assert "loud" in row(report, 11) and " 30 " in row(report, 11)
            assert "quiet" in row(report, 12) and " 0.025 " in row(report, 12)


def test_the_seeds_headline_is_reported_as_quieter_not_louder(pack):
    """std 927.6 in text against 1.5 in image tokens: 617.9 times quieter, as it was published."""
    text_std = torch.ones(2560, dtype=torch.float64)
    text_std[396] = 927.6
    reference = Reference(torch.zeros(2560), text_std, 0.0, 1.0, provenance={"model": "text"})
    image_std = torch.ones(2560, dtype=torch.float64)
    image_std[396] = 927.6 / 617.9
    conditioning = [[normal_states(image_std), {}]]
    inputs = {"conditioning": conditioning, "reference": reference}
    masked, report = run(pack.OutlierMask, **inputs)
    assert "quiet" in row(report, 396) and "loud" not in row(report, 396)
    assert "617.9x quieter" in report
    assert torch.equal(states(masked), states(conditioning))
    masked, _ = run(pack.OutlierMask, **inputs, direction="quiet")
    assert bool((states(masked)[..., 396] == 0).all())


def test_the_token_that_carries_an_outlier_is_named(clip, pack):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-6)
    hidden = states(encoding).clone()
    hidden[0, 5, 77] = 4000.0
    conditioning = with_states(encoding, hidden)
    _, report = run(pack.OutlierMask, conditioning=conditioning)
    assert record(conditioning).texts[5] == " fox"
    assert "5 ' fox' (text)" in row(report, 77) and "sink-borne" in row(report, 77)
    assert "sink tokens: 5 ' fox' (text)" in report


@pytest.mark.parametrize("mode", ["zero", "sink to mean"])
def test_the_report_ends_with_the_change_after_rms_norm(pack, mode):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(1, 12, 48, generator=generator)
    hidden[0, 2, 7] = 900.0
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]], mode=mode)

    def seen(tensor: torch.Tensor) -> np.ndarray:
        x = tensor[0].double().numpy()
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)

    before, after = seen(hidden), seen(states(masked))
    change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    norms = np.linalg.norm(after, axis=1) * np.linalg.norm(before, axis=1)
    cosine = (before * after).sum(axis=1) / norms
    last = report.splitlines()[-1]
    assert "what the DiT sees" in last
    assert f"relative L2 {change.mean():.4f} mean, {change.max():.4f} at most" in last
    assert f"cosine {cosine.mean():.5f} mean, {cosine.min():.5f} at least" in last


def regional(host, clip, pack) -> list:
    """Three regions, as three stock nodes make them; encoded at two layers."""
    nodes = host.nodes
    regions = []
    for number, (text, layer) in enumerate([("a fox", -6), ("deep snow at dusk", -2), ("", -6)]):
        encoding, _ = run(pack.Qwen3Encode, clip=clip, text=text, layer=layer)
        [area] = nodes.ConditioningSetArea().append(encoding, 64, 128, 64 * number, 0, 0.5)
        regions += area
    return nodes.ConditioningCombine().combine(regions[:1], regions[1:])[0]


def test_every_region_is_masked_and_keeps_its_keys(host, clip, pack):
    regions = regional(host, clip, pack)
    before = snapshot(regions)
    masked, report = run(pack.OutlierMask, conditioning=regions, threshold=1.2, direction="both")
    assert len(masked) == 3
    for (hidden, options), (old, kept) in zip(masked, regions, strict=True):
        assert hidden.shape == old.shape and not torch.equal(hidden, old)
        assert same_options(options, {k: v for k, v in kept.items() if k != "layer_lab"})
        assert options["strength"] == 0.5 and options["area"][3] in (0, 8, 16)
        assert options["layer_lab"].ids == kept["layer_lab"].ids
    assert report.count("what the DiT sees") == 3
    assert unchanged(regions, before)


@pytest.mark.parametrize("mode", ["zero", "scale", "drop sinks", "sink to mean"])
def test_inputs_are_never_modified(pack, mode):
    hidden = torch.randn(1, 12, 48, generator=torch.Generator().manual_seed(3))
    hidden[0, 2, 7] = 900.0
    conditioning = [[hidden, {"attention_mask": torch.ones(1, 12), "strength": 0.5}]]
    before = snapshot(conditioning)
    run(pack.OutlierMask, conditioning=conditioning, mode=mode)
    assert unchanged(conditioning, before)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["zero", "drop sinks"])
def test_a_non_finite_value_is_named_by_token_and_dimension(pack, value, mode):
    hidden = torch.randn(1, 6, 2560, generator=torch.Generator().manual_seed(1))
    hidden[0, 3, 396] = value
    with pytest.raises(ValueError, match=rf"token 3 dimension 396 is {value}"):
        run(pack.OutlierMask, conditioning=[[hidden, {}]], mode=mode)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, 0.0, -3.0])
def test_a_threshold_that_is_no_usable_number_is_refused(pack, threshold):
    message = pack.OutlierMask.validate_inputs(threshold=threshold)
    assert isinstance(message, str) and "threshold" in message
    with pytest.raises(ValueError, match="threshold"):
        run(pack.OutlierMask, conditioning=[[torch.ones(1, 4, 8), {}]], threshold=threshold)


def test_a_usable_or_connected_threshold_passes_validation(pack):
    assert pack.OutlierMask.validate_inputs(threshold=10.0) is True
    assert pack.OutlierMask.validate_inputs(threshold=None) is True


def test_a_reference_of_another_width_is_refused(pack):
    reference = Reference(torch.zeros(768), torch.ones(768), 0.0, 1.0)
    with pytest.raises(ValueError, match="768.*2560"):
        run(pack.OutlierMask, conditioning=[[torch.ones(1, 4, 2560), {}]], reference=reference)


def test_a_selection_of_nothing_is_refused(clip, pack):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="", layer=-6)
    for tokens in ("image", "text"):
        with pytest.raises(ValueError, match=f"'{tokens}' selects nothing"):
            run(pack.OutlierMask, conditioning=encoding, tokens=tokens)


@pytest.mark.parametrize("hidden", [torch.ones(2, 3, 4, 5), torch.ones(1, 0, 8), None])
def test_conditioning_without_states_is_refused(pack, hidden):
    with pytest.raises(ValueError, match="conditioning"):
        run(pack.OutlierMask, conditioning=[[hidden, {}]])


def test_one_token_alone_passes_through(pack):
    hidden = torch.randn(1, 1, 64)
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]])
    assert torch.equal(states(masked), hidden)
    assert "one token" in report


def test_the_result_goes_through_the_stock_sampler(host, clip, model, pack):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-6)
    masked, _ = run(pack.OutlierMask, conditioning=encoding, threshold=1.2)
    [negative] = host.nodes.ConditioningZeroOut().zero_out(masked)
    plain, edited = (
        ksample(model, positive, negative, empty_latent(64, 64), steps=1)["samples"]
        for positive in (encoding, masked)
    )
    assert bool(edited.isfinite().all()) and not torch.equal(plain, edited)
    assert Role.TEXT in record(masked).roles


def test_where_only_the_other_direction_was_found_the_first_line_says_what_to_set(pack):
    """Image tokens are quiet, by the published figures, where the default masks what is loud."""
    std = published_std()
    quiet = std.clone()
    quiet[[396, 4]] /= 100.0
    loud = std.clone()
    loud[7] *= 100.0
    hidden = normal_states(quiet)
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]])
    assert torch.equal(states(masked), hidden)
    assert report.split("\n")[0] == (
        "nothing was masked: 2 dimensions are over 10x quieter than the reference and none louder; "
        "set direction to quiet to mask what was found"
    )
    masked, report = run(pack.OutlierMask, conditioning=[[hidden, {}]], direction="quiet")
    assert (states(masked)[0, :, [4, 396]] == 0).all() and "nothing was masked" not in report
    _, report = run(pack.OutlierMask, conditioning=[[normal_states(loud), {}]], direction="quiet")
    assert report.split("\n")[0] == (
        "nothing was masked: 1 dimension is over 10x louder than the reference and none quieter; "
        "set direction to loud to mask what was found"
    )


def test_the_page_is_sent_the_value_that_would_help_as_strings(pack):
    """Not as a dict, which the host counts as a picture."""
    std = published_std()
    quiet, loud, normal = std.clone(), std.clone(), normal_states(std)
    quiet[396] /= 100.0
    loud[7] *= 100.0
    quiet, loud = normal_states(quiet), normal_states(loud)

    def suggested(*hidden, **settings):
        values = {
            **{"mode": "zero", "threshold": 10.0, "direction": "loud", "tokens": "auto"},
            **{"exclude_sinks": False, **settings},
        }
        entries = [[states, {}] for states in hidden]
        shown = pack.OutlierMask.execute(conditioning=entries, **values).ui
        return shown.get("suggested_value")

    assert suggested(quiet) == suggested(normal, quiet) == ["direction", "quiet"]
    assert suggested(loud, direction="quiet") == ["direction", "loud"]
    assert suggested(quiet, loud) == ["direction", "both"]
    assert suggested(normal) is suggested(quiet, direction="both") is None
    assert suggested(quiet, mode="drop sinks") is None


@pytest.mark.parametrize(
    "settings", [{}, {"direction": "both"}, {"mode": "drop sinks", "direction": "loud"}]
)
def test_where_nothing_is_left_out_by_the_direction_nothing_is_said_of_it(pack, settings):
    std = published_std()
    if settings:
        std[396] /= 100.0
    _, report = run(pack.OutlierMask, conditioning=[[normal_states(std), {}]], **settings)
    assert "nothing was masked" not in report
