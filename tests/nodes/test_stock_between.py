"""Stock conditioning nodes between ours: nothing breaks, and no record tells a lie."""

import logging

import pytest
import torch

from .stock import record, run, states, text_encode

TEXT = "A red fox in deep snow"
RECORD = "layer_lab"


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)[0]


@pytest.fixture(scope="module")
def owl(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="An owl", layer=-6)[0]


@pytest.fixture(scope="module")
def picture(vl_clip, pack):
    with torch.inference_mode():
        image = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=image, tokens="image", layer=-6)[0]


def edited(pack, conditioning, picture) -> dict[str, list]:
    """Every node that edits a conditioning, run on this one."""
    plain = [[states(picture).flip(1), {}]]
    return {
        "mask": run(pack.OutlierMask, conditioning=conditioning)[0],
        "normalize": run(pack.Normalize, conditioning=conditioning)[0],
        "blend": run(pack.Blend, text=conditioning, vision=picture)[0],
        "fit": run(pack.FitTokens, conditioning=conditioning, max_tokens=5, method="pool")[0],
        "style": run(pack.StyleDelta, text=conditioning, styled=picture, neutral=plain)[0],
        "schedule": run(pack.ScheduledBlend, text=conditioning, vision=picture, steps=1)[0],
    }


@pytest.mark.parametrize("stock", ["Concat", "Average", "Combine", "Range", "Area", "ZeroOut"])
def test_every_node_works_on_what_a_stock_node_made_of_ours(pack, fox, owl, picture, stock):
    conditioning = through(stock, fox, owl)
    for name, result in edited(pack, conditioning, picture).items():
        assert len(result) == len(conditioning), name
        for [hidden, options], [_, before] in zip(result, conditioning, strict=True):
            assert bool(hidden.isfinite().all()), name
            assert len(options[RECORD]) == hidden.shape[1], name
            kept = {"area", "strength", "set_area_to_bounds", "start_percent", "end_percent"}
            for key in kept & before.keys():
                if name != "schedule" or "percent" not in key:
                    assert options[key] == before[key], (name, key)
    assert run(pack.Describe, conditioning=conditioning)[0]
    picture_of_it, report = run(pack.OutlierReport, conditioning=conditioning)
    assert picture_of_it.shape[0] >= 1 and report


def through(stock: str, fox: list, owl: list) -> list:
    import nodes

    if stock == "Concat":
        return nodes.ConditioningConcat().concat(fox, owl)[0]
    if stock == "Average":
        return nodes.ConditioningAverage().addWeighted(fox, owl, 0.5)[0]
    if stock == "Combine":
        return nodes.ConditioningCombine().combine(fox, owl)[0]
    if stock == "Range":
        return nodes.ConditioningSetTimestepRange().set_range(fox, 0.1, 0.6)[0]
    if stock == "Area":
        return nodes.ConditioningSetArea().append(fox, 512, 512, 0, 0, 1.0)[0]
    return nodes.ConditioningZeroOut().zero_out(fox)[0]


@pytest.mark.parametrize(
    ("stock", "reason"),
    [("Concat", "changed the length"), ("Average", "changed the values"), ("ZeroOut", "values")],
)
def test_a_record_that_is_no_longer_true_is_dropped_with_a_warning(
    pack, fox, owl, stock, reason, caplog
):
    conditioning = through(stock, fox, owl)
    assert RECORD in conditioning[0][1], "the stock node copies it along"
    with caplog.at_level(logging.WARNING):
        text = run(pack.Describe, conditioning=conditioning)[0]
    assert reason in caplog.text
    assert "unknown layer" in text and TEXT not in text


@pytest.mark.parametrize("stock", ["Combine", "Range", "Area"])
def test_a_record_that_is_still_true_is_kept(pack, fox, owl, stock, caplog):
    with caplog.at_level(logging.WARNING):
        text = run(pack.Describe, conditioning=through(stock, fox, owl))[0]
    assert not caplog.records
    assert "layer -2" in text and TEXT in text


def test_regional_prompts_are_edited_one_by_one_and_keep_their_regions(pack, fox, owl, picture):
    import nodes

    [left] = nodes.ConditioningSetArea().append(fox, 256, 512, 0, 0, 1.0)
    [right] = nodes.ConditioningSetArea().append(owl, 256, 512, 256, 0, 0.6)
    [regions] = nodes.ConditioningCombine().combine(left, right)
    blended, report = run(pack.Blend, text=regions, vision=picture, alpha=0.4)
    for [hidden, options], single in zip(blended, (fox, owl), strict=True):
        alone, _ = run(pack.Blend, text=single, vision=picture, alpha=0.4)
        assert torch.equal(hidden, states(alone))
        assert options[RECORD].edits == record(alone).edits
    assert [options["area"] for _, options in blended] == [(64, 32, 0, 0), (64, 32, 0, 32)]
    assert [options["strength"] for _, options in blended] == [1.0, 0.6]
    assert report.count("vision tokens used") == 2


def test_no_node_changes_its_input(pack, fox, picture):
    before = states(fox).clone(), record(fox)
    edited(pack, fox, picture)
    assert torch.equal(states(fox), before[0]) and record(fox) is before[1]


def test_stock_text_is_accepted_by_every_node(pack, clip, picture):
    for name, result in edited(pack, text_encode(clip, TEXT), picture).items():
        assert bool(states(result).isfinite().all()), name


@pytest.mark.parametrize("method", ["interpolate", "append"])
def test_five_thousand_vision_tokens_all_count(pack, fox, method):
    generator = torch.Generator().manual_seed(0)
    vision = [[torch.randn(1, 5000, 2560, generator=generator), {}]]
    blended, report = run(pack.Blend, text=fox, vision=vision, method=method)
    assert "5000 vision tokens used, 0 lost" in report
    assert states(blended).shape[1] == (1504 if method == "append" else states(fox).shape[1])
