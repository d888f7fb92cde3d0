"""The outlier survey's picture: where panels and texts stand, limits, colours and rare cases."""

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from matplotlib.colors import to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from zimage_layer_lab.core.draw.outlier_picture import outlier_figure, outlier_picture  # noqa: E402
from zimage_layer_lab.core.measure.reference import Reference  # noqa: E402
from zimage_layer_lab.core.outliers.survey import survey_outliers, zeroing  # noqa: E402
from zimage_layer_lab.core.record.record import plain_record  # noqa: E402

from ...oracles.figures import assert_readable, seen_texts  # noqa: E402

ORANGE, BLUE, GREEN, GREY = "#c2410c", "#1d4ed8", "#047857", "#64748b"


def states(tokens=12, width=24, seed=7, sequences=1):
    """Token 0 is a sink through dimension 5; dimension 9 is quiet."""
    hidden = torch.randn(sequences, tokens, width, generator=torch.Generator().manual_seed(seed))
    hidden[:, 0, 5] = 7000.0
    hidden[..., 9] *= 0.01
    return hidden


def stds(hidden):
    """Of all tokens and of all but the first, in float64."""
    x = hidden[0].double().numpy()
    return x.std(0, ddof=1), x[1:].std(0, ddof=1)


def figure_of(hidden, reference=None, threshold=10.0, texts=None, **more):
    survey = survey_outliers(hidden, reference, threshold)
    record = plain_record(hidden.shape[1], source="m")
    if texts:
        record = type(record)(-2, "m", record.ids, tuple(texts), record.roles)
    return outlier_figure(
        hidden, record, survey, measured_against="the reference" if reference else "", **more
    )


def reference_of(std, bare=None):
    std = torch.as_tensor(std, dtype=torch.float64)
    zeros = torch.zeros(len(std), dtype=torch.float64)
    bare = None if bare is None else torch.as_tensor(bare, dtype=torch.float64)
    return Reference(zeros, std, 0.0, 1.0, None if bare is None else zeros, bare, {"model": "m"})


def line(axes, label):
    [found] = [one for one in axes.lines if one.get_label() == label]
    return found


def across(axes):
    """(style, x, y) of the grey lines: the reference and the thresholds."""
    return [
        (one.get_ls(), *one.get_data()) for one in axes.lines if to_hex(one.get_color()) == GREY
    ]


def one_line(axes):
    return axes.get_title(loc="left").replace("\n", " ")


def inches(axes):
    """Left, bottom, right and top."""
    return axes.get_position().extents * (11.0, 8.8, 11.0, 8.8)


def place(text):
    """Inches from the lower left corner of the point that it is put at."""
    return text.get_transform().transform(text.get_position()) / 110


@pytest.mark.parametrize("letters", [1, 18])
def test_the_panels_stand_where_their_texts_leave_room(letters):
    figure = figure_of(states(), texts=["W" * letters] * 12)
    assert_readable(figure)
    std, tokens, bar, seen = figure.axes

    def title(axes):
        return 10 / 72 + 1.22 * 11 / 72 * (axes.get_title(loc="left").count("\n") + 1)

    def size(texts):
        return np.max([text.get_window_extent().size for text in texts], axis=0) / 110

    top = 8.8 - 0.3 - max(title(std), title(tokens))
    left = 0.4 + size(std.get_yticklabels())[0]
    text_of = [one for one in seen_texts(figure) if one.text.startswith(("5 (", "9 ("))]
    names = max(one.box.width for one in text_of) / 110
    right = left + (4.7 - 0.84 - left - names) / 1.03
    assert inches(std) == pytest.approx([left, 1.15, right, top], abs=0.02)
    end = 11.0 - 0.36 - size(bar.get_yticklabels())[0]
    low = 0.46 + size(seen.get_xticklabels())[1]
    room = top - low - title(seen) - 0.15
    middle = top - max(0.55 * room, 0.146 * 14)
    assert inches(tokens) == pytest.approx([4.7, middle, end - 0.23, top], abs=0.02)
    assert inches(bar) == pytest.approx([end - 0.17, middle, end, top], abs=0.02)
    under = middle - title(seen) - 0.15
    assert inches(seen) == pytest.approx([4.7, low, end - 0.23, under], abs=0.02)


