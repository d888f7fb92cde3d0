"""Normalize Embedding over real encodings, references built from them, and bad input."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.measure.reference import Reference, published_qwen3_4b
from zimage_layer_lab.core.record.record import Role

from .stock import output, record, run, same_options, snapshot, states, text_encode, unchanged

METHODS = ["global", "per dimension", "hybrid", "rms per token"]
PROMPTS = "a red fox\nthree wooden boats at dusk in the rain\na paper crane"


@pytest.fixture(scope="module")
def encoding(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a lighthouse in a storm, oil painting")[0]


@pytest.fixture(scope="module")
def reference(clip, pack):
    with torch.inference_mode():
        return run(pack.BuildReference, clip=clip, prompts=PROMPTS)[0]


@pytest.fixture(scope="module")
def regions(host, clip, pack):
    """Three entries, each for its own part of the picture."""
    area = host.nodes.ConditioningSetArea()
    entries = []
    with torch.inference_mode():
        for number, prompt in enumerate(["a fox", "deep snow at dusk", "stars"]):
            encoding, _ = run(pack.Qwen3Encode, clip=clip, text=prompt)
            entries += area.append(encoding, 64, 64, 64 * number, 0, 0.5)[0]
    return entries


@pytest.fixture(scope="module")
def other_layer(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a red fox", layer=-4)[0]


def array(conditioning):
    return states(conditioning)[0].double().numpy()


def rms(x):
    return np.sqrt((x**2).mean(axis=1, keepdims=True))


def with_sinks(conditioning, positions=(0,)):
    """The same with some tokens a thousand times as long; the record still fits."""
    [[hidden, options]] = conditioning
    hidden = hidden.clone()
    hidden[:, list(positions)] *= 1000
    return [[hidden, {**options, "layer_lab": record(conditioning).sealed(hidden)}]]


def plain(tokens=20, width=64, seed=0):
    """One entry of random states without a record."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, width, generator=generator), {}]]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_brings_real_states_to_a_built_reference(pack, encoding, reference, method):
    [result] = run(pack.Normalize, conditioning=encoding, method=method, reference=reference)
    x = array(encoding)
    mean, std = reference.mean_without_sinks.numpy(), reference.std_without_sinks.numpy()
    spread = np.sqrt((std**2).mean() + mean.var())
    whole = (x - x.mean()) / x.std(ddof=1) * spread + mean.mean()
    each = np.clip((x - x.mean(0)) / x.std(0, ddof=1), -3, 3) * std + mean
    expected = {
        "global": whole,
        "per dimension": each,
        "hybrid": (whole + each) / 2,
        "rms per token": x / rms(x) * np.sqrt((std**2 + mean**2).mean()),
    }[method]
    assert np.abs(array(result) - expected).max() < 1e-5 * np.abs(expected).max()
    [edit] = record(result).edits
    assert edit.startswith(f"normalize: {method} to ") and reference.name in edit


def test_by_default_every_token_gets_the_median_rms_and_the_image_model_sees_no_change(
    pack, encoding
):
    answer = output(pack.Normalize, conditioning=encoding)
    [result] = answer.args
    x = array(encoding)
    assert np.allclose(rms(array(result)), np.median(rms(x)), rtol=1e-6)
    [edit] = record(result).edits
    assert "rms per token to the median rms" in edit and "RMSNorm) does not change" in edit
    assert answer.ui["text"][0] == edit


def test_the_edit_says_how_much_the_image_model_sees(pack, encoding, reference):
    [result] = run(
        pack.Normalize, conditioning=encoding, method="per dimension", reference=reference
    )

    def seen(x):
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-5)

    before, after = seen(array(encoding)), seen(array(result))
    change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    assert (
        f"relative L2 {change.mean():.4f} mean, {change.max():.4f} at most"
        in (record(result).edits[0])
    )


@pytest.mark.parametrize("method", METHODS)
def test_sinks_are_kept_bit_for_bit_and_have_no_influence(pack, encoding, reference, method):
    sunk = with_sinks(encoding, (0, 3))
    [result] = run(pack.Normalize, conditioning=sunk, method=method, reference=reference)
    content = [i for i in range(states(sunk).shape[1]) if i not in (0, 3)]
    bare = [[states(encoding)[:, content], {}]]
    [alone] = run(pack.Normalize, conditioning=bare, method=method, reference=reference)
    assert torch.equal(states(result)[:, [0, 3]], states(sunk)[:, [0, 3]])
    assert torch.equal(states(result)[:, content], states(alone))
    names = [record(encoding).describe(i) for i in (0, 3)]
    assert f"sinks kept: {names[0]}, {names[1]};" in record(result).edits[0]


