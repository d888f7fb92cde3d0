"""Outlier Mask over real encodings and hand-made conditioning, checked with NumPy in float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.record.record import Role

from .stock import output, record, run, states, with_states

THRESHOLD = 1.2
"""Random weights have no massive activations, so real encodings need a low threshold."""


@pytest.fixture(scope="module")
def encoding(clip, pack):
    """Layer -6 of a prompt: no published figures there, so its own median is what counts."""
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a red fox in deep snow", layer=-6)[0]


@pytest.fixture(scope="module")
def image_encoding(vl_clip, pack):
    with torch.inference_mode():
        pixels = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=pixels, text="a red fox")[0]


def own_figures(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and unbiased std of each dimension over tokens, and the median of those stds."""
    std = hidden.std(axis=0, ddof=1)
    return hidden.mean(axis=0), std, float(np.median(std))


def expected_mask(hidden: np.ndarray, mode: str, direction: str) -> tuple[np.ndarray, np.ndarray]:
    """The masked (tokens, width) and which dimensions were masked, by the issue's definitions."""
    mean, std, reference = own_figures(hidden)
    loud, quiet = std > THRESHOLD * reference, std < reference / THRESHOLD
    chosen = {"loud": loud, "quiet": quiet, "both": loud | quiet}[direction]
    target = np.where(loud, THRESHOLD * reference, reference / THRESHOLD)
    masked = {
        "zero": np.zeros_like(hidden),
        "mean": np.broadcast_to(mean, hidden.shape),
        "clamp": np.clip(hidden, mean - THRESHOLD * reference, mean + THRESHOLD * reference),
        "scale": mean + (hidden - mean) * (target / std),
    }[mode]
    return np.where(chosen, masked, hidden), chosen


@pytest.mark.parametrize("direction", ["loud", "quiet", "both"])
@pytest.mark.parametrize("mode", ["zero", "mean", "clamp", "scale"])
def test_every_mode_and_direction_on_a_real_encoding_equals_numpy(pack, encoding, mode, direction):
    masked, _ = run(
        pack.OutlierMask,
        conditioning=encoding,
        mode=mode,
        threshold=THRESHOLD,
        direction=direction,
    )
    hidden = states(encoding)[0].double().numpy()
    expected, chosen = expected_mask(hidden, mode, direction)
    assert 0 < chosen.sum() < hidden.shape[1]
    result = states(masked)[0].double().numpy()
    assert np.abs(result - expected).max() < 1e-5 * np.sqrt((hidden**2).mean())
    assert np.array_equal(result[:, ~chosen], hidden[:, ~chosen])


def test_scale_and_clamp_differ(pack, encoding):
    scaled, clamped = (
        states(run(pack.OutlierMask, conditioning=encoding, mode=mode, threshold=THRESHOLD)[0])
        for mode in ("scale", "clamp")
    )
    assert not torch.allclose(scaled, clamped)


def test_auto_masks_image_tokens_only_where_there_are_any(pack, image_encoding):
    masked, report = run(pack.OutlierMask, conditioning=image_encoding, threshold=THRESHOLD)
    is_image = torch.tensor([role is Role.IMAGE for role in record(image_encoding).roles])
    hidden, result = states(image_encoding), states(masked)
    assert torch.equal(result[:, ~is_image], hidden[:, ~is_image])
    expected, _ = expected_mask(hidden[0, is_image].double().numpy(), "zero", "loud")
    assert np.allclose(result[0, is_image].double().numpy(), expected)
    assert "64 (image)" in report


def test_text_tokens_alone_can_be_masked(pack, image_encoding):
    masked, _ = run(
        pack.OutlierMask, conditioning=image_encoding, threshold=THRESHOLD, tokens="text"
    )
    is_text = torch.tensor([role is Role.TEXT for role in record(image_encoding).roles])
    hidden, result = states(image_encoding), states(masked)
    assert torch.equal(result[:, ~is_text], hidden[:, ~is_text])
    expected, _ = expected_mask(hidden[0, is_text].double().numpy(), "zero", "loud")
    assert np.allclose(result[0, is_text].double().numpy(), expected)


def test_all_means_template_and_text_and_image_together(pack, image_encoding):
    masked, _ = run(
        pack.OutlierMask, conditioning=image_encoding, threshold=THRESHOLD, tokens="all"
    )
    hidden = states(image_encoding)[0].double().numpy()
    expected, _ = expected_mask(hidden, "zero", "loud")
    assert np.allclose(states(masked)[0].double().numpy(), expected)


def test_conditioning_without_a_record_is_masked_over_all_tokens(pack, encoding):
    bare = [[states(encoding), {}]]
    masked, report = run(pack.OutlierMask, conditioning=[[states(encoding)[..., :100], {}]])
    assert states(masked).shape == (1, states(bare).shape[1], 100)
    assert "unknown layer" in report and "unknown encoder" in report


def test_a_batch_in_one_entry_is_measured_together(pack):
    hidden = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(2)).double()
    hidden[:, :, 5] *= 40
    masked, _ = run(pack.OutlierMask, conditioning=[[hidden.float(), {}]])
    result = states(masked)
    assert result.shape == (2, 9, 64)
    assert bool((result[..., 5] == 0).all())
    others = [d for d in range(64) if d != 5]
    assert torch.equal(result[..., others], hidden.float()[..., others])


