"""The mid-grey image that Style Delta reads where no neutral side is given."""

from dataclasses import replace

import pytest
import torch

from .stock import output, record, run, snapshot, states, text_encode, unchanged

SQUARE, WIDE, TALL = (256, 256), (256, 288), (288, 256)


def noise(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, *size, 3, generator=generator) for size in sizes]


def mid_grey(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.full((1, *size, 3), 0.5) for size in sizes]


def read(pack, vl_clip, images: list, **inputs) -> list:
    """VL Image Token Encode of a list of images."""
    listed = {name: [value] for name, value in inputs.items()}
    [conditioning], _ = output(pack.VLEncode, clip=[vl_clip], image=images, **listed).args
    return conditioning


@pytest.fixture(scope="module")
def styled(vl_clip, pack):
    with torch.inference_mode():
        return read(pack, vl_clip, noise(WIDE))


@pytest.fixture(scope="module")
def grey(vl_clip, pack):
    """Mid-grey in the place of ``styled``."""
    with torch.inference_mode():
        return read(pack, vl_clip, mid_grey(WIDE))


@pytest.mark.parametrize(
    ("sizes", "settings"),
    [
        ([WIDE], {"tokens": "image", "layer": -4}),
        ([TALL, SQUARE], {"text": "two views"}),
        ([TALL, SQUARE], {"two_layers": True, "image_layer": -5, "tokens": "image"}),
        ([SQUARE], {"two_layers": True, "image_layer": -5}),
        ([SQUARE], {"tokens": "text", "text": "a painted fox"}),
        (
            [(64, 96)],
            {
                "tokens": "image + markers",
                "text": "a (painted:1.2) fox",
                "text_place": "before the images",
                "system_prompt": "Look.",
                "think_block": "empty",
                "preprocessing": "host",
            },
        ),
    ],
)
def test_without_neutral_a_mid_grey_image_is_read_in_the_same_way(
    pack, vl_clip, text, sizes, settings
):
    styled = read(pack, vl_clip, noise(*sizes), **settings)
    neutral = read(pack, vl_clip, mid_grey(*sizes), **settings)
    [made] = run(pack.StyleDelta, text=text, styled=styled, clip=vl_clip)
    [given] = run(pack.StyleDelta, text=text, styled=styled, neutral=neutral)
    assert torch.equal(states(made), states(given))
    assert not torch.equal(states(made), states(text))
    # The neutral that was read elsewhere brings the notes of its reading.
    theirs = tuple(edit for edit in record(given).edits if not edit.startswith("neutral: "))
    assert record(made) == replace(record(given), edits=theirs)


def test_the_mid_grey_image_has_the_size_that_the_styled_one_was_read_at(pack, vl_clip, text, grey):
    styled = read(pack, vl_clip, noise((250, 290)))
    [made] = run(pack.StyleDelta, text=text, styled=styled, clip=vl_clip)
    [given] = run(pack.StyleDelta, text=text, styled=styled, neutral=grey)
    assert torch.equal(states(made), states(given))


def test_a_neutral_side_is_preferred_to_the_clip(pack, vl_clip, text, styled):
    [result] = run(pack.StyleDelta, text=text, styled=styled, neutral=styled, clip=vl_clip)
    assert torch.equal(states(result), states(text))


def test_without_neutral_and_clip_both_ways_out_are_named(pack, text, styled):
    with pytest.raises(ValueError, match="connect `neutral`, or `clip`"):
        run(pack.StyleDelta, text=text, styled=styled)


def test_a_styled_side_that_no_image_is_known_of_needs_a_neutral_one(pack, clip, vl_clip, text):
    for styled in (text_encode(clip, "an oil painting"), text):
        with pytest.raises(ValueError, match="no image how it was read.*connect `neutral`"):
            run(pack.StyleDelta, text=text, styled=styled, clip=vl_clip)


def test_a_clip_without_a_vision_tower_is_refused(pack, clip, text, styled):
    with pytest.raises(ValueError, match="no vision tower"):
        run(pack.StyleDelta, text=text, styled=styled, clip=clip)


def test_image_tokens_of_two_layers_need_a_neutral_side(pack, vl_clip, text, styled):
    layers = [-6, -4] * (len(record(styled)) // 2) + [-6] * (len(record(styled)) % 2)
    mixed = [[states(styled), {"layer_lab": record(styled).with_layers(layers)}]]
    with pytest.raises(ValueError, match="layers -6 and -4.*connect `neutral`"):
        run(pack.StyleDelta, text=text, styled=mixed, clip=vl_clip)


def test_every_styled_entry_gets_its_own_mid_grey_image(pack, vl_clip, text, styled, grey):
    both = styled + read(pack, vl_clip, noise(SQUARE))
    greys = grey + read(pack, vl_clip, mid_grey(SQUARE))
    [result] = run(pack.StyleDelta, text=text * 2, styled=both, clip=vl_clip)
    [given] = run(pack.StyleDelta, text=text * 2, styled=both, neutral=greys)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(result, given, strict=True))


def test_inputs_are_never_modified(pack, vl_clip, text, styled):
    before = snapshot(text), snapshot(styled)
    run(pack.StyleDelta, text=text, styled=styled, clip=vl_clip)
    assert unchanged(text, before[0]) and unchanged(styled, before[1])