def test_the_names_of_the_axes_and_the_legend_stand_beside_their_panels():
    figure = figure_of(states(), texts="abcdefghijkl")
    assert_readable(figure)
    std, tokens, bar, seen = figure.axes

    def middle(axes):
        left, bottom, right, top = inches(axes)
        return (left + right) / 2, (bottom + top) / 2

    for text, expected in (
        (std.yaxis.label, (0.24, middle(std)[1])),
        (std.xaxis.label, (2.0, 0.88)),
        (tokens.yaxis.label, (4.1, middle(tokens)[1])),
        (seen.yaxis.label, (4.1, middle(seen)[1])),
        (seen.xaxis.label, (middle(seen)[0], 0.3)),
        (bar.yaxis.label, (10.76, middle(bar)[1])),
    ):
        assert place(text) == pytest.approx(expected), text.get_text()
    legend = std.get_legend()
    box = legend.get_window_extent().extents / 110
    assert (box[0] + box[2]) / 2 == pytest.approx(2.0, abs=0.02)
    assert 0 < box[0] and box[2] < 4.1 and 0 < box[1] < 0.4 and 0.5 < box[3] <= 0.68
    assert [text.get_text() for text in legend.get_texts()] == [
        "without sink tokens", "all tokens", "loud: 1", "quiet: 1",
    ]  # fmt: skip
    title = figure.get_suptitle()
    [seen_title] = [one for one in seen_texts(figure) if one.text == title]
    assert title == "m, layer -2: 12 tokens x 24 dimensions"
    assert seen_title.box.x0 == pytest.approx(0.01 * 1210, abs=2)
    assert seen_title.box.y1 == pytest.approx(0.995 * 968, abs=3)
    close = seen.get_legend().get_window_extent()
    assert close.x1 > seen.bbox.x1 - 20 and close.y1 > seen.bbox.y1 - 20, "upper right"


@pytest.mark.parametrize(("threshold", "unit"), [(10.0, 1.0), (500.0, 1.0), (1e5, 1e-4)])
def test_by_rank_all_stds_and_thresholds_have_room(threshold, unit):
    hidden = states() * unit
    whole, bare = stds(hidden)
    std = figure_of(hidden, threshold=threshold).axes[0]
    median = np.median(whole)
    assert std.get_xlim() == pytest.approx((0.5, 48.0))
    low = min(whole.min(), bare.min(), median / threshold) / 2
    high = max(whole.max(), bare.max(), median * threshold) * 2
    assert std.get_ylim() == pytest.approx((low, high), rel=1e-5)
    assert [style for style, *_ in across(std)] == ["-", ":", ":"]
    for (_, x, y), factor in zip(across(std), (1, threshold, 1 / threshold), strict=True):
        assert x == pytest.approx([0.5, 48.0])
        assert y == pytest.approx([median * factor] * 2, rel=1e-5)
    assert std.get_xscale() == std.get_yscale() == "log"


