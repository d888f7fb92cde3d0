"""Image sizes: one token per 32 x 32 pixels, never more of them than the budget."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize
from zimage_layer_lab.core.encoder.image_size import (
    fit_bytes,
    fit_images,
    host_grid,
    require_budget,
    token_grid,
)

SIDE = st.integers(1, 9000)
BUDGET = st.one_of(st.integers(1, 80), st.integers(1, 20000))


def processed(image):
    """(height, width, 3) uint8 as Qwen3-VL's own processor hands it on, back as pixels."""
    processor = Qwen2VLImageProcessor(
        patch_size=16,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        # The fewest and most pixels of Qwen/Qwen3-VL-4B-Instruct's preprocessor_config.json.
        size={"shortest_edge": 65536, "longest_edge": 16777216},
    )
    made = processor(images=[image.movedim(-1, 0)], return_tensors="pt")
    [[_, rows, columns]] = made["image_grid_thw"].tolist()
    # Patches in blocks of 2 x 2; each has 3 channels and 2 equal frames of 16 x 16 pixels.
    patches = made["pixel_values"].reshape(rows // 2, columns // 2, 2, 2, 3, 2, 16, 16)
    pixels = patches[:, :, :, :, :, 0].permute(0, 2, 5, 1, 3, 6, 4)
    return pixels.reshape(rows * 16, columns * 16, 3) / 2 + 0.5


@pytest.mark.parametrize(
    ("height", "width"), [(256, 320), (300, 421), (700, 513), (90, 130), (1, 1), (50, 1200)]
)
def test_exact_preprocessing_gives_the_pixels_of_transformers_own_processor(height, width):
    generator = torch.Generator().manual_seed(height)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    (fitted,) = fit_images(image[None].float() / 255, 16384)
    theirs = processed(image)
    assert fitted.pixels[0].shape == theirs.shape
    assert float((fitted.pixels[0] - theirs).abs().max()) < 1e-6


@pytest.mark.parametrize(("height", "width"), [(256, 320), (300, 421), (90, 130), (50, 1200)])
def test_an_8_bit_image_gives_the_same_bytes_and_stays_8_bit(height, width):
    generator = torch.Generator().manual_seed(height)
    image = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    fitted = fit_bytes(image, 16384)
    assert fitted.dtype == torch.uint8
    assert float((fitted.float() / 255 - processed(image)).abs().max()) < 1e-6
    (host,) = fit_images(image[None].float() / 255, 70)
    assert torch.equal(fit_bytes(image, 70).float() / 255, host.pixels[0])


@pytest.mark.parametrize("offset", [-0.49, 0.49])
def test_values_between_two_bytes_are_rounded_to_the_nearest_before_resizing(offset):
    """As a file of them would be written; the error of a picture is far from a byte's 0.5."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(1, 255, (300, 421, 3), generator=generator, dtype=torch.uint8)
    (fitted,) = fit_images((image[None].float() + offset) / 255, 16384)
    assert float((fitted.pixels[0] - processed(image)).abs().max()) < 1e-6


@given(height=SIDE, width=SIDE, budget=BUDGET)
def test_the_budget_is_never_exceeded(height, width, budget):
    assume(max(height, width) <= 200 * min(height, width))
    rows, columns = token_grid(height, width, budget)
    assert rows >= 1 and columns >= 1
    assert rows * columns <= budget


@given(height=SIDE, width=SIDE, budget=st.integers(64, 20000))
def test_the_grid_is_that_of_transformers_where_its_size_fits_the_budget(height, width, budget):
    assume(max(height, width) <= 200 * min(height, width))
    pixels = smart_resize(height, width, factor=32, min_pixels=65536, max_pixels=budget * 32 * 32)
    rows, columns = pixels[0] // 32, pixels[1] // 32
    assume(rows * columns <= budget)
    assert token_grid(height, width, budget) == (rows, columns)


@pytest.mark.parametrize(("height", "width"), [(15, 3000), (3000, 15), (16, 2100), (8, 1600)])
def test_an_image_thinner_than_half_a_token_is_enlarged_as_by_transformers(height, width):
    """Its nearest multiple of 32 is 0, which smart_resize takes as below the smallest area."""
    pixels = smart_resize(height, width, factor=32, min_pixels=65536, max_pixels=1024 * 1024)
    assert token_grid(height, width, 1024) == (pixels[0] // 32, pixels[1] // 32)


@given(side=st.integers(1, 300), budget=BUDGET)
def test_a_square_image_keeps_to_the_budget_and_nearly_square(side, budget):
    rows, columns = token_grid(side * 16, side * 16, budget)
    assert max(rows, columns) <= 2 * min(rows, columns) + 1


@pytest.mark.parametrize(
    ("height", "width", "budget", "grid"),
    [
        (1024, 1024, 1024, (32, 32)),
        (8192, 8192, 1024, (32, 32)),
        (512, 512, 1024, (16, 16)),
        (1, 1, 1024, (8, 8)),
        (1, 1, 1, (1, 1)),
        (512, 1024, 1024, (16, 32)),
        (8192, 8192, 1, (1, 1)),
        # Fewer than the host's four tokens would be enlarged by it once more.
        (64, 96, 4, (2, 2)),
        (64, 192, 4, (1, 4)),
        (192, 64, 4, (4, 1)),
    ],
)
def test_known_sizes_have_their_known_grid(height, width, budget, grid):
    assert token_grid(height, width, budget) == grid


@pytest.mark.parametrize("budget", [3, 12545, 64.0, "64"])
def test_a_budget_that_the_host_gives_no_image_is_refused(budget):
    with pytest.raises(ValueError, match="max_image_tokens is .*between 4 and 12544 tokens"):
        require_budget("max_image_tokens", budget)
    require_budget("max_image_tokens", 4)
    require_budget("max_image_tokens", 12544)


@pytest.mark.parametrize(("height", "width"), [(1, 201), (201, 1), (10, 8000)])
def test_an_aspect_ratio_over_200_is_refused_with_the_size(height, width):
    with pytest.raises(ValueError, match=f"{width}x{height}.*200"):
        token_grid(height, width, 1024)


def test_an_aspect_ratio_of_exactly_200_is_taken():
    rows, columns = token_grid(1, 200, 1024)
    assert 1 <= rows * columns <= 1024


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_token_is_refused(budget):
    with pytest.raises(ValueError, match=f"max_image_tokens is {budget}"):
        token_grid(64, 64, budget)


@pytest.mark.slow
def test_8192x8192_with_a_budget_of_1024_becomes_1024x1024_and_says_so():
    """A stride-0 view: the batch itself takes no memory."""
    image = torch.full((1, 1, 1, 3), 0.25, dtype=torch.float16).expand(1, 8192, 8192, 3)
    (fitted,) = fit_images(image, 1024)
    assert fitted.pixels.shape == (1, 1024, 1024, 3)
    assert fitted.tokens == 1024
    for part in ("8192x8192", "1024x1024", "1024 tokens"):
        assert part in fitted.note
    assert float((fitted.pixels - 0.25).abs().max()) < 1 / 255


def test_a_single_pixel_becomes_the_smallest_image_of_its_colour():
    colour = torch.tensor([26, 153, 230]) / 255
    (fitted,) = fit_images(colour.reshape(1, 1, 1, 3), 1024)
    assert fitted.pixels.shape == (1, 256, 256, 3) and fitted.tokens == 64
    assert float((fitted.pixels - colour).abs().max()) < 1e-6
    assert "1x1" in fitted.note


def test_a_single_pixel_within_a_budget_of_one_token():
    (fitted,) = fit_images(torch.ones(1, 1, 1, 3), 1)
    assert fitted.pixels.shape == (1, 32, 32, 3) and fitted.tokens == 1


def test_an_image_that_fits_is_passed_on_bit_for_bit():
    image = torch.rand(1, 256, 320, 3)
    (fitted,) = fit_images(image, 1024)
    assert torch.equal(fitted.pixels, image)
    assert fitted.tokens == 80 and "resized" not in fitted.note


def test_alpha_is_dropped_and_said():
    image = torch.rand(1, 256, 256, 4)
    (fitted,) = fit_images(image, 1024)
    assert torch.equal(fitted.pixels, image[..., :3])
    assert "alpha" in fitted.note


def test_grey_becomes_three_equal_channels():
    image = torch.rand(1, 100, 300, 1)
    (fitted,) = fit_images(image, 1024)
    assert fitted.pixels.shape[-1] == 3
    assert torch.equal(fitted.pixels[..., 0], fitted.pixels[..., 1])
    assert torch.equal(fitted.pixels[..., 0], fitted.pixels[..., 2])


def test_every_image_of_a_batch_is_fitted_in_order_with_the_budget_of_its_own():
    images = torch.stack([torch.full((640, 480, 3), level) for level in (0.0, 0.4, 0.8)])
    fitted = fit_images(images, 100)
    assert len(fitted) == 3
    for number, one in enumerate(fitted):
        assert float((one.pixels - number * 0.4).abs().max()) < 1e-5
        assert one.tokens <= 100
        assert one.note.startswith(f"image {number + 1}:")


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    budget=st.integers(1, 60),
    channels=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 1000),
)
def test_pixels_are_whole_tokens_in_range_and_within_the_budget(
    height, width, budget, channels, seed
):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(1, height, width, channels, generator=generator).round()
    before = images.clone()
    (fitted,) = fit_images(images, budget)
    _, rows, columns, depth = fitted.pixels.shape
    assert fitted.pixels.dtype == torch.float32 and depth == 3
    assert rows % 32 == 0 and columns % 32 == 0
    assert fitted.tokens == rows * columns // 1024 <= budget
    # Bicubic overshoots at hard edges; what is handed on must not.
    assert 0.0 <= float(fitted.pixels.min()) <= float(fitted.pixels.max()) <= 1.0
    assert torch.equal(images, before), "the input is never modified"


def test_the_picture_keeps_its_orientation():
    image = torch.zeros(1, 512, 1024, 3)
    image[:, :, 512:, 0] = 1.0  # red on the right
    image[:, 256:, :, 2] = 1.0  # blue below
    (fitted,) = fit_images(image, 32)
    pixels = fitted.pixels[0].numpy()
    rows, columns, _ = pixels.shape
    np.testing.assert_allclose(pixels[rows // 4, columns // 4], [0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(pixels[rows // 4, -columns // 4], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(pixels[-rows // 4, columns // 4], [0, 0, 1], atol=1e-3)


def test_images_of_several_sizes_are_numbered_in_their_order():
    fitted = fit_images([torch.rand(1, 256, 256, 3), torch.rand(2, 320, 256, 4)], 1024)
    assert [one.tokens for one in fitted] == [64, 80, 80]
    assert [one.note.split(",")[0] for one in fitted] == [
        "image 1: 256x256",
        "image 2: 256x320",
        "image 3: 256x320",
    ]


@given(height=SIDE, width=SIDE)
def test_the_hosts_own_grid_is_that_of_its_formula(height, width):
    """transformers' smart_resize with ComfyUI's limits; it never returns a side of 0."""
    assume(max(height, width) <= 200 * min(height, width))
    pixels = smart_resize(height, width, factor=32, min_pixels=3136, max_pixels=12845056)
    assert host_grid(height, width) == (pixels[0] // 32, pixels[1] // 32)


def test_the_hosts_preprocessing_leaves_the_pixels_to_the_host():
    image = torch.rand(1, 250, 421, 3)
    (fitted,) = fit_images(image, 1024, "host")
    assert torch.equal(fitted.pixels, image)
    assert fitted.tokens == 8 * 13
    assert "421x250 resized to 416x256 by ComfyUI, 104 tokens" in fitted.note


def test_the_hosts_preprocessing_keeps_to_the_budget():
    (fitted,) = fit_images(torch.rand(1, 640, 640, 3), 100, "host")
    assert fitted.pixels.shape == (1, 320, 320, 3)
    assert fitted.tokens == 100 and "by ComfyUI" not in fitted.note


def test_an_unknown_preprocessing_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'best' is not one of exact, host"):
        fit_images(torch.rand(1, 64, 64, 3), 100, "best")


@pytest.mark.parametrize("shape", [(0, 64, 64, 3), (1, 0, 64, 3), (1, 64, 0, 3), (64, 64, 3)])
def test_an_empty_or_misshapen_batch_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match="shape"):
        fit_images(torch.zeros(shape), 1024)


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channel_counts_are_refused(channels):
    with pytest.raises(ValueError, match=f"{channels} channels"):
        fit_images(torch.zeros(1, 64, 64, channels), 1024)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_image_with_nan_or_infinity_is_refused(bad):
    images = torch.zeros(2, 64, 64, 3)
    images[1, 5, 6, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        fit_images(images, 1024)


def test_no_image_at_all_is_refused():
    with pytest.raises(ValueError, match="image is an empty list"):
        fit_images([], 1024)


@pytest.mark.parametrize("bad", [None, "a.png", 3, [1]])
def test_something_in_the_list_that_is_no_image_is_named_by_its_place(bad):
    with pytest.raises(ValueError, match=f"image 2 of 2 is {type(bad).__name__}, not an image"):
        fit_images([torch.zeros(1, 64, 64, 3), bad], 1024)


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (0.0, 1.0, ""),
        (-0.05, 1.05, ""),  # What a resampling filter or a VAE overshoots.
        (0.0, 255.0, "from 0 to 255, divide it by 255"),
        (-1.0, 1.0, "from -1 to 1, bring it to 0 to 1"),
        (0.0, 1.5, "from 0 to 1.5, bring it to 0 to 1"),
    ],
)
def test_values_that_are_not_about_0_to_1_get_a_remark(low, high, says):
    image = torch.linspace(low, high, 64 * 64 * 3).reshape(1, 64, 64, 3)
    _, fitted = fit_images([torch.rand(1, 64, 64, 3), image], 64)
    values, _, way_out = says.partition(", ")
    whole = (
        f"image 2 has values {values}, and images are 0 to 1 here, so the encoder sees it wrongly: "
        f"{way_out} first"
    )
    assert fitted.remark == (whole if says else "")
