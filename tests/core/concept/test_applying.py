"""Steering by a concept against NumPy float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.concept.applying import MODES, apply_concept
from zimage_layer_lab.core.concept.concept import Concept
from zimage_layer_lab.core.dit.view import dit_change
from zimage_layer_lab.core.taps.layout import INTERLEAVED, Taps

from .planted import SINK, TOKENS, WIDTH, normed, planted, truth


@pytest.fixture(scope="module")
def concept():
    return Concept(*(torch.from_numpy(one) for one in truth(planted()[0])))


@pytest.fixture(scope="module")
def states():
    """(1, tokens, width) float32 with a sink token; other words than the concept's."""
    return torch.from_numpy(planted(seed=5, pairs=1)[0][0][1])[None].float()


def components(hidden, concept):
    """Of every token but the sink, after RMSNorm, over the concept's size; 0 is the baseline."""
    direction = concept.direction.numpy()
    unit = direction / np.linalg.norm(direction)
    rows = normed(np.delete(hidden[0].double().numpy(), SINK, 0))
    return (rows - concept.baseline.numpy()) @ unit / np.linalg.norm(direction)


def moved(states, concept, mode, strength, **more):
    return apply_concept(states, concept.parts, mode, strength, **more)


@pytest.mark.parametrize("strength", [-1.5, 0.1, 1.0, 2.0])
def test_add_changes_every_token_by_the_same_share_after_rmsnorm(states, concept, strength):
    hidden = moved(states, concept, "add", strength).hidden
    before, after = (normed(one[0].double().numpy()) for one in (states, hidden))
    shares = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
    size = np.sqrt((concept.direction.numpy() ** 2).mean())
    np.testing.assert_allclose(np.delete(shares, SINK), abs(strength) * size, rtol=1e-5)
    assert shares[SINK] == 0
    gained = components(hidden, concept) - components(states, concept)
    assert (gained * np.sign(strength) > 0).all()
    scale = np.sqrt((states.numpy() ** 2).mean(-1))
    np.testing.assert_allclose(np.sqrt((hidden.numpy() ** 2).mean(-1)), scale, rtol=1e-5)


def test_an_added_concept_moves_in_the_plane_of_token_and_direction(states, concept):
    hidden = moved(states.double(), concept, "add", 1.0).hidden[0].numpy()
    unit = concept.direction.numpy() / np.linalg.norm(concept.direction.numpy())
    for before, after in zip(states[0].double().numpy()[1:], hidden[1:], strict=True):
        rest = [row - (row @ unit) * unit for row in (before, after)]
        assert rest[0] @ rest[1] == pytest.approx(np.prod([np.linalg.norm(one) for one in rest]))


@pytest.mark.parametrize(("mode", "strength", "factor"), [
    ("amplify", 1.0, 2.0), ("amplify", -1.0, 0.0), ("remove", 0.5, 0.5), ("remove", 1.0, 0.0),
])  # fmt: skip
def test_what_is_there_is_amplified_or_taken_out(states, concept, mode, strength, factor):
    result = moved(states.double(), concept, mode, strength)
    before = components(states, concept)
    np.testing.assert_allclose(components(result.hidden, concept), factor * before, atol=1e-6)
    assert result.before == pytest.approx([before.mean()])
    assert result.after == pytest.approx([factor * before.mean()], abs=1e-6)


def test_unasked_the_concept_is_added_once(states, concept):
    [default, once] = apply_concept(states, concept.parts), moved(states, concept, "add", 1.0)
    assert torch.equal(default.hidden, once.hidden)


def test_a_removed_concept_is_gone_in_float32_too(states, concept):
    hidden = moved(states, concept, "remove", 1.0).hidden
    assert np.abs(components(hidden, concept)).max() < 1e-6


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_strength_0_is_the_input_and_unselected_tokens_stay_bit_for_bit(
    states, concept, mode, dtype
):
    given = states.clamp(-6e4, 6e4).to(dtype)
    assert moved(given, concept, mode, 0.0).hidden is given
    selected = torch.arange(TOKENS) % 2 == 1
    hidden = moved(given, concept, mode, 1.0, selected=selected).hidden
    assert hidden.dtype == dtype and torch.equal(hidden[:, ~selected], given[:, ~selected])
    assert bool((hidden != given).any(-1)[0, selected].all())


def test_a_sink_moves_only_where_it_is_asked_for(states, concept):
    kept = moved(states, concept, "add", 1.0)
    assert kept.sinks == [SINK] and torch.equal(kept.hidden[:, SINK], states[:, SINK])
    free = moved(states, concept, "add", 1.0, keep_sinks=False)
    assert not free.sinks and not torch.equal(free.hidden[:, SINK], states[:, SINK])


def test_a_strength_that_passes_the_direction_stops_there(concept):
    """And a token of zeros, or along the direction, has nowhere to turn."""
    part = concept.parts[0]
    hidden = torch.stack([part.unit.roll(1), part.unit, 0 * part.unit])[None]
    result = apply_concept(hidden, [part], "add", 20.0, keep_sinks=False).hidden[0]
    torch.testing.assert_close(result, torch.stack([part.unit, part.unit, 0 * part.unit]))


def test_every_tap_is_moved_by_its_own_part(states, concept):
    taps = Taps((9, 18), WIDTH, INTERLEAVED, 36)
    hidden = taps.join([states, states.flip(1)])
    [part] = concept.parts
    both = apply_concept(hidden, [part, None], "add", 1.0, keep_sinks=False, taps=taps)
    first, second = taps.split(both.hidden)
    alone = moved(states, concept, "add", 1.0, keep_sinks=False).hidden
    assert torch.equal(first, alone) and torch.equal(second, states.flip(1))
    assert both.before[1] is None


def test_two_concepts_in_a_row_both_arrive(states, concept):
    other = Concept(concept.direction.roll(3), concept.baseline, concept.spread)
    once = moved(states, concept, "add", 1.0).hidden
    twice = moved(once, other, "add", 1.0).hidden
    for one in (concept, other):
        assert (components(twice, one) > components(states, one)).all()


def test_bad_values_are_refused(states, concept):
    for strength in (float("nan"), 21, "1"):
        with pytest.raises(ValueError, match="strength is .*: it must be a number between"):
            moved(states, concept, "add", strength)
    with pytest.raises(ValueError, match="mode 'more' is not one of add, amplify, remove"):
        moved(states, concept, "more", 1.0)
    with pytest.raises(NonFiniteError):
        moved(states * torch.nan, concept, "add", 1.0)


def test_a_remove_is_what_the_image_model_sees(states, concept):
    """dit_change has an epsilon of its own: it agrees with the share to four digits."""
    hidden = moved(states, concept, "add", 1.0).hidden
    change = dit_change(states, hidden).relative_l2[0, 1:]
    torch.testing.assert_close(
        change, torch.full_like(change, concept.parts[0].size), rtol=1e-4, atol=0
    )