def test_keep_sinks_off_treats_them_like_all_others(pack, encoding):
    sunk = with_sinks(encoding)
    [result] = run(pack.Normalize, conditioning=sunk, keep_sinks=False)
    assert np.allclose(rms(array(result)), np.median(rms(array(sunk))), rtol=1e-6)
    assert "sinks kept" not in record(result).edits[0]


@pytest.mark.parametrize("method", METHODS)
def test_every_region_is_normalized_as_if_alone_and_keeps_its_options(
    pack, regions, reference, method
):
    before = snapshot(regions)
    [result] = run(pack.Normalize, conditioning=regions, method=method, reference=reference)
    for entry, region in zip(result, regions, strict=True):
        [alone] = run(pack.Normalize, conditioning=[region], method=method, reference=reference)
        assert torch.equal(entry[0], states(alone)) and not torch.equal(entry[0], region[0])
        assert same_options(entry[1], {k: v for k, v in region[1].items() if k != "layer_lab"})
        assert len(entry[1]["layer_lab"].edits) == 1
    assert unchanged(regions, before)


def test_a_stock_conditioning_without_a_record_is_normalized_as_text(clip, pack, encoding):
    stock = text_encode(clip, "a lighthouse in a storm, oil painting")
    [result] = run(pack.Normalize, conditioning=stock)
    [ours] = run(pack.Normalize, conditioning=encoding)
    assert torch.equal(states(result), states(ours))
    assert set(record(result).roles) == {Role.TEXT} and len(record(result).edits) == 1


def test_the_record_keeps_everything_else(pack, encoding):
    [result] = run(pack.Normalize, conditioning=encoding)
    old, new = record(encoding), record(result)
    assert old.edits == ()
    assert (new.ids, new.texts, new.roles) == (old.ids, old.texts, old.roles)
    assert (new.layer, new.source, new.fingerprint) == (old.layer, old.source, old.fingerprint)


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_neither_measured_nor_changed(pack, padded, reference, method):
    roles = record(padded).roles
    real = [i for i, role in enumerate(roles) if role is not Role.PAD]
    assert 0 < len(real) < len(roles)
    pads = [i for i in range(len(roles)) if i not in real]
    [result] = run(pack.Normalize, conditioning=padded, method=method, reference=reference)
    bare = [[states(padded)[:, real], {}]]
    [alone] = run(pack.Normalize, conditioning=bare, method=method, reference=reference)
    assert torch.equal(states(result)[:, pads], states(padded)[:, pads])
    assert torch.equal(states(result)[:, real], states(alone))


def test_nothing_changed_leaves_no_edit(host, pack, encoding):
    [zeroed] = host.nodes.ConditioningZeroOut().zero_out(encoding)
    answer = output(pack.Normalize, conditioning=zeroed)
    [result] = answer.args
    assert torch.equal(states(result), states(zeroed))
    [edit] = record(result).edits
    assert edit.startswith("record dropped"), "of what the stock node changed"
    assert "nothing changed" in answer.ui["text"][0]


@pytest.mark.parametrize("method", ["global", "hybrid"])
def test_the_published_figures_serve_where_sinks_are_not_kept(pack, encoding, method):
    [result] = run(pack.Normalize, conditioning=encoding, method=method, keep_sinks=False)
    published = published_qwen3_4b()
    x, mean, std = array(encoding), published.mean.numpy(), published.std.numpy()
    expected = (x - x.mean()) / x.std(ddof=1) * published.global_std + published.global_mean
    if method == "hybrid":
        each = np.clip((x - x.mean(0)) / x.std(0, ddof=1), -3, 3) * std + mean
        expected = (expected + each) / 2
    assert np.abs(array(result) - expected).max() < 1e-5 * np.abs(expected).max()
    [edit] = record(result).edits
    assert "published figures" in edit
    # The mean and std of all values together were published as they are.
    exact_in_five = "these published figures are exact in dimensions 0, 4, 9, 100, 396 only: "
    assert (exact_in_five in edit) == (method == "hybrid")


