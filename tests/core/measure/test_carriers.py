"""Which position and which token carries a dimension, against NumPy over everything at once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zimage_layer_lab.core.measure.carriers import FAR_RATIO, FIRST_POSITIONS, Carriers
from zimage_layer_lab.core.measure.dimension_stats import Place
from zimage_layer_lab.core.measure.moments import column_moments
from zimage_layer_lab.core.measure.sinks import sequence_medians

WIDTH, COMMA, BOS = 12, 7, 1


def corpus(seed=0, prompts=6, nan=False):
    """[(ids, (tokens, width) float64)]: <bos> is loud in dimension 3, each comma in dimension 5."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(prompts):
        length = int(generator.integers(4, 30))
        ids = generator.integers(10, 16, length)
        ids[generator.random(length) < 0.15] = COMMA
        ids[0] = BOS
        rows = generator.normal(size=(length, WIDTH))
        rows[:, 5] += 40.0
        rows[0, 3] -= 3000.0
        rows[ids == COMMA, 5] += 500.0 + number
        if nan:
            rows[generator.integers(1, length), 5] = np.nan
            rows[0, 4] = np.inf
        made.append((ids, rows))
    return made


def streamed(made, order=None, batch=1, with_ids=True):
    """Batches with padding of large values, in an order of one's own."""
    carriers = Carriers(WIDTH)
    order = list(range(len(made))) if order is None else order
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch]
        longest = max(len(made[number][0]) for number in numbers)
        hidden = torch.full((len(numbers), longest, WIDTH), 1e5, dtype=torch.float64)
        ids = torch.full((len(numbers), longest), COMMA)
        selected = torch.zeros(len(numbers), longest, dtype=torch.bool)
        for row, number in enumerate(numbers):
            own, rows = made[number]
            hidden[row, : len(own)] = torch.from_numpy(rows)
            ids[row, : len(own)] = torch.from_numpy(own)
            selected[row, : len(own)] = True
        medians = sequence_medians(hidden, selected)
        carriers.update(hidden, selected, numbers, medians, ids if with_ids else None)
    return carriers


def whole(made):
    return column_moments(torch.from_numpy(np.concatenate([rows for _, rows in made])))


def deviations(made, dimension):
    """Per prompt, squared deviations from the mean over all finite values, NaN where not finite."""
    values = [np.where(np.isfinite(rows), rows, np.nan)[:, dimension] for _, rows in made]
    mean = np.nanmean(np.concatenate(values))
    return [(own - mean) ** 2 for own in values]


def far(made, dimension):
    """Per prompt, which values are far from their sequence's median."""
    found = []
    for _, rows in made:
        finite = np.where(np.isfinite(rows), rows, np.nan)
        ordered = np.sort(finite, axis=0)
        middle = (np.isfinite(finite).sum(0) - 1) // 2
        sizes = np.abs(rows - ordered[middle, range(WIDTH)])
        found.append(sizes[:, dimension] > FAR_RATIO * np.median(sizes.mean(1)))
    return found


@pytest.mark.parametrize("batch", [1, 2, 6])
@pytest.mark.parametrize("dimension", [0, 3, 5])
def test_shares_by_position_are_those_of_every_token_there(dimension, batch):
    made = corpus()
    carried = streamed(made, batch=batch).of(dimension, whole(made))
    squares = deviations(made, dimension)
    total = sum(own.sum() for own in squares)
    for position in range(FIRST_POSITIONS):
        there = sum(own[position] for own in squares if len(own) > position)
        assert carried.positions[position] == pytest.approx(there / total, rel=1e-9)
    assert carried.later == pytest.approx(sum(own[8:].sum() for own in squares) / total, abs=1e-9)
    assert sum(carried.positions) + carried.later == pytest.approx(1.0)


@pytest.mark.parametrize(("dimension", "token", "least"), [(3, BOS, 0.9), (5, COMMA, 0.8)])
def test_shares_by_token_are_those_of_its_far_values(dimension, token, least):
    made = corpus()
    [carried, *others] = streamed(made).of(dimension, whole(made)).tokens
    squares, there = deviations(made, dimension), far(made, dimension)
    chosen = [(made[n][0] == token) & there[n] for n in range(len(made))]
    share = sum(own[mask].sum() for own, mask in zip(squares, chosen, strict=True))
    assert carried.share == pytest.approx(share / sum(own.sum() for own in squares), rel=1e-9)
    assert carried.share > least and others == []
    assert carried.values == sum(mask.sum() for mask in chosen)
    first = min((n, int(p)) for n, mask in enumerate(chosen) for p in np.flatnonzero(mask))
    assert carried.place == Place(*first)


def test_no_token_carries_a_dimension_without_far_values():
    made = corpus()
    assert streamed(made).of(0, whole(made)).tokens == ()


@given(
    seed=st.integers(0, 2**31),
    parts=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    order=st.permutations(range(6)),
    batch=st.integers(1, 4),
)
def test_merged_in_any_order_it_is_the_same(seed, parts, order, batch):
    made = corpus(seed)
    merged = Carriers(WIDTH)
    for part in range(3):
        numbers = [number for number in order if parts[number] == part]
        merged = merged.merge(streamed(made, numbers, batch))
    one = streamed(made)
    for name in ("tokens", "prompts", "far_keys", "far_places", "count"):
        assert torch.equal(getattr(merged, name), getattr(one, name)), name
    for name in ("mean", "m2", "far_moments"):
        torch.testing.assert_close(getattr(merged, name), getattr(one, name), rtol=1e-9, atol=1e-7)


def test_values_that_are_not_finite_are_left_out():
    made = corpus(nan=True)
    squares = deviations(made, 5)
    total = sum(np.nansum(own) for own in squares)
    finite = np.concatenate([rows for _, rows in made])[:, 5]
    finite = finite[np.isfinite(finite)]
    carriers = streamed(made)
    moments = whole(corpus())
    moments.mean[5], moments.m2[5] = finite.mean(), ((finite - finite.mean()) ** 2).sum()
    carried = carriers.of(5, moments)
    there = sum(np.nan_to_num(own[1]) for own in squares)
    assert carried.positions[1] == pytest.approx(there / total, rel=1e-9)
    assert carriers.count[0, 4] == 0 and carriers.mean.isfinite().all()


def test_a_position_has_a_token_where_all_prompts_have_the_same_there():
    made = corpus()
    carriers = streamed(made)
    assert carriers.tokens[0] == BOS
    places = carriers.of(3, whole(made)).places
    assert places[0] == Place(0, 0)
    second = {int(ids[1]) for ids, _ in made}
    assert (places[1] is None) == (len(second) > 1) and len(second) > 1


def test_without_ids_only_positions_are_told():
    made = corpus()
    carried = streamed(made, with_ids=False).of(3, whole(made))
    assert carried.positions[0] > 0.9
    assert carried.tokens == () and set(carried.places) == {None}


def test_what_is_no_token_of_the_vocabulary_is_no_token():
    """The parts of an image have the id -1."""
    made = [(np.full_like(ids, -1), rows) for ids, rows in corpus()]
    carried = streamed(made).of(3, whole(made))
    assert carried.tokens == () and set(carried.places) == {None}


def test_a_dimension_that_does_not_vary_is_carried_by_nothing():
    made = [(ids, np.ones_like(rows)) for ids, rows in corpus()]
    carried = streamed(made).of(3, whole(made))
    assert carried.positions == (0.0,) * FIRST_POSITIONS and carried.later == 0.0


def test_other_widths_do_not_merge():
    with pytest.raises(ValueError, match="cannot merge widths 12 and 13"):
        Carriers(12).merge(Carriers(13))
