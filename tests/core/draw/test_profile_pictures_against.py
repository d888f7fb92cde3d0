"""The panels of a profile that was measured against a reference."""

import torch
from zimage_layer_lab.core.draw.figures import LOUD, QUIET
from zimage_layer_lab.core.draw.profile_pictures import dimensions_figure
from zimage_layer_lab.core.measure.reference import Reference
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise

from ...oracles.figures import assert_readable, seen_texts, words


def test_a_panel_against_a_reference_says_so_and_draws_no_line_for_the_median():
    """The outliers are not those above a line there; they stay named in their colours."""
    stats = ProfileStats(2, 8, (1,))
    stats.update({1: torch.randn(40, 8, generator=torch.Generator().manual_seed(1))})
    std = stats.dimensions[1].all.std.clone()
    std[3], std[6] = std[3] / 50, std[6] * 50
    reference = Reference(torch.zeros(8).double(), std, 0.0, 1.0, provenance={"model": "qwen"})
    profile = summarise(stats, "m", reference=reference)
    panels = [(profile.layers[0], stats.dimensions[1])]
    figure = dimensions_figure(panels, 10.0, "qwen: another model")
    said = {seen.text: seen.color for seen in seen_texts(figure)}
    assert "orange and green: 10x louder and quieter than qwen: another model" in said
    assert (said["3"], said["6"]) == (LOUD, QUIET)
    assert not any("the median" in text for text in said)
    assert_readable(figure)
    own = dimensions_figure([(summarise(stats, "m").layers[0], panels[0][1])])
    assert "10x the median" in words(own) and not any("orange" in text for text in words(own))
