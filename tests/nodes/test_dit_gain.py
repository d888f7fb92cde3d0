"""DiT Gain on the real host's Z-Image, against NumPy in float64 on the file's own weights."""

import numpy as np
import pytest
import torch

from .stock import output, run, states


def weights(model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The norm's weight, the matrix and its bias in float64, of a model without patches."""
    norm, matrix = model.model.diffusion_model.cap_embedder
    return tuple(x.detach().double().numpy() for x in (norm.weight, matrix.weight, matrix.bias))


def cells(report: str, dimension: int) -> list[str]:
    [row] = [line for line in report.splitlines() if line.startswith(f"{dimension}  ")]
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def expected(model, hidden: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains, and the shares of dimensions and tokens, by the definition."""
    g, w, _ = weights(model)
    x = hidden[0].double().numpy()
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * g
    sent = (normed**2).sum(0) * (w**2).sum(0)
    token = ((normed @ w.T) ** 2).sum(-1)
    return np.abs(g) * np.sqrt((w**2).sum(0)), sent / sent.sum(), token / token.sum()


@pytest.fixture
def planted(text):
    """The text's states with a loud dimension 396."""
    hidden = states(text).clone()
    hidden[..., 396] *= 300.0
    return [[hidden, {}]]


def test_gains_and_shares_are_those_of_the_weights(model, pack, planted):
    gain, dimensions, _ = expected(model, states(planted))
    report = run(pack.DitGain, model=model, conditioning=planted)[1]
    row = cells(report, 396)
    assert float(row[1]) == pytest.approx(gain[396], rel=1e-3)
    assert row[4] == f"{dimensions[396]:.2%}"
    loudest = int(gain.argmax())
    assert f"{1 + int((gain > gain[loudest]).sum())} of 2560" in cells(report, loudest)[3]


def test_it_shows_a_picture_and_works_without_a_conditioning(model, pack):
    image, report = output(pack.DitGain, model=model).args
    assert image.ndim == 4 and image.shape[-1] == 3 and "2560 dimensions" in report
