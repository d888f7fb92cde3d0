"""What a profile says of the two real models, against transformers and NumPy in float64."""

import numpy as np
import pytest
from zimage_layer_lab.cli.profile.findings import layer_finding, sink_finding
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise
from zimage_layer_lab.core.shipped import CORPUS

pytestmark = pytest.mark.slow
PROMPTS = 40


class Measured:
    """A model's profile over some of the shipped prompts, and its states by transformers."""

    def __init__(self, model, naive_states):
        prompts = CORPUS.read_text(encoding="utf-8").split("\n")[:-1]
        every = len(prompts) // PROMPTS
        self.ids = [model.chat_ids(prompt) for prompt in prompts[::every]]
        self.states = naive_states(model.model, self.ids)
        self.token = model.token_text
        stats = ProfileStats(model.blocks, model.width)
        for ids in self.ids:
            stats.update(model.hidden_states(ids, range(model.blocks + 1)), ids)
        self.profile = summarise(stats, model.name)

    def squares(self, index, dimension):
        """Per prompt, the squared deviations of a dimension from its mean over all tokens."""
        values = [rows[:, dimension] for rows in self.states[index]]
        mean = np.concatenate(values).mean()
        return [(own - mean) ** 2 for own in values]

    def text(self, place):
        return self.token(self.ids[place.prompt][place.position])


@pytest.fixture(scope="module", params=["smollm2", "gemma3"])
def measured(request, naive_states):
    return Measured(request.getfixturevalue(request.param), naive_states)


def test_shares_by_position_and_by_sink_are_numpys_at_every_layer(measured, naive_sinks):
    checked = 0
    for layer in measured.profile.layers:
        sinks = [naive_sinks(rows) for rows in measured.states[layer.index]]
        for outlier, carried in zip(layer.outliers, layer.carried, strict=True):
            squares = measured.squares(layer.index, outlier.dimension)
            total = sum(own.sum() for own in squares)
            for position, share in enumerate(carried.positions):
                there = sum(own[position] for own in squares if len(own) > position)
                assert share == pytest.approx(there / total, abs=1e-4)
            held = sum(own[places].sum() for own, places in zip(squares, sinks, strict=True))
            assert outlier.sink_share == pytest.approx(held / total, abs=1e-4)
            for token in carried.tokens:
                number = measured.ids[token.place.prompt][token.place.position]
                everywhere = sum(
                    own[np.array(ids) == number].sum()
                    for own, ids in zip(squares, measured.ids, strict=True)
                )
                # Those of its values that are not far carry the rest.
                assert token.share <= everywhere / total + 1e-4
            checked += 1
    assert checked > 30


def test_position_0_carries_the_loudest_dimension_of_both_models(measured):
    """The plain norm found no sink in Gemma, and called its dimension 163 channel-wide."""
    dimension = {576: 507, 640: 163}[measured.profile.width]
    for number in (-2, -6):
        layer = measured.profile.layer(number)
        outlier, carried = layer.outliers[0], layer.carried[0]
        assert (outlier.dimension, outlier.kind) == (dimension, "sink-borne")
        assert carried.positions[0] > 0.75 and carried.tokens[0].values >= len(measured.ids)
        words = layer_finding(measured.profile, layer, measured.text)
        first = measured.text(carried.places[0])
        assert first == {576: "<|im_start|>", 640: "<bos>"}[measured.profile.width]
        assert f"Position 0 ({first!r}) carries {carried.positions[0]:.1%} of its" in words


def test_the_profile_does_not_contradict_itself_from_one_layer_to_the_next(measured):
    """While one dimension is far the loudest, and few tokens carry it, it is sink-borne."""
    for layer in measured.profile.layers[:-1]:
        for outlier, carried in list(zip(layer.outliers, layer.carried, strict=True))[:1]:
            named = max((token.share for token in carried.tokens), default=0.0)
            assert (outlier.kind == "sink-borne") == (named >= 0.5)


def test_a_dip_is_no_fall(measured):
    """Gemma's max|x| drops by 18 % at 17; SmolLM2's falls at 29."""
    peaks = [max(np.abs(rows).max() for rows in of) for of in measured.states[:-1]]
    drops = np.diff(np.log(peaks))
    fall = measured.profile.fall_layer
    if measured.profile.width == 640:
        assert fall is None and drops.min() > -np.log(2)
        assert "does not fall to half in one step" in sink_finding(measured.profile)
    else:
        after = drops[measured.profile.emergence_layer :]
        assert fall == 29 == measured.profile.emergence_layer + int(after.argmin()) + 1
        assert after.min() < -np.log(2)
    [course] = measured.profile.courses
    values = [max(np.abs(rows[:, course.dimension]).max() for rows in of) for of in measured.states]
    assert course.emergence_layer == int(np.diff(np.log(values[:-1])).argmax()) + 1
