"""Embedding Blend with sinks, several entries, stale records and bad input."""

import logging
import math

import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from .stock import record, run, same_options, snapshot, states, unchanged


def made(tokens: int, width: int = 64, batch: int = 1, seed: int = 0, **options) -> list:
    """One entry of random states without a record."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(batch, tokens, width, generator=generator), options]]


def with_sink(conditioning: list, position: int) -> list:
    [[hidden, options]] = conditioning
    hidden = hidden.clone()
    hidden[:, position] *= 100
    return [[hidden, options]]


def test_conditioning_without_records_is_blended_as_text(pack):
    text, vision = made(8, seed=1), made(20, seed=2)
    blended, report = run(pack.Blend, text=text, vision=vision)
    assert states(blended).shape == states(text).shape
    assert set(record(blended).roles) == {Role.TEXT} and record(blended).layer is None
    assert "unknown layer" in report


def test_the_texts_sink_passes_through_and_the_others_are_mixed_without_it(pack):
    text, vision = made(8, seed=1), made(21, seed=2)
    sunk = with_sink(text, 0)
    blended, report = run(pack.Blend, text=sunk, vision=vision)
    assert torch.equal(states(blended)[:, 0], states(sunk)[:, 0])
    rest = [[states(text)[:, 1:], {}]]
    expected, _ = run(pack.Blend, text=rest, vision=vision)
    assert torch.allclose(states(blended)[:, 1:], states(expected), atol=1e-6)
    assert "text sink tokens passed through unblended: 0" in report


@pytest.mark.parametrize("method", ["interpolate", "linear", "append"])
def test_the_vision_sides_sink_is_left_out(pack, method):
    text, vision = made(8, seed=1), made(20, seed=2)
    content = [i for i in range(20) if i != 5]
    without = [[states(vision)[:, content], {}]]
    ours, report = run(pack.Blend, text=text, vision=with_sink(vision, 5), method=method)
    expected, _ = run(pack.Blend, text=text, vision=without, method=method)
    assert torch.equal(states(ours), states(expected))
    assert "vision sink tokens left out: 5" in report
    assert len(record(ours)) == states(ours).shape[1]


def test_llm_dits_sampling_takes_sinks_as_they_do(pack):
    text, vision = made(8, seed=1), with_sink(made(8, seed=2), 3)
    blended, _ = run(
        pack.Blend,
        text=text,
        vision=vision,
        alpha=1.0,
        method="interpolate (llm-dit)",
        match="none",
    )
    assert torch.equal(states(blended), states(vision))


def test_one_vision_entry_serves_all_regions(host, clip, pack):
    nodes = host.nodes
    regions = []
    for number, prompt in enumerate(["a fox", "deep snow at dusk", "stars"]):
        encoding, _ = run(pack.Qwen3Encode, clip=clip, text=prompt)
        regions += nodes.ConditioningSetArea().append(encoding, 64, 64, 64 * number, 0, 0.5)[0]
    [combined] = nodes.ConditioningCombine().combine(regions[:1], regions[1:])
    vision = made(30, 2560)
    before = snapshot(combined)
    blended, report = run(pack.Blend, text=combined, vision=vision)
    for entry, region in zip(blended, combined, strict=True):
        alone, _ = run(pack.Blend, text=[region], vision=vision)
        assert torch.equal(entry[0], states(alone))
        assert not torch.equal(entry[0], region[0])
        assert same_options(entry[1], {k: v for k, v in region[1].items() if k != "layer_lab"})
    assert report.count("what the DiT sees") == 3
    assert unchanged(combined, before)


def test_as_many_vision_entries_as_text_entries_are_paired(pack):
    texts = made(6, seed=1) + made(9, seed=2)
    visions = made(20, seed=3) + made(30, seed=4)
    blended, _ = run(pack.Blend, text=texts, vision=visions)
    for entry, text, vision in zip(blended, texts, visions, strict=True):
        assert torch.equal(entry[0], states(run(pack.Blend, text=[text], vision=[vision])[0]))


@pytest.mark.parametrize(("texts", "visions"), [(3, 2), (1, 2), (2, 0)])
def test_entries_that_cannot_be_paired_are_refused(pack, texts, visions):
    with pytest.raises(ValueError, match=f"{texts} conditioning entries.*{visions}"):
        run(pack.Blend, text=made(4) * texts, vision=made(5) * visions)


def test_sides_of_different_width_are_refused(pack):
    with pytest.raises(ValueError, match="2560.*768"):
        run(pack.Blend, text=made(4, 2560), vision=made(5, 768))


def test_a_batch_of_texts_takes_one_image(pack):
    texts, vision = made(6, batch=3, seed=1), made(20, seed=2)
    blended, _ = run(pack.Blend, text=texts, vision=vision)
    assert states(blended).shape == (3, 6, 64)
    for number in range(3):
        alone, _ = run(pack.Blend, text=[[states(texts)[number : number + 1], {}]], vision=vision)
        assert torch.allclose(states(blended)[number], states(alone)[0], atol=1e-6)


def test_batches_that_do_not_fit_are_refused(pack):
    with pytest.raises(ValueError, match="batch of 2.*3"):
        run(pack.Blend, text=made(6, batch=2), vision=made(6, batch=3))


@pytest.mark.parametrize("alpha", [math.nan, math.inf, -0.1, 1.5])
def test_an_alpha_outside_0_to_1_is_refused(pack, alpha):
    message = pack.Blend.validate_inputs(alpha=alpha)
    assert isinstance(message, str) and "alpha" in message
    with pytest.raises(ValueError, match="alpha"):
        run(pack.Blend, text=made(4), vision=made(5), alpha=alpha)


def test_a_usable_or_connected_alpha_passes_validation(pack):
    for alpha in (0.0, 0.3, 1.0, None):
        assert pack.Blend.validate_inputs(alpha=alpha) is True


@pytest.mark.parametrize("side", ["text", "vision"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_value_is_named_by_side_token_and_dimension(pack, side, value):
    sides = {"text": made(6, seed=1), "vision": made(9, seed=2)}
    states(sides[side])[0, 4, 33] = value
    with pytest.raises(ValueError, match=f"the {side} side.*token 4 dimension 33 is {value}"):
        run(pack.Blend, **sides)


@pytest.mark.parametrize("hidden", [torch.ones(1, 0, 64), torch.ones(1, 2, 3, 64), None])
@pytest.mark.parametrize("side", ["text", "vision"])
def test_a_side_without_states_is_refused(pack, side, hidden):
    with pytest.raises(ValueError, match="conditioning"):
        run(pack.Blend, **{"text": made(4), "vision": made(5), side: [[hidden, {}]]})


def test_an_unknown_method_or_match_is_refused_by_name(pack):
    with pytest.raises(ValueError, match="'magic'.*interpolate"):
        run(pack.Blend, text=made(4), vision=made(5), method="magic")
    with pytest.raises(ValueError, match="'magic'.*rms per token"):
        run(pack.Blend, text=made(4), vision=made(5), match="magic")


def test_a_stale_record_is_dropped_with_a_warning(clip, pack, caplog):
    encoding, _ = run(pack.Qwen3Encode, clip=clip, text="a red fox")
    [[hidden, options]] = encoding
    cut = [[hidden[:, :5], options]]
    with caplog.at_level(logging.WARNING):
        blended, _ = run(pack.Blend, text=cut, vision=made(20, 2560))
    assert "dropped" in caplog.text and "changed the length" in caplog.text
    assert len(record(blended)) == 5 and set(record(blended).roles) == {Role.TEXT}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_texts_dtype_is_kept(pack, dtype):
    text = [[states(made(6, seed=1)).to(dtype), {}]]
    vision = made(20, seed=2)
    blended, _ = run(pack.Blend, text=text, vision=vision)
    assert states(blended).dtype == dtype
    exact, _ = run(pack.Blend, text=[[states(text).float(), {}]], vision=vision)
    assert torch.allclose(states(blended).float(), states(exact), atol=0.02)


def test_large_half_precision_states_do_not_turn_to_infinity(pack):
    text = [[(states(made(6, seed=1)) * 10000).half(), {}]]
    vision = [[states(made(20, seed=2)) * 10000, {}]]
    for match in ("none", "global", "per dimension", "hybrid", "rms per token"):
        blended, _ = run(pack.Blend, text=text, vision=vision, match=match, alpha=1.0)
        assert bool(states(blended).isfinite().all())
