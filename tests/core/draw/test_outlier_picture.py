"""The outlier survey, its picture, and that any text and any length can be drawn."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from zimage_layer_lab.core.dit.view import FirstMatrix  # noqa: E402
from zimage_layer_lab.core.draw.outlier_picture import outlier_figure, outlier_picture  # noqa: E402
from zimage_layer_lab.core.draw.token_columns import MOST_COLUMNS, SINGLES, largest, token_columns  # noqa: E402
from zimage_layer_lab.core.measure.reference import Reference, published_qwen3_4b  # noqa: E402
from zimage_layer_lab.core.outliers.survey import survey_outliers, zeroing  # noqa: E402
from zimage_layer_lab.core.record.record import plain_record  # noqa: E402
from zimage_layer_lab.core.tables import align  # noqa: E402

from ...oracles.figures import assert_readable, no_warning, seen_texts, words  # noqa: E402


def states(tokens: int = 30, width: int = 48, sink: int | None = 0) -> torch.Tensor:
    hidden = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(7))
    if sink is not None:
        hidden[0, sink, 5] = 700.0
    return hidden


def draw(hidden: torch.Tensor, reference=None, weight=None, threshold=10.0) -> np.ndarray:
    survey = survey_outliers(hidden, reference, threshold)
    name = reference.name if reference else ""
    return outlier_picture(hidden, plain_record(hidden.shape[1]), survey, weight, name)


def figure_of(hidden, reference=None, weight=None, threshold=10.0, record=None):
    survey = survey_outliers(hidden, reference, threshold)
    name = reference.name if reference else ""
    record = record or plain_record(hidden.shape[1])
    return outlier_figure(hidden, record, survey, weight, name)


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


def test_any_text_makes_a_picture_without_a_warning(caplog):
    texts = ("\n", "$\\frac{", "中国", "🦊", "\ud83d", "ش", "_^", "\u200f")
    hidden = states(tokens=8)
    record = plain_record(8, source="$a_中$\n")
    record = type(record)(None, record.source, record.ids, texts, record.roles)
    with caplog.at_level(logging.WARNING), no_warning():
        figure = outlier_figure(hidden, record, survey_outliers(hidden))
        assert_readable(figure)
    assert not caplog.records


@pytest.mark.parametrize(
    "hidden",
    [
        states(),
        states(sink=None),
        states(tokens=1, sink=None),
        pytest.param(states(tokens=1200, sink=800), marks=pytest.mark.slow),
        torch.zeros(1, 5, 16),
        pytest.param(torch.full((1, 5, 16), 1e20), marks=pytest.mark.slow),
        pytest.param(states().expand(3, -1, -1), marks=pytest.mark.slow),
        torch.where(torch.arange(48) < 40, 0.0, states()),
    ],
    ids=["sink", "no sink", "one token", "long", "zero", "constant", "batch", "mostly zero"],
)
@pytest.mark.parametrize("threshold", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
def test_every_picture_is_readable_and_has_one_size(hidden, threshold):
    with no_warning():
        figure = figure_of(hidden, threshold=threshold)
        assert_readable(figure)
    assert figure.bbox.size.round().tolist() == [1210.0, 968.0]


def test_the_picture_is_its_figures_pixels():
    picture = draw(states())
    assert picture.shape == (968, 1210, 3)
    assert picture.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1
    assert picture.std() > 0.05


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


ORANGE, BLUE, GREEN, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"


def planted():
    """30 tokens x 48 dimensions: token 0 is a sink through dimension 5, dimension 9 is quiet."""
    hidden = states()
    hidden[..., 9] *= 0.01
    return hidden


def stds(hidden):
    """Of all tokens and of all but the first, in float64."""
    x = hidden[0].double().numpy()
    return x.std(0, ddof=1), x[1:].std(0, ddof=1)


def panels(figure):
    """The axes with stds, with tokens, and with what the DiT sees."""
    [tokens] = [axes for axes in figure.axes if axes.images]
    [seen] = [axes for axes in figure.axes if axes.get_ylabel() == "per token"]
    return figure.axes[0], tokens, seen


def labelled(axes, label):
    [found] = [one for one in axes.lines if one.get_label() == label]
    return found


def test_stds_are_drawn_by_rank_with_and_without_sinks():
    hidden = planted()
    whole, bare = stds(hidden)
    std, _, _ = panels(figure_of(hidden))
    order = np.argsort(-whole)
    ranks = np.empty(48)
    ranks[order] = np.arange(1, 49)
    dots, rings = labelled(std, "all tokens"), labelled(std, "without sink tokens")
    assert np.array_equal(dots.get_xdata(), ranks) and np.array_equal(rings.get_xdata(), ranks)
    assert np.allclose(dots.get_ydata(), whole, rtol=1e-5)
    assert np.allclose(rings.get_ydata(), bare, rtol=1e-5)
    assert to_hex(rings.get_markeredgecolor()) == BLUE and dots.get_color() == "black"
    assert std.get_xlabel() == "rank by std over all tokens (1: the loudest)"
    assert std.get_ylabel() == "std of these states (dotted: 10x more and less than the reference)"
    title = std.get_title(loc="left").replace("\n", " ")
    assert title == "Std of every dimension, against the median std of its own dimensions"


@pytest.mark.parametrize("threshold", [10.0, 3.0])
def test_the_lines_across_are_the_reference_and_the_threshold_both_ways(threshold):
    hidden = planted()
    std, _, _ = panels(figure_of(hidden, threshold=threshold))
    whole, _ = stds(hidden)
    median = np.median(whole)
    levels = {one.get_ls(): [] for one in std.lines if to_hex(one.get_color()) == GREY}
    for one in std.lines:
        if to_hex(one.get_color()) == GREY:
            levels[one.get_ls()].append(one.get_ydata()[0])
    assert levels["-"] == pytest.approx([median], rel=1e-5)
    assert sorted(levels[":"]) == pytest.approx([median / threshold, median * threshold], rel=1e-5)


def test_findings_are_named_with_their_ratio_in_their_colour():
    hidden = planted()
    whole, bare = stds(hidden)
    figure = figure_of(hidden)
    std, _, _ = panels(figure)
    median = np.median(whole)
    loud, quiet = labelled(std, "loud: 1"), labelled(std, "quiet: 1")
    assert loud.get_ydata() == pytest.approx([whole[5]], rel=1e-5)
    assert quiet.get_ydata() == pytest.approx([whole[9]], rel=1e-5)
    assert (loud.get_color(), quiet.get_color()) == (ORANGE, GREEN)
    assert {note.get_text(): note.get_color() for note in std.texts} == {
        f"5 ({whole[5] / median:.3g}x)": ORANGE,
        f"9 (1/{median / whole[9]:.3g}x)": GREEN,
    }
    places = {note.get_text().split()[0]: note.xy for note in std.texts}
    assert places["5"] == pytest.approx((1, whole[5]), rel=1e-5)
    [link] = [one for one in std.lines if one.get_color() == ORANGE and one.get_ls() == "-"]
    assert link.get_ydata()[:2] == pytest.approx([whole[5], bare[5]], rel=1e-5)


def test_against_a_reference_stds_stand_over_the_references():
    hidden = planted()
    reference_std = torch.linspace(0.5, 2.0, 48, dtype=torch.float64)
    reference = Reference(
        torch.zeros(48).double(), reference_std, 0.0, 1.0, None, None, {"model": "m"}
    )
    std, _, _ = panels(figure_of(hidden, reference))
    assert np.allclose(labelled(std, "all tokens").get_xdata(), reference_std)
    assert np.allclose(labelled(std, "all tokens").get_ydata(), stds(hidden)[0], rtol=1e-5)
    assert std.get_xlabel() == "std of the reference"
    diagonal = [one for one in std.lines if to_hex(one.get_color()) == GREY and one.get_ls() == "-"]
    assert np.array_equal(diagonal[0].get_xdata(), diagonal[0].get_ydata())


def test_the_cells_are_magnitudes_over_their_median_rows_by_finding():
    hidden = planted()
    hidden[0, 0, 5] *= -1
    _, tokens, _ = panels(figure_of(hidden))
    [image] = tokens.images
    rows = [int(label.get_text()) for label in tokens.get_yticklabels()]
    assert set(rows[:2]) == {5, 9} and len(rows) == len(set(rows)) == 14
    x = np.abs(hidden[0].numpy())
    loudest = [d for d in np.argsort(-x.max(0), kind="stable") if d not in (5, 9)]
    assert rows[2:] == loudest[:12]
    median = np.sort(x.ravel())[(x.size - 1) // 2]
    assert np.allclose(image.get_array(), np.log10((x[:, rows] / median).clip(0.1)).T, atol=1e-4)
    colors = {int(one.get_text()): to_hex(one.get_color()) for one in tokens.get_yticklabels()}
    assert (colors[5], colors[9]) == (ORANGE, GREEN)
    assert {colors[row] for row in rows[2:]} == {"#000000"}
    title = tokens.get_title(loc="left").replace("\n", " ")
    assert title == (
        "Which token carries the dimension: 2 of 2 out of line (coloured), then the loudest others"
    )


def test_what_the_dit_sees_is_the_share_of_the_findings_in_each_token():
    hidden = planted()
    weight = torch.linspace(0.5, 2.0, 48)
    _, _, seen = panels(figure_of(hidden, weight=weight))
    x, w = hidden[0].double().numpy(), weight.double().numpy()
    before = (x[:, [5, 9]] ** 2).sum(1) / (x**2).sum(1)
    after = ((x * w)[:, [5, 9]] ** 2).sum(1) / ((x * w) ** 2).sum(1)
    assert np.allclose(labelled(seen, "share before the norm").get_ydata(), before, rtol=1e-6)
    assert np.allclose(labelled(seen, "share after it").get_ydata(), after, rtol=1e-6)
    zeroed = x.copy()
    zeroed[:, [5, 9]] = 0
    normed = [w * y / np.sqrt((y**2).mean(1, keepdims=True) + 1e-5) for y in (x, zeroed)]
    change = np.linalg.norm(normed[1] - normed[0], axis=1) / np.linalg.norm(normed[0], axis=1)
    bars = [bar.get_height() for bar in seen.patches]
    assert np.allclose(bars, change, rtol=2e-3)
    title = seen.get_title(loc="left").replace("\n", " ")
    assert title == (
        "What the DiT sees of the 2 out of line: share of each token's squared norm. RMSNorm with "
        "this MODEL's own cap_embedder[0].weight"
    )
    legend = [text.get_text() for text in seen.get_legend().get_texts()]
    assert legend == ["share before the norm", "share after it", "change if zeroed (relative L2)"]


def test_with_the_matrix_after_the_norm_it_is_what_comes_out_of_that():
    hidden = planted()
    weight = torch.linspace(0.5, 2.0, 48)
    matrix = torch.randn(20, 48, generator=torch.Generator().manual_seed(3))
    matrix[:, 9] *= 40
    first = FirstMatrix(matrix.norm(dim=0), lambda states: states @ matrix.T)
    record, survey = plain_record(30), survey_outliers(hidden)
    _, _, seen = panels(outlier_figure(hidden, record, survey, weight, "", first))
    x, columns = hidden[0].double().numpy(), (weight * matrix).double().numpy()
    sent = (x * np.linalg.norm(columns, axis=0)) ** 2
    after = sent[:, [5, 9]].sum(1) / sent.sum(1)
    assert np.allclose(labelled(seen, "share after it").get_ydata(), after, rtol=1e-5)
    zeroed = x.copy()
    zeroed[:, [5, 9]] = 0
    out = [y / np.sqrt((y**2).mean(1, keepdims=True) + 1e-5) @ columns.T for y in (x, zeroed)]
    change = np.linalg.norm(out[1] - out[0], axis=1) / np.linalg.norm(out[0], axis=1)
    assert np.allclose([bar.get_height() for bar in seen.patches], change, rtol=2e-3)
    title = seen.get_title(loc="left").replace("\n", " ")
    assert title.endswith("The norm and the matrix after it are this MODEL's own (cap_embedder)")


def test_tokens_are_named_by_text_and_position_and_sinks_in_orange():
    hidden = planted()
    texts = tuple(f"t{i}" for i in range(30))
    record = plain_record(30, source="m")
    record = type(record)(-2, "m", record.ids, texts, record.roles)
    figure = figure_of(hidden, record=record)
    _, _, seen = panels(figure)
    labels = seen.get_xticklabels()
    assert [label.get_text() for label in labels] == [f"'t{i}' {i}" for i in range(30)]
    assert [to_hex(label.get_color()) == ORANGE for label in labels] == [True] + [False] * 29
    assert seen.get_xlabel() == "tokens (position last; sink tokens in orange)"
    assert "m, layer -2: 30 tokens x 48 dimensions" in words(figure)


def test_a_long_sequence_is_shown_in_runs_that_are_counted():
    hidden = states(tokens=300, sink=200)
    figure = figure_of(hidden)
    _, tokens, seen = panels(figure)
    labels = [label.get_text() for label in seen.get_xticklabels()]
    alone = [label for label in labels if " to " not in label]
    assert "'?' 200" in alone
    title = tokens.get_title(loc="left").replace("\n", " ")
    assert title.endswith(
        f". {len(alone)} tokens alone (sinks, largest norms), the other {300 - len(alone)} as "
        f"{len(labels) - len(alone)} runs, each by its largest value"
    )
    assert_readable(figure)


def alone(hidden):
    """The labels of the tokens that are no run."""
    labels = panels(figure_of(hidden))[2].get_xticklabels()
    return [label.get_text() for label in labels if " to " not in label.get_text()]


def test_the_token_that_carries_a_finding_stands_alone_however_small_it_is():
    hidden = states(tokens=300, sink=None)
    hidden[0, :, 5] *= 0.001
    hidden[0, 37] *= 0.1
    hidden[0, 37, 5] = 1.0
    assert "'?' 37" in alone(hidden)


def test_the_largest_token_of_any_sequence_of_a_batch_stands_alone():
    hidden = states(tokens=300, sink=None).repeat(2, 1, 1)
    hidden[1, 151] *= 2.0
    assert "'?' 151" in alone(hidden)


def test_without_findings_the_picture_says_so():
    _, tokens, seen = panels(figure_of(states(sink=None)))
    assert tokens.get_title(loc="left") == (
        "Which token carries the dimension: none is out of line: the loudest"
    )
    assert "What the DiT sees of the 14 above" in seen.get_title(loc="left")


def test_one_token_has_no_spread():
    figure = figure_of(states(tokens=1, sink=None))
    said = " ".join(text.replace("\n", " ") for text in words(figure))
    assert "Fewer than two different tokens have no spread to measure." in said
    assert "1 token x 48 dimensions" in said


def test_many_findings_side_by_side_are_readable():
    hidden = states(width=200)
    hidden[0, :, 20:60] *= torch.linspace(50, 52, 40)
    hidden[0, :, 100:130] *= torch.linspace(0.010, 0.011, 30)
    figure = figure_of(hidden)
    assert_readable(figure)
    std, tokens, _ = panels(figure)
    assert len(std.texts) == 16, "eight loud and eight quiet"
    title = tokens.get_title(loc="left").replace("\n", " ")
    which = "the farthest of 71 out of line (orange loud, green quiet)"
    assert title == f"Which token carries the dimension: {which}"
    assert seen_texts(figure)


@pytest.mark.parametrize(
    "name", ["a very long name " * 30, "狐" * 200, "\x1b[2J $\\frac{$"], ids=ascii
)
def test_any_name_of_a_model_or_a_reference_is_readable(name):
    record = plain_record(30, source=name)
    hidden = states()
    assert_readable(outlier_figure(hidden, record, survey_outliers(hidden), None, name))


def test_cells_are_aligned():
    assert align([("a", "bbb"), ("cc", "d")]) == ["a   bbb", "cc  d"]


def test_on_a_node_700_pixels_wide_every_font_is_large_enough():
    figure = figure_of(planted())
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    pixels = [text.get_fontsize() * figure.dpi / 72 * 700 / figure.bbox.width for text in texts]
    assert texts and min(pixels) > 7.9
