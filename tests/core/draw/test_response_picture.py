"""The picture of the image model's answers: a sweep of layers, and other variants."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from zimage_layer_lab.core.dit.response import Response, Responses  # noqa: E402
from zimage_layer_lab.core.draw.response_picture import response_figure  # noqa: E402

STEPS = (1, 4, 7)


def figure(labels: list[str], shares: np.ndarray):
    rows = [
        Response(name, (0.1,) * 3, tuple(s), 25) for name, s in zip(labels, shares, strict=True)
    ]
    return response_figure(
        Responses(STEPS, (1.0, 0.9, 0.5), tuple(rows), (1.0,) * 3, 25), "a prompt"
    )


def test_a_sweep_of_all_layers_is_a_curve_from_the_first_to_the_last():
    layers = [-2, -1, *range(-3, -37, -1)]
    shares = np.random.default_rng(0).uniform(0, 1.5, (36, 3))
    drawn = figure([f"layer {layer}" for layer in layers], shares)
    axes = drawn.axes[0]
    by_layer = dict(zip(layers, shares, strict=True))
    for number, step in enumerate(STEPS):
        [line] = [one for one in axes.lines if one.get_label() == f"step {step}"]
        assert list(line.get_xdata()) == list(range(-36, 0))
        expected = [100 * by_layer[layer][number] for layer in range(-36, 0)]
        np.testing.assert_allclose(line.get_ydata(), expected)
    low, high = axes.get_ylim()
    assert low == 0 and high > 100 * shares.max()
    assert -2 in axes.get_xticks()
    # As high as a picture of a few variants, so that it can be read on the node.
    assert drawn.get_figheight() == figure(["layer -2", "layer -6"], shares[:2]).get_figheight()


@pytest.mark.parametrize("other", ["control: dimension 7", "layer -2 masked", "layer -3"])
def test_variants_that_are_no_plain_layers_have_a_row_each(other):
    labels = [*(f"layer -{number}" for number in range(1, 20)), other]
    drawn = figure(labels, np.full((20, 3), 0.5))
    assert [tick.get_text() for tick in drawn.axes[0].get_yticklabels()] == labels
