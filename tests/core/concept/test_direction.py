"""Directions of concepts against their definition in NumPy float64, and planted ones."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.checks import NonFiniteError
from zimage_layer_lab.core.concept.direction import (
    ConceptError,
    SideMeans,
    find_direction,
    measure_side,
)
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


ONE = torch.ones(1, dtype=torch.bool)


def side(mean, spread=None, tokens=3, rms=1.0, sinks=0):
    """Of one tap, or of several where ``tokens`` are."""
    mean = torch.tensor(mean, dtype=torch.float64)
    counts = torch.tensor(tokens).reshape(-1)
    spread = torch.zeros(len(mean)) if spread is None else torch.tensor(spread)
    m2 = spread.double() ** 2 * (int(counts[0]) - 1)
    return SideMeans(mean, m2, 10 * mean, torch.full((len(counts),), rms).double(), counts, sinks)


def test_figures_of_two_pairs_by_hand():
    """Differences (1, 0) and (0, 1): cosine 0 with each other; their mean is (0.5, 0.5)."""
    sides = [
        (side([2.0, 0.0], sinks=1), side([1.0, 0.0], rms=3.0, tokens=5)),
        (side([0.0, 1.0]), side([0.0, 0.0], rms=1.0, sinks=2)),
    ]
    finding = find_direction(sides, prompts=[("a", "b")], provenance={"model": "x"})
    assert finding.concept.direction.tolist() == [0.5, 0.5]
    assert finding.concept.baseline.tolist() == [0.5, 0.0]
    assert finding.cosines.tolist() == [[0.0], [0.0]]
    assert finding.normed.tolist() == pytest.approx([0.5])
    assert finding.raw.tolist() == pytest.approx([5.0 / 5.0**0.5])  # rms: of 3 and 1 in squares.
    assert (finding.tokens, finding.sinks, finding.limited) == (3 + 5 + 3 + 3, 3, ())
    assert finding.concept.prompts == (("a", "b"),) and finding.concept.taps is None
    known = {"model": "x", "pairs": "2", "consistency": "0.000"}
    assert dict(finding.concept.provenance) == known


def test_one_pair_has_no_consistency():
    finding = find_direction([(side([1.0, 0.0]), side([0.0, 0.0]))])
    assert dict(finding.concept.provenance) == {"pairs": "1"}
    assert finding.cosines.shape == (1, 1) and bool(finding.cosines.isnan().all())
    assert finding.cosines.dtype == torch.float64


def test_loud_dimensions_are_limited_to_three_times_the_median_spread_the_loudest_first():
    """Of the spreads that are not 0, 1, 1, 1, 2, 4, 12 and 8, the median is 2 and the limit 6."""
    spread = [1.0, 8.0, 0.0, 4.0, 1.0, 2.0, 1.0, 12.0]
    finding = find_direction([(side([1.0] * 8, spread), side([0.0] * 8, spread))])
    assert finding.limited == (7, 1)
    weights = [1.0, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert finding.concept.direction.tolist() == pytest.approx(weights)
    np.testing.assert_allclose(finding.concept.spread.numpy(), spread)


def test_the_spread_is_pooled_over_the_prompts_by_their_tokens():
    sides = [(side([1.0], [2.0], tokens=2), side([0.0], [4.0], tokens=4))]
    spread = find_direction(sides).concept.spread
    assert spread.tolist() == pytest.approx([((1 * 4 + 3 * 16) / 4) ** 0.5])
    lonely = find_direction([(side([1.0], tokens=1), side([0.0], tokens=1))]).concept
    assert lonely.spread.tolist() == [0.0] and lonely.direction.tolist() == [1.0]
    two = find_direction([(side([1.0], [2.0], tokens=2), side([0.0], tokens=1))]).concept
    assert two.spread.tolist() == pytest.approx([2.0])


def test_states_of_length_0_have_no_length_to_compare_with():
    finding = find_direction([(side([1.0, 0.0]), side([0.0, 0.0], rms=0.0))])
    assert finding.raw.tolist() == pytest.approx([10 / 2**0.5])


@pytest.mark.parametrize(
    ("size", "found"), [(0.0, False), (1e-5, False), (1.01e-5, True), (1.0, True)]
)
def test_a_difference_up_to_rounding_is_none(size, found):
    pair = (side([size] * 3), side([0.0] * 3))
    for pairs, which in (([pair], "the pair"), ([pair, pair], "all pairs")):
        if found:
            assert find_direction(pairs).normed.tolist() == pytest.approx([size])
            continue
        with pytest.raises(ConceptError) as refused:
            find_direction(pairs)
        assert str(refused.value) == (
            f"the two sides of {which} have the same states: change the prompts of one side, so "
            "that they say what the other does not"
        )


def test_one_tap_with_the_concept_is_enough_and_tokens_are_those_of_the_tap_with_the_most():
    taps = Taps((9, 18), 2)
    pair = (side([1.0, 1.0, 0.0, 0.0], tokens=[3, 5]), side([0.0] * 4, tokens=[4, 2]))
    finding = find_direction([pair], taps)
    assert finding.normed.tolist() == [1.0, 0.0] and finding.tokens == 5 + 4
    assert [part.size for part in finding.concept.parts] == pytest.approx([1.0, 0.0])


def test_what_cannot_be_measured_is_told_in_a_whole_sentence():
    with pytest.raises(ConceptError) as refused:
        find_direction([])
    assert str(refused.value) == "there is no pair of prompts: write at least one"
    with pytest.raises(ConceptError) as refused:
        measure_side(torch.ones(1, 2), ~ONE, ONE, None)
    assert str(refused.value) == (
        "it has no content token (attention sinks and the template do not count): write what the "
        "image shows"
    )
    with pytest.raises(NonFiniteError, match="^the hidden state holds 1 non-finite values: "):
        measure_side(torch.tensor([[1.0, torch.inf]]), ONE, ONE, None)


def test_the_means_of_one_prompt_by_hand():
    """Tokens (3, 4) and (0, 2) and one of zeros: rms 5 / sqrt 2, sqrt 2 and 0."""
    hidden = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    every = torch.ones(3, dtype=torch.bool)
    means = measure_side(hidden, every, every, None)
    root = 2**0.5
    rows = np.array([[0.6 * root, 0.8 * root], [0.0, root], [0.0, 0.0]])
    np.testing.assert_allclose(means.mean.numpy(), rows.mean(0))
    np.testing.assert_allclose(means.m2.numpy(), ((rows - rows.mean(0)) ** 2).sum(0))
    assert means.raw.tolist() == pytest.approx([1.0, 2.0])
    assert means.rms.tolist() == pytest.approx([((12.5 + 2.0) / 3) ** 0.5])
    assert means.tokens.tolist() == [3] and means.sinks == 0


def test_a_sink_of_one_tap_is_left_out_there_alone_and_counted_once():
    sides, _ = planted()
    loud = torch.from_numpy(sides[0][0])
    calm = torch.cat([loud[1:2], loud[1:]])
    taps = Taps((9, 18, 27), WIDTH)
    hidden = taps.join([calm[None], loud[None], loud[None]])[0]
    means = measure_side(hidden, ALL, ALL, taps)
    assert means.tokens.tolist() == [TOKENS, TOKENS - 1, TOKENS - 1] and means.sinks == 1
    for tap, rows in enumerate((calm, loud[1:], loud[1:])):
        np.testing.assert_allclose(
            means.raw[tap * WIDTH : (tap + 1) * WIDTH].numpy(), rows.mean(0).numpy()
        )
    # A sink that is no content is not counted.
    content = ALL.clone()
    content[SINK] = False
    assert measure_side(hidden, content, ALL, taps).sinks == 0
