"""Directions of concepts against their definition in NumPy float64, and planted ones."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.concept.direction import ConceptError, find_direction, measure_side
from zimage_layer_lab.core.concept.words import found_in_words
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps

from .planted import LOUD, PAIRS, SINK, TOKENS, WIDTH, cosine, normed, planted, truth

ALL = torch.ones(TOKENS, dtype=torch.bool)


def measured(side, content=ALL, taps=None):
    hidden = side if isinstance(side, torch.Tensor) else torch.from_numpy(side)
    return measure_side(hidden, content, torch.ones(len(hidden), dtype=torch.bool), taps)


def found(sides, **more):
    return find_direction([(measured(a), measured(b)) for a, b in sides], **more)


def test_a_direction_is_its_definition():
    sides, _ = planted()
    finding = found(sides)
    direction, baseline, spread = truth(sides)
    for ours, theirs in (("direction", direction), ("baseline", baseline), ("spread", spread)):
        np.testing.assert_allclose(getattr(finding.concept, ours).numpy(), theirs, atol=1e-12)
    assert finding.limited == (LOUD,)
    assert (finding.tokens, finding.sinks) == (2 * PAIRS * (TOKENS - 1), 2 * PAIRS)
    [part] = finding.concept.parts
    assert part.size == pytest.approx(np.sqrt((direction**2).mean()))
    unit = direction / np.linalg.norm(direction)
    assert part.baseline == pytest.approx(baseline @ unit / WIDTH**0.5)


def test_a_planted_concept_is_found_where_the_plain_mean_follows_a_sink():
    sides, vector = planted()
    plain = np.mean([a.mean(0) - b.mean(0) for a, b in sides], 0)
    assert cosine(found(sides).concept.direction.numpy(), vector) > 0.99
    assert cosine(plain, vector) < 0.5


def test_a_loud_dimension_that_differs_by_chance_counts_for_less():
    sides, vector = planted(chance=True)
    direction = found(sides).concept.direction.numpy()
    content = [[normed(np.delete(side, SINK, 0)).mean(0) for side in pair] for pair in sides]
    plain = np.mean([a - b for a, b in content], 0)
    shares = [one[LOUD] ** 2 / (one @ one) for one in (direction, plain)]
    assert shares[0] < 0.5 * shares[1]
    assert cosine(direction, vector) > cosine(plain, vector)


def test_consistency_is_the_cosine_with_the_other_pairs_and_a_swapped_pair_shows():
    sides, _ = planted()
    sides[2] = sides[2][::-1]
    direction, _, spread = truth(sides)
    finding = found(sides, prompts=[(f"with {n}", f"without {n}") for n in range(PAIRS)])
    weights = np.minimum(1, 3 * np.sort(spread)[(WIDTH - 1) // 2] / spread)
    own = [
        weights * (normed(np.delete(a, SINK, 0)).mean(0) - normed(np.delete(b, SINK, 0)).mean(0))
        for a, b in sides
    ]
    expected = [cosine(one, sum(own) - one) for one in own]
    np.testing.assert_allclose(finding.cosines[:, 0].numpy(), expected, atol=1e-12)
    report = found_in_words(finding)
    assert "pair 3 ('with 2') agrees least, -" in report and "sides are swapped" in report


def test_scaling_a_token_changes_nothing_and_the_report_says_what_survives():
    sides, _ = planted()
    scaled = [(30 * a, b) for a, b in sides]
    one, other = found(sides), found(scaled)
    torch.testing.assert_close(one.concept.direction, other.concept.direction)
    assert other.raw > 10 * one.raw and torch.allclose(other.normed, one.normed)
    assert f"{float(one.normed / one.raw):.2f}" in found_in_words(one)


def test_only_content_counts():
    sides, _ = planted()
    content = ALL.clone()
    content[-4:] = False
    changed = [(a.copy(), b) for a, b in sides]
    for a, _ in changed:
        a[-4:] = 1.0
    once, twice = (
        find_direction([(measured(a, content), measured(b, content)) for a, b in some])
        for some in (sides, changed)
    )
    assert torch.equal(once.concept.direction, twice.concept.direction)


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
def test_every_tap_has_a_direction_of_its_own(order):
    taps = Taps((9, 18), WIDTH, order, 36)
    each = [planted(seed)[0] for seed in (0, 1)]

    def joined(pair, side):
        parts = [torch.from_numpy(each[tap][pair][side])[None] for tap in range(2)]
        return measured(taps.join(parts)[0], taps=taps)

    sides = [(joined(pair, 0), joined(pair, 1)) for pair in range(PAIRS)]
    concept = find_direction(sides, taps).concept
    parts = taps.split(concept.direction[None, None])
    for part, alone in zip(parts, each, strict=True):
        np.testing.assert_allclose(part[0, 0].numpy(), truth(alone)[0], atol=1e-12)


def test_one_pair_of_single_tokens_has_a_direction_and_no_consistency():
    one, other = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    single = torch.ones(1, dtype=torch.bool)
    finding = find_direction([(measured(one, single), measured(other, single))])
    want = torch.tensor([-1.0, 1.0], dtype=torch.float64) / 12.5**0.5
    torch.testing.assert_close(finding.concept.direction, want)
    assert "one pair" in found_in_words(finding)


def test_what_has_no_direction_is_refused_in_a_sentence():
    sides, _ = planted(pairs=1)
    [(one, _)] = sides
    with pytest.raises(ConceptError, match="the pair have? the same states: change"):
        found([(one, one)])
    with pytest.raises(ConceptError, match="no pair of prompts: write"):
        found([])
    with pytest.raises(ConceptError, match="no content token.*write"):
        measured(one, ~ALL)
    one[3, 5] = np.nan
    with pytest.raises(NonFiniteError, match="token 3 dimension 5"):
        measured(one)
