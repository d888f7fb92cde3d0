"""Steering by a concept against NumPy float64."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.concept.applying import MODES, apply_concept
from zimage_layer_lab.core.concept.concept import Concept, ConceptPart
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


def test_a_mode_read_from_a_file_is_the_same_mode(states, concept):
    for mode in MODES:
        read = "".join(list(mode))
        expected = moved(states, concept, mode, 0.5).hidden
        assert torch.equal(moved(states, concept, read, 0.5).hidden, expected)


HALF = ConceptPart(torch.tensor([1.0, 0.0], dtype=torch.float64), 0.5, 0.25)
"""Along the first of two dimensions; a strength of 1 is a chord of 0.5."""


def turned(token, mode, strength, part=HALF):
    hidden = torch.tensor([[token]], dtype=torch.float64)
    return apply_concept(hidden, [part], mode, strength)


@pytest.mark.parametrize("strength", [1.0, -1.0, 3.0, 4.0, 7.0])
def test_an_angle_is_what_its_chord_says(strength):
    """A token at 120 degrees, of length 10; 2 asin(chord / 2), at most 180, nearer or farther."""
    angle = 2 * np.pi / 3
    step = 2 * np.arcsin(min(abs(strength) * 0.5, 2.0) / 2) * np.sign(strength)
    after = np.clip(angle - step, 0, np.pi)
    result = turned([10 * np.cos(angle), 10 * np.sin(angle)], "add", strength)
    want = [10 * np.cos(after), 10 * np.sin(after)]
    np.testing.assert_allclose(result.hidden[0, 0].numpy(), want, atol=1e-6)
    assert result.before == pytest.approx([(np.cos(angle) - 0.25) / 0.5])
    assert result.after == pytest.approx([(np.cos(after) - 0.25) / 0.5])


@pytest.mark.parametrize(
    ("mode", "strength", "cosine"),
    [
        ("amplify", 1.0, 0.25 + 2 * (0.6 - 0.25)),
        ("amplify", 5.0, 1.0),
        ("amplify", -6.0, -1.0),
        ("amplify", -1.0, 0.25),
        ("remove", 1.0, 0.25),
        ("remove", -1.0, 0.25 + 2 * (0.6 - 0.25)),
        ("remove", 2.0, 0.25 - (0.6 - 0.25)),
    ],
)
def test_a_component_is_counted_from_the_baseline_and_no_larger_than_the_token(
    mode, strength, cosine
):
    result = turned([3.0, -4.0], mode, strength)
    want = [5 * cosine, -5 * (1 - cosine**2) ** 0.5]
    np.testing.assert_allclose(result.hidden[0, 0].numpy(), want, atol=1e-6)
    assert result.before == pytest.approx([(0.6 - 0.25) / 0.5])
    assert result.after == pytest.approx([(cosine - 0.25) / 0.5])


@pytest.mark.parametrize("strength", [-20, 20, -20.5, 20.5])
def test_a_strength_is_at_most_20_either_way(strength):
    if abs(strength) == 20:
        assert turned([3.0, 4.0], "add", strength).hidden.shape == (1, 1, 2)
        return
    with pytest.raises(ValueError) as refused:
        turned([3.0, 4.0], "add", strength)
    assert str(refused.value) == f"strength is {strength}: it must be a number between -20 and 20"


def test_what_is_refused_says_that_it_is_the_conditioning():
    with pytest.raises(NonFiniteError, match="^the conditioning holds 1 non-finite values: "):
        turned([3.0, float("nan")], "add", 1.0)
    with pytest.raises(ValueError, match="^the conditioning has shape "):
        apply_concept(torch.zeros(2), [HALF])


def test_a_concept_that_is_not_there_or_no_token_at_all_moves_nothing(states, concept):
    none = concept.parts[0]._replace(size=0.0)
    for part, selected in ((none, None), (None, None), (concept.parts[0], torch.zeros(TOKENS) > 0)):
        result = apply_concept(states, [part], "add", 1.0, selected)
        assert torch.equal(result.hidden, states)
        assert (result.before, result.after) == ([None], [None])


def test_a_strength_of_0_says_the_same_before_and_after(states, concept):
    result = moved(states, concept, "add", 0.0)
    assert result.before == result.after == moved(states, concept, "add", 1.0).before
    assert result.sinks == [SINK]


def test_a_sink_that_is_not_selected_is_not_counted_and_padding_makes_no_sink(states, concept):
    selected = torch.arange(TOKENS) != SINK
    assert moved(states, concept, "add", 1.0, selected=selected).sinks == []
    whole = torch.arange(TOKENS) != SINK
    result = moved(states, concept, "add", 1.0, whole=whole)
    assert result.sinks == [] and not torch.equal(result.hidden[:, SINK], states[:, SINK])


def test_a_sink_of_one_tap_or_of_one_of_the_batch_is_listed_once(states, concept):
    [part] = concept.parts
    calm = torch.cat([states[:, 1:2], states[:, 1:]], 1)
    taps = Taps((9, 18), WIDTH)
    both = taps.join([calm, states])
    result = apply_concept(both, [part, part], "add", 1.0, taps=taps)
    assert result.sinks == [SINK]
    first, second = taps.split(result.hidden)
    assert not torch.equal(first[:, SINK], calm[:, SINK])
    assert torch.equal(second[:, SINK], states[:, SINK])
    batch = apply_concept(torch.cat([calm, states, states]), [part], "add", 1.0)
    assert batch.sinks == [SINK]


def test_the_input_is_not_modified(states, concept):
    before = states.clone()
    moved(states, concept, "amplify", 2.0)
    assert torch.equal(states, before)


@pytest.mark.parametrize("mode", MODES)
def test_a_token_of_zeros_counts_as_without_direction_among_those_that_move(mode):
    """Its cosine is 0, before and after; that of the other is 0.6 before."""
    hidden = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]], dtype=torch.float64)
    result = apply_concept(hidden, [HALF], mode, 0.5)
    alone = turned([3.0, 4.0], mode, 0.5)
    assert result.before == pytest.approx([((0.6 + 0.0) / 2 - 0.25) / 0.5])
    assert result.after == pytest.approx([(alone.after[0] + (0.0 - 0.25) / 0.5) / 2])
    assert result.hidden[0, 1].tolist() == [0.0, 0.0]
    assert torch.equal(result.hidden[0, 0], alone.hidden[0, 0])
