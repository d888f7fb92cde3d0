"""What a record says after two conditionings became one: nothing lost, nothing untrue."""

import pytest
import torch
from zimage_layer_lab.core.record.record import Role

from .stock import output, record, run, states, text_encode

TEXT = "A red fox in deep snow"


@pytest.fixture(scope="module")
def fox(clip, pack):
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text=TEXT, layer=-2)[0]


@pytest.fixture(scope="module")
def picture(vl_clip, pack):
    with torch.inference_mode():
        image = torch.rand(1, 250, 250, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=image, tokens="image", layer=-6)[0]


@pytest.fixture(scope="module")
def masked(pack, picture):
    with torch.inference_mode():
        return run(pack.OutlierMask, conditioning=picture, threshold=1.0, direction="both")[0]


@pytest.mark.parametrize("method", ["interpolate", "append"])
def test_the_edits_of_both_sides_are_told_in_order(pack, fox, masked, method):
    blended, _ = run(pack.Blend, text=fox, vision=masked, method=method)
    read, mask, blend = record(blended).edits
    assert read.startswith("vision: image 1: 250x250 resized to 256x256")
    assert mask.startswith("vision: outlier mask: zero")
    assert blend.startswith(f"blend: {method}")
    text = run(pack.Describe, conditioning=blended)[0]
    assert text.index(read) < text.index(mask) < text.index(blend)


def test_style_delta_tells_the_edits_of_its_sides(pack, fox, picture, masked):
    [styled] = run(pack.StyleDelta, text=fox, styled=masked, neutral=picture)
    edits = record(styled).edits
    assert [edit.split(":")[0] for edit in edits] == ["styled", "styled", "neutral", "style delta"]
    assert "outlier mask" in edits[1]


def test_a_mid_grey_against_an_edited_image_is_remarked(pack, fox, vl_clip, picture, masked):
    for side, edited in ((masked, True), (picture, False)):
        [styled] = run(pack.StyleDelta, text=fox, styled=side, clip=vl_clip)
        note = record(styled).edits[-1]
        assert ("styled side was edited 1 times, the mid-grey image was not" in note) is edited


def test_mixed_states_are_no_longer_of_one_layer_or_one_model(pack, fox, picture):
    blended, _ = run(pack.Blend, text=fox, vision=picture, alpha=0.5)
    found = record(blended)
    assert found.layer is None and found.layer_in_words == "a mix of layers"
    assert found.fingerprint == ""
    assert record(fox).source in found.source and record(picture).source in found.source
    untouched, _ = run(pack.Blend, text=fox, vision=picture, alpha=0.0)
    assert record(untouched).layer == -2 and record(untouched).source == record(fox).source
    # Not of layer -2 any more, so not measured against what is published for it.
    _, report = run(pack.OutlierMask, conditioning=blended)
    assert "published" not in report


def test_after_append_both_prompts_and_all_images_are_known(pack, vl_clip, picture):
    image = torch.rand(1, 256, 320, 3, generator=torch.Generator().manual_seed(1))
    first, _ = run(pack.VLEncode, clip=vl_clip, image=image, text=TEXT, layer=-6)
    both, report = run(pack.Blend, text=first, vision=picture, method="append")
    found = record(both)
    assert found.images == ((8, 10), (8, 8))
    assert found.prompt.count("<|image_pad|>") == 2 and TEXT in found.prompt
    assert found.roles.count(Role.IMAGE) == 80 + 64
    assert "the text's 96 tokens does not change; it sees 64 more" in report
    with pytest.raises(ValueError, match="several prompts.*connect `neutral`"):
        run(pack.StyleDelta, text=first, styled=both, clip=vl_clip)


@pytest.mark.parametrize("method", ["append", "interpolate"])
def test_a_text_of_zeros_leaves_the_image_its_own_scale(pack, fox, picture, method):
    """ConditioningZeroOut and append is how one asks for the image alone."""
    import nodes

    [empty] = nodes.ConditioningZeroOut().zero_out(fox)
    blended, _ = run(pack.Blend, text=empty, vision=picture, alpha=1.0, method=method)
    appended = states(blended)[:, -5:]
    assert float(appended.abs().max()) > 1
    if method == "append":
        assert torch.equal(states(blended)[:, states(fox).shape[1] :], states(picture))