@pytest.mark.parametrize("method", ["global", "hybrid"])
def test_the_published_figures_are_refused_where_sinks_are_kept(pack, encoding, method):
    ways_out = "include them.*Build Reference Stats.*keep_sinks off.*'rms per token'"
    with pytest.raises(ValueError, match=ways_out):
        run(pack.Normalize, conditioning=encoding, method=method)


@pytest.mark.parametrize("keep_sinks", [True, False])
@pytest.mark.parametrize("method", ["global", "hybrid"])
def test_states_that_nothing_was_published_of_need_a_reference(
    pack, other_layer, method, keep_sinks
):
    for conditioning in (plain(), other_layer):
        with pytest.raises(ValueError, match="connect Build Reference Stats.*'rms per token'"):
            run(pack.Normalize, conditioning=conditioning, method=method, keep_sinks=keep_sinks)


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_with_sinks_only_is_refused_where_sinks_are_kept(pack, encoding, method):
    inputs = {"conditioning": encoding, "method": method, "reference": published_qwen3_4b()}
    with pytest.raises(ValueError, match="sink tokens only.*keep_sinks off"):
        run(pack.Normalize, **inputs)
    assert len(record(run(pack.Normalize, **inputs, keep_sinks=False)[0]).edits) == 1


def test_a_reference_of_another_layer_is_named_in_the_edit_and_the_log(
    pack, other_layer, reference, caplog
):
    remark = "the reference is of layer -2 and the states of layer -4"
    with caplog.at_level(logging.WARNING):
        [result] = run(
            pack.Normalize, conditioning=other_layer, method="global", reference=reference
        )
    assert remark in record(result).edits[0] and remark in caplog.text


def test_a_reference_of_the_same_layer_is_not_remarked_on(pack, encoding, reference, caplog):
    with caplog.at_level(logging.WARNING):
        [result] = run(pack.Normalize, conditioning=encoding, method="global", reference=reference)
    assert "states of layer" not in record(result).edits[0] + caplog.text


def test_a_reference_of_another_model_is_accepted_and_said_in_the_edit_and_the_log(
    pack, encoding, reference, caplog
):
    [own] = run(pack.Normalize, conditioning=encoding, method="global", reference=reference)
    assert "another model" not in record(own).edits[0]
    foreign = replace(
        reference,
        provenance={**reference.provenance, "model": "some_4b", "fingerprint": "0123abcd"},
    )
    with caplog.at_level(logging.WARNING):
        [result] = run(pack.Normalize, conditioning=encoding, method="global", reference=foreign)
    mine = record(encoding)
    remark = (
        "measured against some_4b at -2: another model (fingerprint 0123abcd; these states are of "
        f"{mine.source}, fingerprint {mine.fingerprint})"
    )
    assert record(result).edits[0].endswith(f"; {remark}") and f"{remark}." in caplog.text
    assert torch.equal(states(result), states(own)), "the numbers are the reference's, whoever's"


def test_a_reference_of_another_width_is_refused(pack, reference):
    with pytest.raises(ValueError, match="2560 dimensions.*64.*cannot be measured against"):
        run(pack.Normalize, conditioning=plain(), reference=reference)


def test_other_widths_and_dtypes_work_and_keep_theirs(pack):
    ones = torch.ones(64, dtype=torch.float64)
    own = Reference(ones, ones, 1.0, 1.0, ones, ones)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        conditioning = [[(states(plain()) * 1e4).to(dtype), {}]]
        for method in METHODS:
            [result] = run(pack.Normalize, conditioning=conditioning, method=method, reference=own)
            assert states(result).dtype == dtype and bool(states(result).isfinite().all())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_value_is_named(pack, value):
    conditioning = plain()
    states(conditioning)[0, 4, 33] = value
    with pytest.raises(ValueError, match=f"token 4 dimension 33 is {value}"):
        run(pack.Normalize, conditioning=conditioning)


@pytest.mark.parametrize("hidden", [torch.ones(1, 0, 64), torch.ones(1, 2, 3, 64), None])
def test_a_conditioning_without_states_is_refused(pack, hidden):
    with pytest.raises(ValueError, match="conditioning"):
        run(pack.Normalize, conditioning=[[hidden, {}]])
