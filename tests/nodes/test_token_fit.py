"""Fit Tokens over real encodings and hand-made conditioning, and bad input."""

import math

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from ..oracles.resampling import area_weights, linear_weights
from ..oracles.token_fit_formulas import attention
from .stock import (
    empty_latent,
    ksample,
    output,
    record,
    run,
    same_options,
    snapshot,
    states,
    text_encode,
    unchanged,
)

METHODS = ["truncate", "interpolate", "pool", "attention pool"]
TEXT = "a lighthouse in a storm, oil painting, thick strokes, at dusk"


@pytest.fixture(scope="module")
def encoding(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT)[0]


@pytest.fixture(scope="module")
def regions(host, clip, pack):
    """Three entries, each for its own part of the picture."""
    area = host.nodes.ConditioningSetArea()
    entries = []
    with torch.inference_mode():
        for number, prompt in enumerate(["a fox", "deep snow at dusk, a cabin, smoke", TEXT]):
            encoding, _ = run(pack.Qwen3Encode, clip=clip, text=prompt)
            entries += area.append(encoding, 64, 64, 64 * number, 0, 0.5)[0]
    return entries


def plain(tokens=40, width=64, sinks=(), seed=0, **options):
    """One entry of random states without a record."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(1, tokens, width, generator=generator)
    hidden[:, list(sinks)] *= 100
    return [[hidden, options]]


def with_sink(conditioning, position):
    """The same with one token a thousand times as long; the record still fits."""
    [[hidden, options]] = conditioning
    hidden = hidden.clone()
    hidden[:, position] *= 1000
    return [[hidden, {**options, "layer_lab": record(conditioning).sealed(hidden)}]]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_shortens_real_states_by_its_formula(pack, encoding, method):
    x = states(encoding)[0].double().numpy()
    tokens = len(x)
    [result] = run(pack.FitTokens, conditioning=encoding, max_tokens=7, method=method)
    weights = {
        "truncate": np.eye(tokens)[:7],
        "interpolate": linear_weights(tokens, 7),
        "pool": area_weights(tokens, 7),
        "attention pool": attention(x, 7),
    }[method]
    expected = weights @ x
    assert states(result).shape == (1, 7, 2560)
    assert np.abs(states(result)[0].numpy() - expected).max() < 2e-5 * np.abs(expected).max()
    # Attention gives every token a little; under 1 % of an even share it counts for nothing.
    least = 0.01 / tokens if method == "attention pool" else 1e-12
    lost = int((weights.max(0) < least).sum())
    [edit] = record(result).edits
    assert edit.startswith(f"fit: {method}, {tokens} to 7 tokens")
    assert edit.endswith(f"{lost} tokens lost" if lost else "no token lost")


@pytest.mark.parametrize("method", METHODS)
def test_the_default_budget_is_512(pack, method):
    long = plain(4100)
    answer = output(pack.FitTokens, conditioning=long, method=method)
    [result] = answer.args
    assert states(result).shape == (1, 512, 64) and len(record(result)) == 512
    assert answer.ui["text"][0] == record(result).edits[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_conditioning_that_fits_passes_through_untouched(pack, encoding, method):
    tokens = states(encoding).shape[1]
    answer = output(pack.FitTokens, conditioning=encoding, max_tokens=tokens, method=method)
    [result] = answer.args
    assert states(result) is states(encoding)
    assert record(result) == record(encoding)
    assert same_options(result[0][1], {k: v for k, v in encoding[0][1].items() if k != "layer_lab"})
    assert "nothing changed" in answer.ui["text"][0]


def test_truncating_keeps_the_first_tokens_with_their_record_and_mask(pack, encoding):
    [result] = run(pack.FitTokens, conditioning=encoding, max_tokens=5)
    old, new = record(encoding), record(result)
    assert torch.equal(states(result), states(encoding)[:, :5])
    assert (new.ids, new.texts, new.roles) == (old.ids[:5], old.texts[:5], old.roles[:5])
    assert (new.layer, new.source, new.fingerprint) == (old.layer, old.source, old.fingerprint)
    assert result[0][1]["attention_mask"].shape == (1, 5)
    assert old.edits == ()


def test_a_pooled_token_is_described_by_the_one_in_its_middle(pack, encoding):
    """Read on by another node of the pack, so the record still counts as fitting."""
    [result] = run(pack.FitTokens, conditioning=encoding, max_tokens=5, method="pool")
    tokens = states(encoding).shape[1]
    middles = [int((i + 0.5) * tokens / 5) for i in range(5)]
    assert record(result).texts == tuple(record(encoding).texts[i] for i in middles)
    assert record(result).roles == tuple(record(encoding).roles[i] for i in middles)
    [again] = run(pack.FitTokens, conditioning=result, max_tokens=3)
    assert record(again).texts == record(result).texts[:3]
    assert len(record(again).edits) == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_token_made_from_several_has_no_id_and_an_old_one_keeps_its_own(pack, encoding, method):
    sunk = with_sink(encoding, 0)
    old = record(sunk)
    [result] = run(pack.FitTokens, conditioning=sunk, max_tokens=6, method=method)
    if method == "truncate":
        assert record(result).ids == old.ids[:6]
    else:
        assert record(result).ids == (old.ids[0], *[-1] * 5)
    assert old.ids.count(-1) == 0


def test_a_sample_that_falls_on_an_old_token_keeps_its_id(pack, encoding):
    """A third of the tokens: every sampling point is the middle one of three."""
    tokens = states(encoding).shape[1] // 3 * 3
    [cut] = run(pack.FitTokens, conditioning=encoding, max_tokens=tokens)
    [result] = run(pack.FitTokens, conditioning=cut, max_tokens=tokens // 3, method="interpolate")
    assert record(result).ids == record(cut).ids[1::3]
    assert torch.equal(states(result), states(cut)[:, 1::3])


@pytest.mark.parametrize("method", METHODS)
def test_the_attention_mask_is_that_of_the_tokens_left_or_of_the_middle_one_of_those_mixed(
    pack, method
):
    mask = torch.ones(1, 40).long()
    mask[0, [2, 5]] = 0  # Of 40 tokens in 4 the middle ones are 5, 15, 25 and 35.
    conditioning = plain(40, attention_mask=mask, strength=0.4)
    [result] = run(pack.FitTokens, conditioning=conditioning, max_tokens=4, method=method)
    options = result[0][1]
    assert options["strength"] == 0.4
    expected = [1, 1, 0, 1] if method == "truncate" else [0, 1, 1, 1]
    assert options["attention_mask"].tolist() == [expected]


@pytest.mark.parametrize("method", METHODS)
def test_every_region_is_fitted_by_itself_and_keeps_its_options(pack, regions, method):
    before = snapshot(regions)
    budget = regions[0][0].shape[1]
    [result] = run(pack.FitTokens, conditioning=regions, max_tokens=budget, method=method)
    for entry, region in zip(result, regions, strict=True):
        [alone] = run(pack.FitTokens, conditioning=[region], max_tokens=budget, method=method)
        assert torch.equal(entry[0], states(alone)) and entry[0].shape[1] == budget
        assert entry[1]["area"] == region[1]["area"]
        assert entry[1]["layer_lab"].source == region[1]["layer_lab"].source
    assert [len(entry[1]["layer_lab"].edits) for entry in result] == [0, 1, 1]
    assert unchanged(regions, before)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_sink_stays_bit_for_bit_and_is_named(pack, encoding, method):
    sunk = with_sink(encoding, 0)
    [result] = run(pack.FitTokens, conditioning=sunk, max_tokens=6, method=method)
    rest = [[states(encoding)[:, 1:], {}]]
    [alone] = run(pack.FitTokens, conditioning=rest, max_tokens=5, method=method)
    assert torch.equal(states(result)[:, 0], states(sunk)[:, 0])
    assert torch.allclose(states(result)[:, 1:], states(alone), atol=1e-6)
    assert f"sinks kept: {record(encoding).describe(0)}," in record(result).edits[0]


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_left_out_first(pack, padded, method):
    roles = record(padded).roles
    real = [i for i, role in enumerate(roles) if role is not Role.PAD]
    gone = len(roles) - len(real)
    assert gone > 0
    [enough] = run(pack.FitTokens, conditioning=padded, max_tokens=len(real), method=method)
    assert torch.equal(states(enough), states(padded)[:, real])
    assert f"{gone} padding tokens left out, no token lost" in record(enough).edits[0]
    assert bool((enough[0][1]["attention_mask"] == 1).all())
    [result] = run(pack.FitTokens, conditioning=padded, max_tokens=4, method=method)
    bare = [[states(padded)[:, real], {}]]
    [alone] = run(pack.FitTokens, conditioning=bare, max_tokens=4, method=method)
    assert torch.equal(states(result), states(alone))
    assert Role.PAD not in record(result).roles


def test_a_stock_conditioning_without_a_record_is_fitted_as_text(clip, pack):
    stock = text_encode(clip, TEXT)
    [result] = run(pack.FitTokens, conditioning=stock, max_tokens=6)
    assert torch.equal(states(result), states(stock)[:, :6])
    assert set(record(result).roles) == {Role.TEXT} and len(record(result).edits) == 1


@pytest.mark.parametrize("method", ["truncate", "pool"])
def test_the_result_goes_through_the_stock_sampler(host, model, pack, encoding, method):
    [fitted] = run(pack.FitTokens, conditioning=encoding, max_tokens=6, method=method)
    [negative] = host.nodes.ConditioningZeroOut().zero_out(fitted)
    sampled = ksample(model, fitted, negative, empty_latent(64, 64), steps=1)["samples"]
    assert bool(sampled.isfinite().all())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(pack, method, dtype):
    conditioning = [[states(plain()).to(dtype), {}]]
    [result] = run(pack.FitTokens, conditioning=conditioning, max_tokens=6, method=method)
    assert states(result).dtype == dtype


@pytest.mark.parametrize(
    "budget", [math.nan, math.inf, 0, -3, 16385, "x", True, [1], {"a": 1}, 10**400]
)
def test_a_budget_out_of_range_is_refused_before_it_runs(pack, budget):
    message = pack.FitTokens.validate_inputs(max_tokens=budget)
    assert isinstance(message, str) and "max_tokens" in message


def test_a_usable_or_connected_budget_passes_validation(pack):
    for budget in (1, 512, 16384, None):
        assert pack.FitTokens.validate_inputs(max_tokens=budget) is True


@pytest.mark.parametrize("budget", [math.nan, 0, 2.5])
def test_a_connected_budget_is_checked_when_it_runs(pack, budget):
    with pytest.raises(ValueError, match="max_tokens"):
        run(pack.FitTokens, conditioning=plain(), max_tokens=budget)


@pytest.mark.parametrize("method", METHODS[1:])
def test_a_budget_that_the_sinks_alone_fill_is_refused(pack, method):
    conditioning = plain(sinks=(0, 9))
    with pytest.raises(ValueError, match="max_tokens is 2, and 2 sink tokens.*drop sinks"):
        run(pack.FitTokens, conditioning=conditioning, max_tokens=2, method=method)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_value_is_named(pack, value):
    conditioning = plain()
    states(conditioning)[0, 4, 33] = value
    with pytest.raises(ValueError, match=f"token 4 dimension 33 is {value}"):
        run(pack.FitTokens, conditioning=conditioning)


@pytest.mark.parametrize("hidden", [torch.ones(1, 0, 64), torch.ones(1, 2, 3, 64), None])
def test_a_conditioning_without_states_is_refused(pack, hidden):
    with pytest.raises(ValueError, match="conditioning"):
        run(pack.FitTokens, conditioning=[[hidden, {}]])


def test_an_unknown_method_is_refused_by_name(pack):
    with pytest.raises(ValueError, match="'magic'.*attention pool"):
        run(pack.FitTokens, conditioning=plain(), max_tokens=5, method="magic")
