"""Scheduled Blend against Embedding Blend and ComfyUI's own timestep ranges."""

import math

import pytest
import torch

from .stock import (
    empty_latent,
    ksample,
    output,
    run,
    same_options,
    snapshot,
    states,
    text_encode,
    unchanged,
)

SHIFT = 3.0
BEFORE = 0.0005
"""How far a border lies before its even place: half a step of the host's 1000 noise levels."""


@pytest.fixture(scope="module")
def stock(clip):
    with torch.inference_mode():
        return text_encode(clip, "a lighthouse in a storm")


@pytest.fixture
def regions(host, text, stock):
    """Two entries with options of their own."""
    set_area = host.nodes.ConditioningSetArea().append
    return set_area(text, 64, 64, 0, 0, 0.8)[0] + set_area(stock, 64, 64, 64, 0, 0.5)[0]


def span(entry: list) -> tuple[float, float]:
    return entry[1]["start_percent"], entry[1]["end_percent"]


def set_range(host, conditioning: list, start: float, end: float) -> list:
    return host.nodes.ConditioningSetTimestepRange().set_range(conditioning, start, end)[0]


def assert_blended(pack, entry: list, text: list, vision: list, alpha: float, **settings) -> None:
    """``entry`` is bit for bit what Embedding Blend gives, but for its range."""
    [want], _ = run(pack.Blend, text=text, vision=vision, alpha=alpha, **settings)
    assert torch.equal(entry[0], want[0])
    assert entry[1]["layer_lab"] == want[1]["layer_lab"]
    kept = {key: value for key, value in entry[1].items() if not key.endswith("_percent")}
    assert same_options(kept, {k: v for k, v in want[1].items() if k != "layer_lab"})