def test_padding_is_neither_mixed_nor_styled(pack, clip, picture):
    padded, _ = run(pack.Qwen3Encode, clip=clip, text="fox<|endoftext|>some more words")
    is_pad = torch.tensor([role is Role.PAD for role in record(padded).roles])
    assert 0 < int(is_pad.sum()) < len(is_pad)
    blended, _ = run(pack.Blend, text=padded, vision=picture, alpha=0.5)
    [styled] = run(pack.StyleDelta, text=padded, styled=picture, neutral=padded_free(picture))
    for changed in (blended, styled):
        same = (states(changed) == states(padded)).all(-1)[0]
        assert bool(same[is_pad].all()) and not bool(same[~is_pad].any())
        assert len(record(changed)) == len(record(padded))


def padded_free(picture: list) -> list:
    """Another picture of the same size: the same one upside down."""
    [[hidden, options]] = picture
    return [[hidden.flip(1), {k: v for k, v in options.items() if k != "layer_lab"}]]


def test_a_dropped_record_is_told_by_describe_and_by_the_next_node(pack, fox, clip):
    import nodes

    [average] = nodes.ConditioningAverage().addWeighted(fox, text_encode(clip, "owl"), 0.5)
    text = run(pack.Describe, conditioning=average)[0]
    assert "1. record dropped: another node changed the values" in text
    [fitted] = run(pack.FitTokens, conditioning=average, max_tokens=4)
    assert record(fitted).edits[0].startswith("record dropped: ")
    assert "edits: not known" in run(pack.Describe, conditioning=text_encode(clip, "owl"))[0]


def test_sides_of_unknown_layers_are_not_called_different(pack, clip, picture):
    _, report = run(pack.Blend, text=text_encode(clip, TEXT), vision=picture)
    assert "different layers" not in report
    assert "unknown: the text side does not say" in report


def test_one_token_has_no_spread_and_that_is_said(pack, clip, fox, picture):
    [one] = run(pack.FitTokens, conditioning=text_encode(clip, TEXT), max_tokens=1)
    _, report = run(pack.Blend, text=one, vision=picture, match="per dimension")
    assert "the text side has only one" in report
    _, report = run(pack.Blend, text=fox, vision=picture, match="per dimension")
    assert "has only one" not in report


SWAPPED = (
    "the connections look swapped: the text side has 64 image tokens and the {0} side none; "
    "exchange text and {0}"
)


@pytest.mark.parametrize("known", [True, False])
def test_text_and_vision_swapped_is_said_first_and_logged_once(
    pack, clip, fox, picture, caplog, known
):
    text = fox if known else text_encode(clip, TEXT)
    for node, name, settings in (
        (pack.Blend, "Embedding Blend", {}),
        (pack.ScheduledBlend, "Scheduled Blend", {"steps": 3}),
    ):
        caplog.clear()
        answer = output(node, text=picture, vision=text, **settings)
        shown = answer.ui["text"][0].split("\n")
        assert SWAPPED.format("vision") == shown[0 if node is pack.Blend else 1]
        [said] = [one.getMessage() for one in caplog.records if "swapped" in one.getMessage()]
        assert said == f"{name}: {SWAPPED.format('vision')}."


def test_style_delta_says_so_too(pack, fox, picture, caplog):
    answer = output(pack.StyleDelta, text=picture, styled=fox, neutral=fox)
    assert answer.ui["text"][0].split("\n")[0] == SWAPPED.format("styled")
    assert "swapped" not in record(answer.args[0]).edits[-1]
    assert f"Style Delta: {SWAPPED.format('styled')}." in caplog.messages


def test_the_right_way_round_and_images_on_both_sides_are_not_swapped(pack, fox, picture, caplog):
    for text, vision in ((fox, picture), (picture, picture), (fox, fox)):
        _, report = run(pack.Blend, text=text, vision=vision)
        assert "swapped" not in report and "swapped" not in caplog.text
