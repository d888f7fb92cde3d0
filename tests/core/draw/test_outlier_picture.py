"""The outlier survey, its picture, and that any text and any length can be drawn."""

import logging
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from zimage_layer_lab.core.draw.figures import families, printable, spread  # noqa: E402
from zimage_layer_lab.core.draw.outlier_picture import outlier_picture  # noqa: E402
from zimage_layer_lab.core.draw.profile_pictures import profile_picture  # noqa: E402
from zimage_layer_lab.core.draw.token_columns import MOST_COLUMNS, SINGLES, largest, token_columns  # noqa: E402
from zimage_layer_lab.core.measure.reference import Reference, published_qwen3_4b  # noqa: E402
from zimage_layer_lab.core.outliers.survey import survey_outliers, zeroing  # noqa: E402
from zimage_layer_lab.core.profile.heat_map import by_column, heat_map  # noqa: E402
from zimage_layer_lab.core.profile.profile import ProfileStats, summarise  # noqa: E402
from zimage_layer_lab.core.record.record import plain_record  # noqa: E402
from zimage_layer_lab.core.tables import align  # noqa: E402


def states(tokens: int = 30, width: int = 48, sink: int | None = 0) -> torch.Tensor:
    hidden = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(7))
    if sink is not None:
        hidden[0, sink, 5] = 700.0
    return hidden


def draw(hidden: torch.Tensor, reference=None, weight=None, threshold=10.0) -> np.ndarray:
    survey = survey_outliers(hidden, reference, threshold)
    name = reference.name if reference else ""
    return outlier_picture(hidden, plain_record(hidden.shape[1]), survey, weight, name)


@given(
    tokens=st.integers(1, 3000),
    always=st.lists(st.integers(0, 2999), max_size=40),
    seed=st.integers(0, 99),
)
def test_columns_cover_every_token_once_and_stay_few(tokens, always, seed):
    importance = torch.rand(tokens, generator=torch.Generator().manual_seed(seed))
    always = [position for position in always if position < tokens]
    columns = token_columns(importance, always)
    assert [i for c in columns for i in range(c.first, c.last + 1)] == list(range(tokens))
    assert len(columns) <= MOST_COLUMNS
    alone = {column.first for column in columns if not column.is_run}
    if tokens <= MOST_COLUMNS:
        assert len(columns) == tokens
    elif len(set(always)) <= SINGLES:
        assert set(always) <= alone


def test_a_run_shows_its_largest_value():
    values = torch.arange(200.0)
    columns = token_columns(values, [3])
    assert largest(values, columns).tolist() == [float(column.last) for column in columns]


@given(
    places=st.lists(st.floats(-5, 5), max_size=12),
    gap=st.floats(0.01, 0.08),
)
def test_labels_are_moved_apart_in_order(places, gap):
    moved = spread(places, gap, 0.0, 1.0)
    order = sorted(range(len(places)), key=lambda i: places[i])
    ranked = [moved[i] for i in order]
    assert all(b - a >= gap - 1e-9 for a, b in zip(ranked[:-1], ranked[1:], strict=True))
    assert not ranked or (ranked[0] >= -1e-9 and ranked[-1] <= 1 + 1e-9)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" fox", " fox"),
        ("\n\t", "\\n\\t"),
        ("$x_1^2$", "$x_1^2$"),
        ("\x00\u200f", "\\x00\\u200f"),
        ("\ud83d", "\\ud83d"),
        ("\U0001f9a4", "\\U0001f9a4"),
    ],
)
def test_what_cannot_be_drawn_is_escaped(text, shown):
    assert printable(text) == shown


def test_chinese_is_drawn_with_a_font_that_has_it_and_escaped_without(monkeypatch):
    assert families()[0] == "DejaVu Sans"
    assert printable("中") == ("中" if len(families()) > 1 else "\\u4e2d")
    assert printable("abcdefgh", 5) == "abcd…"


def test_any_text_makes_a_picture_without_a_warning(caplog):
    texts = ("\n", "$\\frac{", "中国", "🦊", "\ud83d", "ش", "_^", "\u200f")
    hidden = states(tokens=8)
    record = plain_record(8, source="$a_中$\n")
    record = type(record)(None, record.source, record.ids, texts, record.roles)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = outlier_picture(hidden, record, survey_outliers(hidden))
    assert not caplog.records and picture.std() > 0.05


