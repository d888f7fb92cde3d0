"""The demo's picture of what ComfyUI made: every image under its own name."""

import io

import numpy as np
from PIL import Image
from zimage_layer_lab.cli.demo.comfy_pictures import side_by_side

from ...oracles.figures import assert_readable, words
from ...oracles.images import rounded, textured


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


def test_each_image_stands_under_its_name():
    images = [rounded(textured(number)[0]) for number in range(2)]
    figure = side_by_side({"layer_-2": png(images[0]), "layer_-6": png(images[1])})
    for axes, name, pixels in zip(figure.axes, ("layer -2", "layer -6"), images, strict=True):
        assert axes.get_title() == name
        [drawn] = axes.images
        assert np.array_equal((drawn.get_array() * 255).round().astype(np.uint8), pixels)
    assert "layer_compare on random weights (noise)" in words(figure)
    assert_readable(figure)


def test_long_names_are_readable():
    image = png(rounded(textured(0)[0]))
    assert_readable(side_by_side({f"{n} {'a long name ' * 20} 狐": image for n in range(3)}))