@pytest.mark.parametrize("largest", [3.0, 1e6])
def test_against_a_reference_its_stds_have_room_too(largest):
    hidden = states()
    whole, bare = stds(hidden)
    expected = np.linspace(0.5, 2.0, 24)
    expected[3] = largest
    apart = np.linspace(0.4, 4.0, 24)
    std = figure_of(hidden, reference_of(expected, apart)).axes[0]
    wide = min(expected.min(), apart.min()) / 2, max(expected.max(), apart.max()) * 2
    assert std.get_xlim() == pytest.approx(wide)
    low, high = min(whole.min(), bare.min()) / 2, max(whole.max(), bare.max(), largest) * 2
    assert std.get_ylim() == pytest.approx((low, high), rel=1e-5)
    assert line(std, "all tokens").get_xdata() == pytest.approx(expected)
    assert line(std, "without sink tokens").get_xdata() == pytest.approx(apart)
    assert line(std, "without sink tokens").get_ydata() == pytest.approx(bare, rel=1e-5)
    for (_, x, y), factor in zip(across(std), (1, 10, 0.1), strict=True):
        assert x == pytest.approx(wide) and y == pytest.approx(np.multiply(wide, factor))
    assert one_line(std) == "Std of every dimension, against the reference"


def test_equal_stds_of_a_reference_are_spread_out_by_15_percent():
    expected = np.full(24, 2.0)
    expected[[1, 4]] = 5.0, 0.0
    std = figure_of(states(), reference_of(expected)).axes[0]
    fan = 2.0 * 10 ** np.linspace(-0.06, 0.06, 24)
    fan[[1, 4]] = 5.0, 2.0 / 3  # A third of the smallest, where 0 has no place.
    assert line(std, "all tokens").get_xdata() == pytest.approx(fan)
    assert std.get_xlabel() == "std of the reference (equal values are spread out)"


def test_stds_of_which_just_half_are_equal_stay_where_they_are():
    expected = np.where(np.arange(24) < 12, 2.0, np.arange(3.0, 27.0))
    std = figure_of(states(), reference_of(expected)).axes[0]
    assert line(std, "all tokens").get_xdata() == pytest.approx(expected)
    assert std.get_xlabel() == "std of the reference"


def test_a_reference_without_any_spread_stands_at_1():
    std = figure_of(states(), reference_of(np.zeros(24))).axes[0]
    assert line(std, "all tokens").get_xdata() == pytest.approx(10 ** np.linspace(-0.06, 0.06, 24))


def test_a_std_of_0_stands_at_a_third_of_the_smallest_and_is_called_silent():
    hidden = states()
    hidden[..., 9] = 1.0
    whole, _ = stds(hidden)
    std = figure_of(hidden).axes[0]
    smallest = np.delete(whole, 9).min()
    assert line(std, "all tokens").get_ydata()[9] == pytest.approx(smallest / 3, rel=1e-5)
    assert line(std, "quiet: 1").get_ydata() == pytest.approx([smallest / 3], rel=1e-5)
    assert "9 (silent)" in [note.get_text() for note in std.texts]


def test_equal_stds_are_ranked_in_the_order_of_their_dimensions():
    hidden = torch.randn(1, 12, 1, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 7)
    ranks = line(figure_of(hidden).axes[0], "all tokens").get_xdata()
    assert ranks.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_ratios_have_three_digits_and_large_ones_all_of_them():
    hidden = states()
    hidden[..., 11] *= 0.0002
    hidden[..., 12] *= 25
    hidden[..., 13] *= 180
    whole, _ = stds(hidden)
    median = np.median(whole)
    notes = {note.get_text(): note.get_color() for note in figure_of(hidden).axes[0].texts}
    louder, quieter = whole / median, median / whole
    assert min(louder[13], louder[5] / 10, quieter[9], quieter[11] / 10) > 100
    assert notes == {
        f"5 ({louder[5]:,.0f}x)": ORANGE,
        f"12 ({louder[12]:.3g}x)": ORANGE,
        f"13 ({louder[13]:.0f}x)": ORANGE,
        f"9 (1/{quieter[9]:.0f}x)": GREEN,
        f"11 (1/{quieter[11]:,.0f}x)": GREEN,
    }


def hidden_by_the_sink():
    """Half of the dimensions are large in the sink only, so that 9 stands out without it."""
    hidden = states(tokens=20)
    hidden[:, 0, 10:] = 900.0
    hidden[..., 9] = 40.0 * torch.randn(20, generator=torch.Generator().manual_seed(1))
    hidden[:, 0, 9] = 0.0
    return hidden