@pytest.mark.parametrize("mode", ["zero", "mean", "clamp", "scale", "sink to mean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept_and_nothing_turns_to_infinity(pack, mode, dtype):
    hidden = torch.randn(1, 20, 64, generator=torch.Generator().manual_seed(7)).to(dtype)
    hidden[0, 3, 9] = 60000.0
    masked, _ = run(pack.OutlierMask, conditioning=[[hidden, {}]], mode=mode)
    assert states(masked).dtype == dtype
    assert bool(states(masked).isfinite().all()) and not torch.equal(states(masked), hidden)


def test_a_connected_reference_decides(pack):
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(1, 50, 32, generator=generator)
    std = hidden[0].double().std(0)
    reference = Reference(
        mean=torch.full((32,), 7.0, dtype=torch.float64),
        std=torch.where(torch.arange(32) == 3, std / 20, std),
        global_mean=0.0,
        global_std=1.0,
        provenance={"model": "my own encoder", "layer": "-9"},
    )
    masked, report = run(
        pack.OutlierMask, conditioning=[[hidden, {}]], mode="mean", reference=reference
    )
    assert "my own encoder at layer -9" in report and "20.0x louder" in report
    result = states(masked)[0]
    assert bool((result[:, 3] == 7.0).all())
    others = [d for d in range(32) if d != 3]
    assert torch.equal(result[:, others], hidden[0][:, others])


def test_exclude_sinks_judges_without_them(pack):
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(1, 40, 64, generator=generator)
    hidden[0, 0, 8] = 5000.0
    with_sinks, _ = run(pack.OutlierMask, conditioning=[[hidden, {}]])
    without, report = run(pack.OutlierMask, conditioning=[[hidden, {}]], exclude_sinks=True)
    assert bool((states(with_sinks)[..., 8] == 0).all())
    assert torch.equal(states(without), hidden)
    assert "nothing changed" in report


@pytest.mark.parametrize("mode", ["drop sinks", "sink to mean"])
def test_sink_modes_leave_a_conditioning_without_sinks_alone(pack, encoding, mode):
    masked, report = run(pack.OutlierMask, conditioning=encoding, mode=mode)
    assert torch.equal(states(masked), states(encoding))
    assert "no sink token" in report


def sink_conditioning() -> list:
    """Ten tokens, numbers 0 and 4 of them sinks, with a mask that tells every token apart."""
    hidden = torch.randn(1, 10, 64, generator=torch.Generator().manual_seed(6))
    hidden[0, [0, 4]] *= 100
    return [[hidden, {"attention_mask": torch.arange(10)[None], "pooled_output": None}]]


def test_drop_sinks_removes_the_tokens_and_shortens_the_attention_mask_with_them(pack):
    conditioning = sink_conditioning()
    masked, report = run(pack.OutlierMask, conditioning=conditioning, mode="drop sinks")
    left = [1, 2, 3, 5, 6, 7, 8, 9]
    assert torch.equal(states(masked), states(conditioning)[:, left])
    assert masked[0][1]["attention_mask"].tolist() == [left]
    assert len(record(masked)) == 8
    assert "2 tokens are gone" in report


def test_drop_sinks_keeps_the_records_of_the_tokens_that_are_left(pack, encoding):
    hidden = states(encoding).clone()
    hidden[0, 0] *= 1000
    conditioning = with_states(encoding, hidden)
    masked, report = run(pack.OutlierMask, conditioning=conditioning, mode="drop sinks")
    assert record(masked).ids == record(encoding).ids[1:]
    assert record(masked).roles == record(encoding).roles[1:]
    assert masked[0][1]["attention_mask"].shape[1] == hidden.shape[1] - 1
    assert "0 '<|im_start|>' (template)" in report


def test_sink_to_mean_replaces_sinks_by_the_mean_of_the_others(pack):
    conditioning = sink_conditioning()
    masked, _ = run(pack.OutlierMask, conditioning=conditioning, mode="sink to mean")
    hidden, result = states(conditioning)[0].double(), states(masked)[0].double()
    left = [1, 2, 3, 5, 6, 7, 8, 9]
    assert torch.equal(result[left], hidden[left])
    assert torch.allclose(result[[0, 4]], hidden[left].mean(0).expand(2, -1), atol=1e-6)
    assert masked[0][1]["attention_mask"].tolist() == [list(range(10))]


def test_the_edit_is_added_to_the_record(pack, encoding):
    once, _ = run(pack.OutlierMask, conditioning=encoding, threshold=THRESHOLD)
    twice, _ = run(pack.OutlierMask, conditioning=once, mode="clamp", threshold=1.1)
    assert record(encoding).edits == ()
    assert len(record(once).edits) == 1 and len(record(twice).edits) == 2
    assert "zero" in record(twice).edits[0] and "clamp" in record(twice).edits[1]


def test_nothing_found_passes_the_tensor_through_and_says_so(pack, encoding):
    result = output(pack.OutlierMask, conditioning=encoding, threshold=10000.0)
    masked, report = result.args
    assert torch.equal(states(masked), states(encoding))
    assert record(masked).edits == ()
    assert "nothing changed" in report and "does not change" in report
    assert result.ui["text"][0] == report
