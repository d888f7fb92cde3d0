"""Which hidden states image models take, from hand-made profiles of encoders of known sizes."""

import dataclasses

import pytest
from matplotlib.colors import to_hex
from zimage_layer_lab.core.draw.profile_pictures import layers_figure
from zimage_layer_lab.core.profile.tapped import tapped_layers

from ...oracles.profiles import hand_outlier, hand_profile

KREA = tuple(range(2, 36, 3))


def profile(blocks=36, width=2560, first=0, **given):
    made = hand_profile([1.0 + k for k in range(blocks + 1 - first)], first=first, **given)
    return dataclasses.replace(made, width=width)


def test_the_layers_of_klein_and_krea_2_are_found_by_the_size_of_their_encoder():
    klein, krea = tapped_layers(profile())
    assert (klein.model, krea.model) == ("Flux.2 Klein 4B", "Krea 2")
    assert [layer.index for layer in klein.layers] == [9, 18, 27]
    assert tuple(layer.index for layer in krea.layers) == KREA
    assert [one.model for one in tapped_layers(profile(40, 5120))] == ["Flux.2 dev"]
    assert tapped_layers(profile(30, 576)) == []


def test_only_what_was_measured_is_told_of():
    klein, krea = tapped_layers(profile(first=20))
    assert [layer.index for layer in klein.layers] == [27]
    assert [layer.index for layer in krea.layers] == [k for k in KREA if k >= 20]


def test_the_sentence_counts_outliers_at_each_and_names_the_farthest():
    found = {9: [hand_outlier(5)], 18: [hand_outlier(396, 9000.0), hand_outlier(4)]}
    klein, _ = tapped_layers(profile(outliers=found))
    assert "9: 1, 18: 2, 27: 0" in klein.in_words
    assert "farthest is dimension 396 at hidden state 18, sink-borne" in klein.in_words
    assert "farthest" not in tapped_layers(profile())[0].in_words


@pytest.mark.parametrize("width", [2560, 2048])
def test_the_picture_of_magnitudes_has_a_mark_at_each(width):
    figure = layers_figure(profile(width=width))
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "^"]
    taken = [line.get_xdata().tolist() for line in marks] if width == 2560 else []
    assert taken == ([[9, 18, 27], list(KREA)] if width == 2560 else [])
    assert len({to_hex(line.get_color()) for line in marks}) == len(marks)