def test_what_is_out_of_line_without_sinks_only_stands_and_counts_as_that():
    hidden = hidden_by_the_sink()
    whole, bare = stds(hidden)
    assert 0.1 < whole[9] / np.median(whole) < 10 < bare[9] / np.median(bare)
    std, tokens, *_ = figure_of(hidden).axes
    notes = {note.get_text().split()[0]: note for note in std.texts}
    assert notes["9"].get_text() == f"9 ({bare[9] / np.median(bare):.3g}x)"
    assert notes["9"].get_color() == ORANGE
    ranks = line(std, "all tokens").get_xdata()
    assert notes["9"].xy == pytest.approx((ranks[9], bare[9]), rel=1e-5)
    [loud] = [one for one in std.lines if one.get_label().startswith("loud: ")]
    assert (ranks[9], pytest.approx(bare[9], rel=1e-5)) in list(map(tuple, loud.get_xydata()))
    colors = {one.get_text(): to_hex(one.get_color()) for one in tokens.get_yticklabels()}
    assert colors["9"] == ORANGE


def test_links_lead_from_each_finding_to_its_std_without_sinks():
    hidden = states()
    hidden[..., 12] *= 25
    whole, bare = stds(hidden)
    std = figure_of(hidden).axes[0]
    ranks = line(std, "all tokens").get_xdata()
    [links] = [one for one in std.lines if one.get_ls() == "-" and one.get_color() == ORANGE]
    x, y = links.get_data()
    assert x.tolist()[:2] == [ranks[5]] * 2 and x.tolist()[3:5] == [ranks[12]] * 2
    assert y[[0, 1, 3, 4]] == pytest.approx([whole[5], bare[5], whole[12], bare[12]], rel=1e-5)
    assert np.isnan([*x[2::3], *y[2::3]]).all(), "a gap after each"


def test_with_a_single_token_besides_the_sink_all_tokens_stand_for_those_without():
    hidden = states()
    survey = survey_outliers(hidden, selected=torch.arange(12) < 2)
    assert survey.stats.without_sinks.tokens == 1
    std = outlier_figure(hidden, plain_record(12), survey).axes[0]
    whole = hidden[0, :2].double().numpy().std(0, ddof=1)
    for label in ("all tokens", "without sink tokens"):
        assert line(std, label).get_ydata() == pytest.approx(whole, rel=1e-4)


def test_without_sinks_there_are_no_rings_and_no_orange_tokens():
    hidden = states()
    hidden[:, 0, 5] = 1.0
    figure = figure_of(hidden)
    std, _, _, seen = figure.axes
    assert "without sink tokens" not in [one.get_label() for one in std.lines]
    assert seen.get_xlabel() == "tokens"
    assert {to_hex(label.get_color()) for label in seen.get_xticklabels()} == {"#000000"}