@pytest.fixture(scope="module")
def usual_shape():
    return draw(states()).shape


@pytest.mark.parametrize(
    "hidden",
    [
        states(),
        states(sink=None),
        states(tokens=1, sink=None),
        states(tokens=1200, sink=800),
        torch.zeros(1, 5, 16),
        torch.full((1, 5, 16), 1e20),
        states().expand(3, -1, -1),
        torch.where(torch.arange(48) < 40, 0.0, states()),
    ],
    ids=["sink", "no sink", "one token", "long", "zero", "constant", "batch", "mostly zero"],
)
@pytest.mark.parametrize("threshold", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_every_picture_has_one_size(hidden, threshold, usual_shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = draw(hidden, threshold=threshold)
    assert picture.shape == usual_shape
    assert picture.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1


@pytest.mark.slow
def test_references_of_all_kinds_can_be_drawn():
    hidden = states(width=2560)
    draw(hidden, published_qwen3_4b())
    zeros = torch.zeros(2560, dtype=torch.float64)
    draw(hidden, Reference(zeros, zeros, 0.0, 0.0))
    whole = hidden[0].double()
    built = Reference(
        whole.mean(0), whole.std(0), 0.0, 1.0, whole[1:].mean(0), whole[1:].std(0), {"model": "m"}
    )
    picture = draw(hidden, built, torch.rand(2560))
    assert not np.array_equal(picture, draw(hidden, built))


def test_zeroing_without_a_weight_equals_geometry():
    """With share s of the squared norm gone, the change is sqrt(2 - 2 sqrt(1 - s))."""
    hidden = 10 * states(tokens=6, width=400).double().float()
    seen = zeroing(hidden, [5, 9])
    x = hidden[0].double().numpy()
    share = (x[:, [5, 9]] ** 2).sum(1) / (x**2).sum(1)
    assert np.allclose(seen.share_before[0].numpy(), share, rtol=1e-12)
    assert np.allclose(seen.share_after[0].numpy(), share, rtol=1e-12)
    change = np.sqrt(2 - 2 * np.sqrt(1 - share))
    assert np.allclose(seen.change.relative_l2[0].numpy(), change, rtol=2e-3)


def test_a_weight_shifts_the_share():
    hidden = torch.tensor([[[3.0, 4.0]]])
    seen = zeroing(hidden, [0], torch.tensor([2.0, 1.0]))
    assert float(seen.share_before) == pytest.approx(9 / 25)
    assert float(seen.share_after) == pytest.approx(36 / 52)
    nothing = zeroing(torch.zeros(1, 2, 2), [0])
    assert float(nothing.share_before.max()) == 0.0


def test_columns_of_a_wide_heat_map_keep_the_maximum():
    values = torch.arange(2 * 2560.0).reshape(2, 2560)
    small = by_column(values)
    assert small.shape == (2, 640)
    assert torch.equal(small, values[:, 3::4])
    odd = by_column(torch.arange(1001.0)[None])
    assert odd.shape == (1, 501) and float(odd[0, -1]) == 1000.0
    assert by_column(values[:, :640]) is not None and by_column(values[:, :640]).shape == (2, 640)


@pytest.mark.parametrize("massive", [False, True])
@pytest.mark.parametrize("blocks", [1, 8, pytest.param(36, marks=pytest.mark.slow)])
def test_profiles_of_any_depth_can_be_drawn(blocks, massive):
    stats = ProfileStats(blocks, 32)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        hidden = {i: torch.randn(9, 32, generator=generator) for i in range(blocks + 1)}
        if massive:
            for index in range(blocks // 3, blocks):
                hidden[index][0, 3] = 5000.0
        stats.update(hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = profile_picture(summarise(stats, "$m$ 中"), heat_map(stats), 10.0)
    assert picture.ndim == 3 and picture.std() > 0.05


def test_cells_are_aligned():
    assert align([("a", "bbb"), ("cc", "d")]) == ["a   bbb", "cc  d"]
