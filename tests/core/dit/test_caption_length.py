"""The length of caption that Z-Image knows, and where the figure is from."""

import json

import pytest
from zimage_layer_lab.core.dit.caption_length import length_remarks, trained_positions


def test_the_figure_comes_with_its_source(pack_root):
    facts = json.loads((pack_root / "stats" / "z_image.json").read_text(encoding="utf-8"))
    assert trained_positions() == facts["trained_positions"] == 1504
    assert "fblissjr/llm-dit-experiments" in facts["provenance"]["source"]


@pytest.mark.parametrize("tokens", [1, 1503, 1504])
def test_a_caption_that_z_image_knows_needs_no_remark(tokens):
    assert length_remarks(tokens) == []


def test_a_longer_caption_is_remarked_on_with_both_numbers():
    [line] = length_remarks(1505)
    assert line.startswith("1505 tokens") and "about 1504 positions" in line