def test_the_colours_of_the_cells_begin_at_a_tenth_and_span_two_decades_at_least():
    hidden = states()
    _, tokens, bar, _ = figure_of(hidden).axes
    [image] = tokens.images
    median = np.sort(np.abs(hidden.numpy()).ravel())[(hidden.numel() - 1) // 2]
    assert image.get_clim() == pytest.approx((-1, np.log10(7000.0 / median)), abs=1e-5)
    named = [label.get_text() for label in bar.get_yticklabels()]
    assert named == ["0.1x", "1x", "10x", "100x", "1000x", "10000x"]
    assert bar.get_ylabel() == "|x| over the median |x|"
    calm = torch.rand(1, 12, 24, generator=torch.Generator().manual_seed(0)) + 0.5
    _, tokens, bar, _ = figure_of(calm).axes
    assert tokens.images[0].get_clim() == (-1, 1)
    assert [label.get_text() for label in bar.get_yticklabels()] == ["0.1x", "1x", "10x"]
    assert tokens.get_ylabel() == "dimension" and tokens.get_xticks().size == 0


def test_of_a_batch_the_largest_value_of_each_token_is_shown():
    hidden = states(sequences=2)
    hidden[0, 3, 2], hidden[1, 4, 2] = -50.0, 60.0
    _, tokens, _, seen = figure_of(hidden).axes
    rows = [int(label.get_text()) for label in tokens.get_yticklabels()]
    x = np.abs(hidden.numpy())
    median = np.sort(x.max(0).ravel())[(x[0].size - 1) // 2]
    expected = np.log10((x.max(0)[:, rows] / median).clip(0.1)).T
    assert np.allclose(tokens.images[0].get_array(), expected, atol=1e-4)
    found = survey_outliers(hidden).dimensions
    share = (x[..., found].astype(float) ** 2).sum(-1) / (x.astype(float) ** 2).sum(-1)
    drawn = line(seen, "share before the norm")
    assert drawn.get_ydata() == pytest.approx(share.max(0), rel=1e-5)
    assert drawn.get_xdata().tolist() == list(range(12))


def test_what_the_dit_sees_has_room_its_colours_and_no_weight_without_a_model():
    figure = figure_of(states())
    seen = figure.axes[3]
    assert 1.4 < max(bar.get_height() for bar in seen.patches) < 1.42, (
        "two vectors at a right angle"
    )
    assert seen.get_ylim() == pytest.approx((0, 1.2 * 2**0.5), abs=0.01)
    assert seen.get_xlim() == (-0.6, 11.6)
    middles = [bar.get_x() + bar.get_width() / 2 for bar in seen.patches]
    assert middles == pytest.approx(range(12))
    assert {to_hex(bar.get_facecolor()) for bar in seen.patches} == {"#cbd5e1"}
    before, after = line(seen, "share before the norm"), line(seen, "share after it")
    assert to_hex(before.get_markeredgecolor()) == BLUE and after.get_color() == ORANGE
    assert before.get_markerfacecolor() == "none" and before.get_linestyle() == "None"
    assert after.get_xdata().tolist() == list(range(12)) and after.get_linestyle() == "None"
    assert one_line(seen) == (
        "What the DiT sees of the 2 out of line: share of each token's squared norm. RMSNorm with "
        "weight 1, as no MODEL is connected: shares are the same before and after"
    )


def test_an_effect_that_is_known_already_is_the_one_that_is_drawn():
    hidden = states()
    effect = zeroing(hidden, [0, 1, 2])
    seen = figure_of(hidden, effect=effect).axes[3]
    assert line(seen, "share after it").get_ydata() == pytest.approx(effect.share_after[0].numpy())
    for change, top in ((3.0, 3.6), (0.5, 1.2)):
        same = torch.full_like(effect.share_after, change)
        other = effect._replace(change=effect.change._replace(relative_l2=same))
        assert figure_of(hidden, effect=other).axes[3].get_ylim() == pytest.approx((0, top))


def test_without_findings_the_effect_is_that_of_the_loudest():
    hidden = torch.randn(1, 12, 24, generator=torch.Generator().manual_seed(3))
    _, tokens, _, seen = figure_of(hidden).axes
    x = hidden[0].double().numpy()
    loudest = np.argsort(-np.abs(x).max(0), kind="stable")[:14]
    assert [int(label.get_text()) for label in tokens.get_yticklabels()] == loudest.tolist()
    share = (x[:, loudest] ** 2).sum(1) / (x**2).sum(1)
    assert line(seen, "share after it").get_ydata() == pytest.approx(share, rel=1e-5)


def test_findings_are_bold_runs_grey_and_sinks_bold():
    figure = figure_of(states(tokens=60))
    _, tokens, _, seen = figure.axes
    bold = {one.get_text() for one in tokens.get_yticklabels() if one.get_fontweight() == "bold"}
    assert bold == {"5", "9"}
    runs = [one for one in seen.get_xticklabels() if " to " in one.get_text()]
    assert runs and {to_hex(one.get_color()) for one in runs} == {GREY}
    assert {one.get_fontstyle() for one in runs} == {"italic"}
    [sink] = [one for one in seen.get_xticklabels() if one.get_fontweight() == "bold"]
    assert sink.get_text() == "'?' 0"
    plain = [one for one in seen.get_xticklabels() if one not in (*runs, sink)]
    assert {to_hex(one.get_color()) for one in plain} == {"#000000"}
    assert {one.get_fontstyle() for one in plain} == {"normal"}


def test_a_long_token_is_cut_to_18_letters():
    seen = figure_of(states(), texts=["a" * 18, "b" * 19, *"cdefghijkl"]).axes[3]
    labels = [label.get_text() for label in seen.get_xticklabels()]
    assert labels[:2] == [f"'{'a' * 18}' 0", f"'{'b' * 17}…' 1"]


def test_where_nothing_can_be_measured_the_words_stand_in_the_middle_of_an_empty_panel():
    figure = figure_of(torch.randn(1, 1, 24, generator=torch.Generator().manual_seed(0)))
    std = figure.axes[0]
    [message] = std.texts
    assert message.get_text().replace("\n", " ") == (
        "Fewer than two different tokens have no spread to measure."
    )
    assert to_hex(message.get_color()) == GREY
    left, bottom, right, top = inches(std)
    box = message.get_window_extent().extents / 110
    assert (box[0] + box[2]) / 2 == pytest.approx((left + right) / 2, abs=0.02)
    assert (box[1] + box[3]) / 2 == pytest.approx((bottom + top) / 2, abs=0.05)
    assert not len(std.get_xticks()) and not len(std.get_yticks())
    same = figure_of(torch.ones(1, 5, 24)).axes[0]
    assert len(same.texts) == 1, "five times the same token"
    two = figure_of(torch.randn(1, 2, 24, generator=torch.Generator().manual_seed(0))).axes[0]
    assert line(two, "all tokens").get_ydata().size == 24


def test_more_than_sixteen_findings_have_smaller_dots_and_eight_names():
    hidden = states(width=100, tokens=20)
    hidden[..., 20:37] *= torch.linspace(50, 58, 17)
    std = figure_of(hidden).axes[0]
    [loud] = [one for one in std.lines if one.get_label() == "loud: 18"]
    assert loud.get_markersize() < line(std, "quiet: 1").get_markersize()
    assert len([note for note in std.texts if note.get_color() == ORANGE]) == 8
    marked = {tuple(point) for point in loud.get_xydata()}
    assert all(note.xy in marked for note in std.texts if note.get_color() == ORANGE)


def test_the_picture_takes_weight_reference_and_effect_as_the_figure_does():
    hidden = states(tokens=4)
    record, survey = plain_record(4), survey_outliers(hidden)
    weight = torch.linspace(0.1, 3.0, 24)
    effect = zeroing(hidden, [0], weight)
    plain = outlier_picture(hidden, record, survey)
    for given in (
        {"weight": weight},
        {"measured_against": "another"},
        {"effect": effect},
    ):
        assert not np.array_equal(outlier_picture(hidden, record, survey, **given), plain), given


def test_titles_fill_the_lines_above_their_panels():
    figure = figure_of(states(tokens=60))
    for axes, width in zip(figure.axes, (3.4, 5.8, None, 5.8), strict=True):
        lines = axes.get_title(loc="left").split("\n") if width else []
        for line, following in zip(lines[:-1], lines[1:], strict=True):
            longer = f"{line} {following.split()[0]}"
            assert width * 0.95 < inches_wide(longer, 11) and inches_wide(line, 11) < width
        assert len(lines) > 1 or width is None


def inches_wide(text, points):
    drawn = Figure(dpi=100).text(0, 0, text, fontsize=points)
    return drawn.get_window_extent().width / 100
