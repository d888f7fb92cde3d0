"""Embedding Blend over real encodings and hand-made conditioning, checked in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from ..oracles.resampling import area_weights, linear_weights
from .stock import (
    empty_latent,
    ksample,
    output,
    record,
    run,
    same_options,
    snapshot,
    states,
    unchanged,
)


def array(conditioning: list) -> np.ndarray:
    return states(conditioning)[0].double().numpy()


def rms(tokens: np.ndarray) -> np.ndarray:
    return np.sqrt((tokens**2).mean(axis=1, keepdims=True))


def matched(vision: np.ndarray, text: np.ndarray, match: str) -> np.ndarray:
    """facts of the issue: mean and unbiased std of the text side, or its rms token by token."""
    whole = (vision - vision.mean()) / vision.std(ddof=1) * text.std(ddof=1) + text.mean()
    z = (vision - vision.mean(axis=0)) / vision.std(axis=0, ddof=1)
    each = np.clip(z, -3, 3) * text.std(axis=0, ddof=1) + text.mean(axis=0)
    return {
        "none": vision,
        "global": whole,
        "per dimension": each,
        "hybrid": (whole + each) / 2,
        "rms per token": vision / rms(vision) * rms(text),
    }[match]


def assert_close(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < 2e-5 * np.sqrt((expected**2).mean())


@pytest.mark.parametrize("match", ["none", "global", "per dimension", "hybrid", "rms per token"])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_interpolate_averages_all_image_tokens_down_to_the_texts_length(
    pack, text, vision, match, alpha
):
    blended, _ = run(pack.Blend, text=text, vision=vision, alpha=alpha, match=match)
    side, whole = array(text), array(vision)
    other = matched(area_weights(len(whole), len(side)) @ whole, side, match)
    assert_close(array(blended), (1 - alpha) * side + alpha * other)


@pytest.mark.parametrize("match", ["none", "rms per token"])
def test_interpolate_llm_dit_is_their_two_point_sampling(pack, text, vision, match):
    blended, report = run(
        pack.Blend, text=text, vision=vision, method="interpolate (llm-dit)", match=match
    )
    side, whole = array(text), array(vision)
    other = matched(linear_weights(len(whole), len(side)) @ whole, side, match)
    assert_close(array(blended), 0.7 * side + 0.3 * other)
    used = 2 * len(side)
    assert f"{used} vision tokens used, {64 - used} lost" in report


def test_linear_mixes_pair_by_pair_and_says_how_many_tokens_it_lost(pack, text, vision):
    blended, report = run(pack.Blend, text=text, vision=vision, method="linear", match="none")
    side = array(text)
    assert_close(array(blended), 0.7 * side + 0.3 * array(vision)[: len(side)])
    assert f"{len(side)} vision tokens used, {64 - len(side)} lost" in report


def test_linear_leaves_text_tokens_beyond_the_vision_side_alone(pack, text, vision):
    short = [[states(vision)[:, :3], {}]]
    blended, report = run(pack.Blend, text=text, vision=short, method="linear", match="none")
    assert torch.equal(states(blended)[:, 3:], states(text)[:, 3:])
    assert f"{states(text).shape[1] - 3} text tokens had no vision token" in report


def test_a_shorter_vision_side_is_stretched_linearly(pack, text, vision):
    short = [[states(vision)[:, :5], {}]]
    blended, _ = run(pack.Blend, text=text, vision=short, match="none")
    side, rows = array(text), array(short)
    assert_close(array(blended), 0.7 * side + 0.3 * linear_weights(len(rows), len(side)) @ rows)


def test_append_gives_text_tokens_then_vision_tokens_with_their_roles(pack, text, vision):
    blended, report = run(pack.Blend, text=text, vision=vision, method="append", match="none")
    assert torch.equal(states(blended), torch.cat([states(text), states(vision)], dim=1))
    found = record(blended)
    assert found.roles == record(text).roles + record(vision).roles
    assert found.ids == record(text).ids + record(vision).ids
    assert found.roles.count(Role.IMAGE) == 64
    [[hidden, options]] = blended
    if "attention_mask" in text[0][1]:
        assert options["attention_mask"].shape[-1] == hidden.shape[1]
    assert "alpha 0.3 is not used" in report


def test_append_goes_behind_the_texts_padding(pack, padded, vision):
    assert Role.PAD in record(padded).roles
    blended, _ = run(pack.Blend, text=padded, vision=vision, method="append", match="none")
    assert torch.equal(states(blended), torch.cat([states(padded), states(vision)], dim=1))
    assert record(blended).roles == record(padded).roles + record(vision).roles


@pytest.mark.parametrize("masked", ["text", "vision", "both"])
@pytest.mark.parametrize("room", [None, 2])
def test_append_keeps_masked_tokens_masked(pack, masked, room):
    generator = torch.Generator().manual_seed(0)
    sides = {name: torch.randn(1, 6, 32, generator=generator) for name in ("text", "vision")}
    mask = torch.tensor([[1, 0, 1, 1, 0, 1]])
    inputs = {
        name: [[hidden, {"attention_mask": mask} if masked in (name, "both") else {}]]
        for name, hidden in sides.items()
    }
    limit = 1504 if room is None else 6 + room
    blended, _ = run(pack.Blend, **inputs, method="append", max_tokens=limit)
    ones = [1] * 6
    own = mask[0].tolist() if masked != "vision" else ones
    added = mask[0].tolist() if masked != "text" else ones
    # Six tokens in two: tokens 1 and 4 are the middle ones of three.
    added = added if room is None else [added[1], added[4]]
    assert blended[0][1]["attention_mask"].tolist() == [own + added]


def test_what_conditioning_concat_put_behind_a_mask_is_seen(pack):
    import nodes

    mask = torch.tensor([[1, 0, 1, 1]])
    [joined] = nodes.ConditioningConcat().concat(
        [[torch.randn(1, 4, 32), {"attention_mask": mask}]], [[torch.randn(1, 3, 32), {}]]
    )
    normal = run(pack.Normalize, conditioning=joined)[0]
    assert normal[0][1]["attention_mask"].tolist() == [[1, 0, 1, 1, 1, 1, 1]]
    [fitted] = run(pack.FitTokens, conditioning=joined, max_tokens=5)
    assert fitted[0][1]["attention_mask"].tolist() == [[1, 0, 1, 1, 1]]


@pytest.mark.parametrize("method", ["interpolate", "interpolate (llm-dit)", "linear"])
def test_alpha_0_returns_the_text_bit_for_bit(pack, text, vision, method):
    blended, report = run(pack.Blend, text=text, vision=vision, alpha=0.0, method=method)
    assert torch.equal(states(blended), states(text))
    assert "does not change" in report


def test_the_default_match_gives_every_token_the_texts_rms_at_alpha_1(pack, text, vision):
    blended, _ = run(pack.Blend, text=text, vision=vision, alpha=1.0)
    assert np.allclose(rms(array(blended)), rms(array(text)), rtol=1e-5)


def test_there_is_no_jump_near_either_end(pack, text, vision):
    ends = {
        alpha: array(run(pack.Blend, text=text, vision=vision, alpha=alpha)[0])
        for alpha in (0.0, 1e-4, 1 - 1e-4, 1.0)
    }
    scale = np.sqrt((array(text) ** 2).mean())
    assert np.abs(ends[1e-4] - ends[0.0]).max() < 0.01 * scale
    assert np.abs(ends[1 - 1e-4] - ends[1.0]).max() < 0.01 * scale


def test_different_layers_of_the_sides_are_reported(pack, text, vision):
    _, report = run(pack.Blend, text=text, vision=vision)
    assert record(text).layer == -2 and record(vision).layer == -6
    assert "different layers: layer -2 and layer -6" in report
    assert "qwen_3_4b" in report and "qwen3vl_4b" in report


def test_equal_layers_are_not_reported_as_different(clip, pack, vision):
    text, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-6)
    _, report = run(pack.Blend, text=text, vision=vision)
    assert "different layers" not in report


def test_the_report_ends_with_what_the_dit_sees(pack, text, vision):
    result = output(pack.Blend, text=text, vision=vision)
    blended, report = result.args

    def seen(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)

    before, after = seen(array(text)), seen(array(blended))
    change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    last = report.splitlines()[-1]
    assert f"relative L2 {change.mean():.4f} mean, {change.max():.4f} at most" in last
    assert result.ui["text"][0] == report


def test_the_record_stays_the_texts_and_gains_an_edit(pack, text, vision):
    blended, _ = run(pack.Blend, text=text, vision=vision)
    assert record(blended).ids == record(text).ids
    *_, edit = record(blended).edits
    assert "interpolate" in edit and "alpha 0.3" in edit and "-6" in edit
    assert record(text).edits == ()


def test_the_texts_own_keys_are_kept(pack, text, vision):
    marked = [[states(text), {**text[0][1], "strength": 0.4, "area": (8, 8, 0, 0)}]]
    blended, _ = run(pack.Blend, text=marked, vision=vision)
    expected = {key: value for key, value in marked[0][1].items() if key != "layer_lab"}
    assert same_options(blended[0][1], expected)


@pytest.mark.parametrize("method", ["interpolate", "linear", "append"])
def test_inputs_are_never_modified(pack, text, vision, method):
    before = snapshot(text), snapshot(vision)
    run(pack.Blend, text=text, vision=vision, method=method, alpha=1.0)
    assert unchanged(text, before[0]) and unchanged(vision, before[1])


@pytest.mark.parametrize("method", ["interpolate", "append"])
def test_the_result_goes_through_the_stock_sampler(host, model, pack, text, vision, method):
    blended, _ = run(pack.Blend, text=text, vision=vision, method=method)
    [negative] = host.nodes.ConditioningZeroOut().zero_out(blended)
    plain, mixed = (
        ksample(model, positive, negative, empty_latent(64, 64), steps=1)["samples"]
        for positive in (text, blended)
    )
    assert bool(mixed.isfinite().all()) and not torch.equal(plain, mixed)
