"""PSNR, SSIM and the grid score against their formulas, and what each tells apart."""

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from zimage_layer_lab.core.compare.image_metrics import grid_artifact_score, psnr, ssim

SIZES = [(512, 512), (500, 333), (640, 768)]


@lru_cache
def noise(height: int, width: int, exponent: float = 1.0, seed: int = 0) -> np.ndarray:
    """Noise whose amplitude falls as 1 / f**exponent, grey, in 0..1; photographs have about 1."""
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    f[0, 0] = 1
    white = np.random.default_rng(seed).standard_normal((height, width))
    falling = np.fft.ifft2(np.fft.fft2(white) / f**exponent).real
    return (falling / falling.std() * 0.18 + 0.5).clip(0, 1)


@lru_cache
def dead_leaves(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Discs of all sizes over each other: edges and flat parts, as pictures of things have."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width), 0.5)
    for _ in range(200):
        radius = 6 / (rng.random() + 0.02) ** 0.7
        at = rng.random(2) * (height, width)
        picture[np.hypot(y - at[0], x - at[1]) < radius] = rng.random()
    return picture


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return 0.1 + 0.5 * y / height + 0.3 * x / width


CLEAN = {
    "1/f": noise,
    "smooth": lambda *size: noise(*size, exponent=2.0),
    "rough": lambda *size: noise(*size, exponent=0.5),
    "dead leaves": dead_leaves,
    "gradient": gradient,
}


def with_grid(picture: np.ndarray, strength: float, period: int = 16, offset: int = 0):
    """Lines of one pixel, darker by ``strength``."""
    drawn = picture.copy()
    drawn[offset::period] -= strength
    drawn[:, offset::period] -= strength
    return drawn


def image(picture: np.ndarray) -> torch.Tensor:
    """(height, width, 3) float32 of 8-bit values."""
    levels = (picture.clip(0, 1) * 255).round() / 255
    if levels.ndim == 2:
        levels = levels[..., None].repeat(3, -1)
    return torch.tensor(levels, dtype=torch.float32)


def score(picture: np.ndarray) -> float:
    return grid_artifact_score(image(picture))


def pair(seed: int, strength: float, size: tuple[int, int] = (60, 45)):
    rng = np.random.default_rng(seed)
    one = np.stack([noise(*size, seed=seed + channel) for channel in range(3)], axis=-1)
    return image(one), image(one + strength * rng.standard_normal(one.shape))


@pytest.mark.parametrize("strength", [0.003, 0.05, 0.6])
def test_psnr_is_its_formula(strength):
    one, other = pair(1, strength)
    error = np.mean((one.double().numpy() - other.double().numpy()) ** 2)
    assert psnr(other, one) == pytest.approx(-10 * math.log10(error), abs=1e-6)


def ssim_formula(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, equation 13, a Gaussian window of 11 x 11 and sigma 1.5, float64."""

    def mean(a):
        return gaussian_filter(a, 1.5, truncate=3.5)[5:-5, 5:-5]

    scores = []
    for a, b in zip(np.moveaxis(x, -1, 0), np.moveaxis(y, -1, 0), strict=True):
        m_a, m_b = mean(a), mean(b)
        v_a, v_b, v_ab = mean(a * a) - m_a**2, mean(b * b) - m_b**2, mean(a * b) - m_a * m_b
        top = (2 * m_a * m_b + 0.01**2) * (2 * v_ab + 0.03**2)
        scores.append(top / ((m_a**2 + m_b**2 + 0.01**2) * (v_a + v_b + 0.03**2)))
    return float(np.mean(scores))


@pytest.mark.parametrize("strength", [0.003, 0.05, 0.6])
@pytest.mark.parametrize("size", [(60, 45), (11, 200), (300, 40), (266, 11)])
def test_ssim_is_its_formula(strength, size):
    one, other = pair(2, strength, size)
    expected = ssim_formula(one.double().numpy(), other.double().numpy())
    assert ssim(other, one) == pytest.approx(expected, abs=5e-5)
    assert -1 <= expected < 1


@pytest.mark.parametrize("strength", [0.003, 0.05, 0.6])
@pytest.mark.parametrize("size", [(60, 45), (300, 40)])
def test_psnr_and_ssim_are_those_of_kornia(strength, size):
    kornia = pytest.importorskip("kornia", reason="kornia is not installed here")
    one, other = pair(2, strength, size)
    assert psnr(other, one) == pytest.approx(float(kornia.metrics.psnr(other, one, 1.0)), abs=1e-4)
    planes = [side.movedim(-1, 0)[None] for side in (other, one)]
    of_library = kornia.metrics.ssim(*planes, 11, max_val=1.0, eps=0.0, padding="valid").mean()
    assert ssim(other, one) == pytest.approx(float(of_library), abs=2e-6)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_images_of_one_level_are_the_same(level):
    flat = torch.full((40, 30, 3), level)
    assert psnr(flat, flat.clone()) == math.inf
    assert ssim(flat, flat.clone()) == 1.0


def test_flat_images_of_other_levels_differ_by_their_means():
    one, other = torch.full((40, 30, 3), 0.9), torch.full((40, 30, 3), 0.3)
    expected = (2 * 0.9 * 0.3 + 1e-4) / (0.9**2 + 0.3**2 + 1e-4)
    assert ssim(one, other) == pytest.approx(expected, abs=5e-4)
    assert psnr(one, other) == pytest.approx(-20 * math.log10(0.6), abs=1e-4)


def test_an_image_that_is_smaller_than_the_window_has_no_ssim():
    assert ssim(torch.rand(10, 40, 3), torch.rand(10, 40, 3)) is None
    assert ssim(torch.rand(11, 40, 3), torch.rand(11, 40, 3)) is not None


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_images_of_different_size_are_refused(metric):
    with pytest.raises(ValueError) as error:
        metric(torch.rand(20, 30, 3), torch.rand(30, 20, 3))
    assert str(error.value) == (
        "the images are of different size, (20, 30, 3) and (30, 20, 3): only images of one size "
        "can be compared pixel by pixel"
    )


def direction_formula(lines: np.ndarray) -> list[float]:
    """The ratios of one direction, each Fourier sum written out."""
    patches = lines.shape[1] // 16
    n = 16 * patches
    t = np.arange(n)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / n)
    lines = (lines[:, :n] - lines[:, :n].mean(1, keepdims=True)) * window

    def energy(k):
        wave = lines @ np.exp(-2j * np.pi * k * t / n)
        return np.mean(np.abs(wave) ** 2) + np.sum(window**2) / 255**2

    ratios = []
    for k in (patches, 3 * patches, 5 * patches, 7 * patches):
        offsets = [d for d in range(-(patches // 2), patches // 2 + 1) if abs(d) > 1]
        ratios.append(energy(k) / np.median([energy(k + d) for d in offsets]))
    return ratios


@pytest.mark.parametrize("size", [(64, 64), (79, 150), (200, 96)])
def test_the_grid_score_is_what_its_docstring_says(size):
    colours = np.stack([with_grid(noise(*size, seed=s), 0.05 * s) for s in range(3)], axis=-1)
    shown = image(colours)
    luma = shown.double().numpy() @ np.array([0.299, 0.587, 0.114])
    expected = np.mean(direction_formula(luma) + direction_formula(luma.T))
    assert grid_artifact_score(shown) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CLEAN)
def test_a_clean_image_scores_about_one(kind, size):
    assert 0.8 < score(CLEAN[kind](*size)) < 1.2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CLEAN)
def test_the_score_rises_with_the_strength_of_the_grid(kind, size):
    clean = CLEAN[kind](*size) * 0.7 + 0.25
    scores = [score(with_grid(clean, strength)) for strength in (0, 0.02, 0.05, 0.1, 0.2)]
    assert scores == sorted(scores) and len(set(scores)) == 5
    assert scores[-1] > 2.5, "a strong grid stands out of any of them"


@pytest.mark.parametrize("size", SIZES)
def test_a_faint_grid_is_told_from_the_clean_image_whatever_the_image_is(size):
    """Lines of 13 levels of 255 on any photo-like image score above every clean one."""
    kinds = [CLEAN[kind] for kind in ("1/f", "smooth", "dead leaves", "gradient")]
    clean = [score(draw(*size)) for draw in kinds]
    faint = [score(with_grid(draw(*size), 0.05)) for draw in kinds]
    assert min(faint) > 1.25 * max(clean)


def test_where_the_grid_begins_does_not_matter():
    scores = [score(with_grid(noise(512, 512), 0.1, offset=offset)) for offset in (0, 3, 8, 15)]
    assert max(scores) < 1.25 * min(scores) and min(scores) > 2


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["1/f", "gradient", "dead leaves"])
@pytest.mark.parametrize("period", [8, 20])
def test_grids_of_other_periods_are_not_taken_for_it(kind, period, size):
    clean = CLEAN[kind](*size)
    other = score(with_grid(clean, 0.1, period))
    assert other < 1.3
    assert score(with_grid(clean, 0.1)) > 2 * other


@pytest.mark.parametrize("period", [8, 20])
def test_grids_of_other_periods_on_nothing_at_all_are_not_taken_for_it(period):
    flat = np.full((256, 256), 0.5)
    assert score(with_grid(flat, 0.1, period)) < 1.5
    assert score(with_grid(flat, 0.1, 16)) > 50


def test_patches_of_slightly_different_brightness_count_too():
    """A grid need not be lines: here each patch of 16 x 16 pixels has a shade of its own."""
    ramp = np.linspace(-0.02, 0.02, 16)
    clean = noise(512, 512, exponent=1.5)
    assert score(clean + np.tile(ramp, 32)[None]) > 1.5 * score(clean)


def test_a_flat_image_scores_one():
    assert score(np.full((128, 128), 0.5)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "told"), [((63, 512), False), ((512, 63), False), ((64, 64), True)]
)
def test_an_image_of_fewer_than_four_patches_a_side_is_too_small_to_tell(size, told):
    assert (grid_artifact_score(torch.rand(*size, 3)) is not None) is told