@pytest.mark.parametrize(
    ("curve", "start", "end", "alphas"),
    [
        ("linear", 0.5, 0.0, [0.5, 0.375, 0.25, 0.125, 0.0]),
        ("linear", 0.25, 0.75, [0.25, 0.375, 0.5, 0.625, 0.75]),
        ("cosine", 1.0, 0.0, [(1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]),
    ],
)
def test_every_range_is_embedding_blend_at_its_share(pack, text, vision, curve, start, end, alphas):
    [result] = run(
        pack.ScheduledBlend,
        text=text,
        vision=vision,
        curve=curve,
        start_alpha=start,
        end_alpha=end,
        steps=5,
    )
    borders = [0.0, 0.1995, 0.3995, 0.5995, 0.7995, 1.0]
    assert [span(entry)[0] for entry in result] == pytest.approx(borders[:-1], abs=1e-12)
    assert [span(entry)[1] for entry in result] == pytest.approx(borders[1:], abs=1e-12)
    for entry, alpha in zip(result, alphas, strict=True):
        assert_blended(pack, entry, text, vision, alpha)


def test_step_makes_two_ranges(pack, text, vision):
    [result] = run(
        pack.ScheduledBlend, text=text, vision=vision, curve="step", start_alpha=0.8, end_alpha=0.2
    )
    assert [span(entry) for entry in result] == [(0.0, 0.4995), (0.4995, 1.0)]
    assert_blended(pack, result[0], text, vision, 0.8)
    assert_blended(pack, result[1], text, vision, 0.2)


@pytest.mark.parametrize(
    "settings", [{"method": "slerp"}, {"method": "adain", "match": "none"}, {"match": "global"}]
)
def test_method_and_match_are_embedding_blends(pack, text, vision, settings):
    [result] = run(pack.ScheduledBlend, text=text, vision=vision, steps=2, **settings)
    assert_blended(pack, result[0], text, vision, 0.5, **settings)
    assert_blended(pack, result[1], text, vision, 0.0, **settings)


def test_an_edit_is_recorded_only_where_the_share_is_not_0(pack, text, vision):
    [result] = run(pack.ScheduledBlend, text=text, vision=vision, steps=3)
    # The blend's own edit, after those that the vision side brought.
    both = len(vision[0][1]["layer_lab"].edits) + 1
    assert [len(entry[1]["layer_lab"].edits) for entry in result] == [both, both, 0]
    assert torch.equal(result[2][0], states(text))


@pytest.mark.parametrize(
    ("first", "last"), [(0.3, 0.9), (0.1, 1.0), (0.0, 0.35), (0.05, 0.95), (0.7, 0.8), (0.3, 1.0)]
)
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_an_entry_that_has_a_range_is_divided_within_it(
    host, pack, text, vision, first, last, steps
):
    ranged = set_range(host, text, first, last)
    [result] = run(pack.ScheduledBlend, text=ranged, vision=vision, steps=steps)
    spans = [span(entry) for entry in result]
    assert (spans[0][0], spans[-1][1]) == (first, last)
    assert all(one[1] == other[0] for one, other in zip(spans, spans[1:], strict=False))
    for number, (start, end) in enumerate(spans):
        parts = [number / steps, (number + 1) / steps]
        want = [first + (part - BEFORE * (0 < part < 1)) * (last - first) for part in parts]
        assert [start, end] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("each", [False, True])
def test_every_region_is_scheduled_as_if_alone_and_keeps_its_options(
    host, pack, text, regions, vision, each
):
    regions[1:] = set_range(host, regions[1:], 0.5, 1.0)
    other = text
    partners = [vision, other if each else vision]
    [result] = run(
        pack.ScheduledBlend, text=regions, vision=vision + other if each else vision, steps=2
    )
    assert [span(entry)[0] for entry in result] == pytest.approx([0, 0.4995, 0.5, 0.74975])
    assert [span(entry)[1] for entry in result] == pytest.approx([0.4995, 1, 0.74975, 1])
    for number, entry in enumerate(result):
        region, partner = regions[number // 2], partners[number // 2]
        bare = [[region[0], {k: v for k, v in region[1].items() if not k.endswith("_percent")}]]
        assert_blended(pack, entry, bare, partner, (0.5, 0.0)[number % 2])
        assert entry[1]["strength"] == (0.8, 0.5)[number // 2]


def test_what_is_shown_names_every_range_share_and_report(pack, text, vision):
    answer = output(pack.ScheduledBlend, text=text, vision=vision, steps=2)
    shown = answer.ui["text"][0]
    assert "0 to 0.4995 of sampling, alpha 0.5" in shown
    assert "0.4995 to 1 of sampling, alpha 0" in shown
    _, report = run(pack.Blend, text=text, vision=vision, alpha=0.5)
    assert report in shown


def test_numbers_of_entries_that_do_not_fit_are_refused(pack, text, vision):
    for sides in ({"text": text, "vision": vision * 2}, {"text": [], "vision": vision}):
        with pytest.raises(ValueError, match="conditioning entries and vision has"):
            run(pack.ScheduledBlend, **sides)


def test_append_has_no_share_and_is_refused(pack, text, vision):
    with pytest.raises(ValueError, match="append has no share.*Embedding Blend"):
        run(pack.ScheduledBlend, text=text, vision=vision, method="append")
    [method] = [i for i in pack.ScheduledBlend.define_schema().inputs if i.id == "method"]
    [blends] = [i for i in pack.Blend.define_schema().inputs if i.id == "method"]
    assert method.options == [name for name in blends.options if name != "append"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_alpha", math.nan),
        ("start_alpha", 1.5),
        ("end_alpha", math.nan),
        ("end_alpha", -0.1),
        ("steps", 0),
        ("steps", 101),
    ],
)
def test_a_bad_number_is_refused_typed_and_connected(pack, text, vision, name, value):
    assert name in pack.ScheduledBlend.validate_inputs(**{name: value})
    with pytest.raises(ValueError, match=f"{name} is"):
        run(pack.ScheduledBlend, text=text, vision=vision, **{name: value})


def test_good_and_connected_numbers_are_accepted(pack):
    validate = pack.ScheduledBlend.validate_inputs
    assert validate() is True
    assert validate(start_alpha=0.0, end_alpha=1.0, steps=100) is True


def test_inputs_are_never_modified(host, pack, text, vision):
    ranged = set_range(host, text, 0.2, 0.8)
    before = [snapshot(one) for one in (ranged, vision)]
    run(pack.ScheduledBlend, text=ranged, vision=vision, start_alpha=1.0)
    assert all(map(unchanged, (ranged, vision), before))


def sample(host, model, positive: list, **settings) -> torch.Tensor:
    negative = host.nodes.ConditioningZeroOut().zero_out(positive[:1])[0]
    latent = empty_latent(64, 64)
    return ksample(model, positive, negative, latent, shift=SHIFT, **settings)["samples"]


def test_sampling_equals_a_graph_of_stock_ranges(host, model, pack, text, vision):
    [scheduled] = run(
        pack.ScheduledBlend, text=text, vision=vision, start_alpha=1.0, end_alpha=0.25
    )
    by_hand: list = []
    for number, alpha in enumerate((1.0, 0.75, 0.5, 0.25)):
        blended, _ = run(pack.Blend, text=text, vision=vision, alpha=alpha)
        borders = [0.0, 0.2495, 0.4995, 0.7495, 1.0]
        part = set_range(host, blended, borders[number], borders[number + 1])
        by_hand = host.nodes.ConditioningCombine().combine(by_hand, part)[0]
    ours, stock = (sample(host, model, one, steps=4) for one in (scheduled, by_hand))
    assert torch.equal(ours, stock) and bool(ours.isfinite().all())


def test_a_share_that_does_not_change_samples_as_the_plain_blend(host, model, pack, text, vision):
    inputs = {"text": text, "vision": vision}
    [scheduled] = run(pack.ScheduledBlend, **inputs, start_alpha=0.3, end_alpha=0.3, steps=11)
    blended, _ = run(pack.Blend, **inputs, alpha=0.3)
    assert len(scheduled) == 1
    assert torch.equal(sample(host, model, scheduled), sample(host, model, blended))


def seen_while_sampling(host, model, scheduled: list, **settings) -> dict[float, list[int]]:
    """Noise left at each sampling step (1 to 0, as percentages count) -> the ranges it ran."""
    seen: dict[float, list[int]] = {}

    def note(apply, arguments):
        sigma = float(arguments["timestep"][0])
        noise_left = sigma / (SHIFT - (SHIFT - 1) * sigma)  # inverse of the flow's time shift
        for context in arguments["c"]["c_crossattn"]:
            [number] = [
                i for i, (hidden, _) in enumerate(scheduled) if torch.equal(hidden[0], context)
            ]
            seen.setdefault(noise_left, []).append(number)
        return apply(arguments["input"], arguments["timestep"], **arguments["c"])

    watched = model.clone()
    watched.set_model_unet_function_wrapper(note)
    assert bool(sample(host, watched, scheduled, **settings).isfinite().all())
    return seen


@pytest.mark.parametrize(
    ("steps", "ranges", "scheduler"),
    [(2, 2, "simple"), (4, 4, "simple"), (8, 4, "simple"), (6, 3, "simple"), (3, 7, "beta")],
)
def test_every_sampling_step_runs_its_one_range(
    host, model, pack, text, vision, steps, ranges, scheduler
):
    [scheduled] = run(pack.ScheduledBlend, text=text, vision=vision, steps=ranges)
    seen = seen_while_sampling(host, model, scheduled, steps=steps, scheduler=scheduler)
    assert len(seen) == steps  # the host calls no model for a step without conditioning
    for noise_left, found in seen.items():
        at = (1 - noise_left) * ranges
        # A step at the even place of a border, met to a level of the table, is in the one after.
        border = abs(at - round(at)) < 0.001 * ranges
        assert found == [round(at) if border else int(at)]


@pytest.mark.parametrize("ranges", [2, 4, 5, 8])
@pytest.mark.parametrize("steps", [4, 8, 9, 10, 12, 20])
def test_no_step_of_the_hosts_own_sigmas_is_in_two_ranges_or_in_none(
    host, model, pack, text, vision, steps, ranges
):
    """Compared as the host does: a range holds both its ends."""
    from comfy.samplers import calculate_sigmas
    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow

    [shifted] = ModelSamplingAuraFlow().patch_aura(model, SHIFT)
    sampling = shifted.get_model_object("model_sampling")
    [scheduled] = run(pack.ScheduledBlend, text=text, vision=vision, steps=ranges)
    spans = [[float(sampling.percent_to_sigma(p)) for p in span(entry)] for entry in scheduled]
    for sigma in calculate_sigmas(sampling, "simple", steps)[:-1].tolist():
        assert sum(end <= sigma <= start for start, end in spans) == 1


def test_with_denoise_below_1_the_early_ranges_never_run(host, model, pack, text, vision):
    [scheduled] = run(pack.ScheduledBlend, text=text, vision=vision, steps=4)
    seen = seen_while_sampling(host, model, scheduled, steps=2, denoise=0.4)
    assert {number for found in seen.values() for number in found} == {2, 3}
