"""The nodes that work tap by tap, on states of several layers made by hand, against NumPy."""

import numpy as np
import pytest
import torch
from zimage_layer_lab.core.record.record import RECORD_KEY, plain_record
from zimage_layer_lab.core.taps.layout import INTERLEAVED, LAYER_MAJOR, Taps

from .stock import empty_latent, record, run, states, text_encode

TOKENS, TAPS, WIDTH = 24, 3, 16
LAYERS = (9, 18, 27)


def stack(seed=0):
    """(tokens, taps, width) float64: dimension 5 of the second tap too loud, 3 of the third."""
    values = np.random.default_rng(seed).standard_normal((TOKENS, TAPS, WIDTH))
    values[:, 1, 5] *= 200
    values[:, 2, 3] *= 90
    return values


def flat(values, order):
    axes = values if order == LAYER_MAJOR else values.transpose(0, 2, 1)
    return torch.from_numpy(np.ascontiguousarray(axes.reshape(1, len(values), -1))).float()


def conditioning(values, order=LAYER_MAJOR):
    """As Tap Encode would give it."""
    from dataclasses import replace

    hidden = flat(values, order)
    taps = Taps(LAYERS, WIDTH, order, 36)
    own = replace(plain_record(len(values), "an encoder"), taps=taps)
    return [[hidden, {RECORD_KEY: own.sealed(hidden)}]]


def unflat(hidden, order, width=WIDTH):
    values = hidden[0].double().numpy()
    if order == LAYER_MAJOR:
        return values.reshape(len(values), -1, width)
    return values.reshape(len(values), width, -1).transpose(0, 2, 1)


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
def test_the_mask_finds_and_changes_each_taps_own_dimension(pack, order):
    values = stack()
    given = conditioning(values, order)
    masked, report = run(pack.OutlierMask, conditioning=given, mode="zero")
    expected = values.copy()
    expected[:, 1, 5] = expected[:, 2, 3] = 0
    assert np.array_equal(unflat(states(masked), order), expected.astype(np.float32))
    assert record(masked).taps.layers == LAYERS and "layer 18: 5; layer 27: 3" not in report
    assert "layer 18: 5, layer 27: 3" in report
    [row] = [line for line in report.splitlines() if line.startswith("layer 18 ")]
    ratio = values.std(0, ddof=1)[1, 5] / np.median(values.std(0, ddof=1)[1])
    assert row.split()[2:6] == ["1", "0", "1", "-"] and f"5, {ratio:.4g}x" in row


def test_a_sink_of_one_tap_is_dropped_from_all_or_replaced_in_that_one(pack):
    values = np.random.default_rng(3).standard_normal((TOKENS, TAPS, WIDTH))
    values[4, 1] += 500
    given = conditioning(values)
    dropped, report = run(pack.OutlierMask, conditioning=given, mode="drop sinks")
    assert np.array_equal(
        unflat(states(dropped), LAYER_MAJOR), np.delete(values, 4, 0).astype(np.float32)
    )
    assert "1 tokens are gone" in report and len(record(dropped)) == TOKENS - 1
    mean, _ = run(pack.OutlierMask, conditioning=given, mode="sink to mean")
    after = unflat(states(mean), LAYER_MAJOR)
    assert np.allclose(after[4, 1], np.delete(values, 4, 0)[:, 1].mean(0), atol=1e-5)
    assert np.array_equal(after[:, [0, 2]], values[:, [0, 2]].astype(np.float32))


def test_nothing_found_passes_the_states_through(pack):
    values = np.random.default_rng(4).standard_normal((TOKENS, TAPS, WIDTH))
    given = conditioning(values)
    masked, report = run(pack.OutlierMask, conditioning=given)
    assert torch.equal(states(masked), states(given)) and "nothing changed" in report
    assert record(masked).edits == ()


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
def test_every_tap_is_normalized_by_itself(pack, order):
    values = np.random.default_rng(5).standard_normal((TOKENS, TAPS, WIDTH))
    values *= np.array([1, 7, 40])[:, None]
    [out] = run(pack.Normalize, conditioning=conditioning(values, order), keep_sinks=False)
    rms = np.sqrt((values.astype(np.float32).astype(float) ** 2).mean(-1, keepdims=True))
    expected = values / rms * np.median(rms, axis=0, keepdims=True)
    assert np.allclose(unflat(states(out), order), expected, rtol=1e-5)


def test_the_report_names_tap_dimension_and_token_and_draws_them(pack):
    values = stack()
    values[7, 2, 3] = 3000
    image, report = run(pack.OutlierReport, conditioning=conditioning(values))
    assert image.ndim == 4 and image.shape[-1] == 3 and float(image.std()) > 0.01
    rows = [line.split() for line in report.splitlines() if line.startswith("layer ")]
    [far] = [row for row in rows if row[1:3] == ["27", "3"]]
    std = values.astype(np.float32).astype(float).std(0, ddof=1)
    assert far[3] == f"{std[2, 3]:.4g}" and far[5] == f"{std[2, 3] / np.median(std[2]):.4g}"
    assert "7 '?' (text)" in report
    share = (values**2).sum(-1) / (values**2).sum((1, 2))[:, None]
    [first] = [row for row in rows if row[1] == "9"]
    assert first[3] == f"{share.mean(0)[0]:.1%}"


def test_a_reference_counts_for_the_tap_of_its_layer(pack):
    from zimage_layer_lab.core.measure.reference import Reference

    vector = torch.ones(WIDTH, dtype=torch.float64)
    own = Reference(vector * 0, vector * 0.05, 0.0, 0.05, provenance={"layer": "-19"})
    values = np.random.default_rng(6).standard_normal((TOKENS, TAPS, WIDTH))
    given = conditioning(values)
    _, report = run(pack.OutlierReport, conditioning=given, reference=own)
    rows = [line.split() for line in report.splitlines() if line.startswith("layer ")]
    loud = {row[1]: row[5] for row in rows if row[3].endswith("%")}
    assert loud["18"] == str(WIDTH) and loud["9"] == loud["27"] == "0"
    assert "every other tap: measured against the median std" in report
    wide = Reference(torch.zeros(8).double(), torch.ones(8).double(), 0.0, 1.0)
    with pytest.raises(ValueError, match="reference has 8 dimensions.*3 taps.*16"):
        run(pack.OutlierMask, conditioning=given, reference=wide)


def test_each_tap_is_measured_against_the_reference_of_its_layer(pack):
    """Through the sockets, named as the host hands them over."""
    from zimage_layer_lab.core.measure.reference import Reference

    vector = torch.ones(WIDTH, dtype=torch.float64)
    stds = {"9": 0.05, "18": 1.0, "27": 20.0}
    layers = {"9": "-28", "18": "-19", "27": "-10"}
    references = {
        tap: Reference(vector * 0, vector * std, 0.0, std, provenance={"layer": layers[tap]})
        for tap, std in stds.items()
    }
    values = np.random.default_rng(6).standard_normal((TOKENS, TAPS, WIDTH))
    given = conditioning(values)
    more = {"reference2": references["18"], "reference13": references["9"]}
    both = {"conditioning": given, "reference": references["27"], "more_references": more}
    _, report = run(pack.OutlierReport, **both)
    rows = [line.split() for line in report.splitlines() if line.startswith("layer ")]
    found = {row[1]: row[5:7] for row in rows if row[3].endswith("%")}
    assert found == {"9": [str(WIDTH), "0"], "18": ["0", "0"], "27": ["0", str(WIDTH)]}
    assert "median std of its own" not in report
    masked, _ = run(pack.OutlierMask, direction="both", **both)
    kept = states(masked).reshape(TOKENS, TAPS, WIDTH)
    assert not kept[:, [0, 2]].any() and torch.equal(
        kept[:, 1], states(given).reshape(TOKENS, TAPS, WIDTH)[:, 1]
    )
    [normalized] = run(pack.Normalize, method="per dimension", keep_sinks=False, **both)
    after = states(normalized).reshape(TOKENS, TAPS, WIDTH).double().numpy().std(0, ddof=1)
    assert np.allclose(after.mean(1), list(stds.values()), rtol=0.05)
    with pytest.raises(ValueError, match="reference and more_references.reference4 are both of"):
        run(
            pack.OutlierMask,
            conditioning=given,
            reference=references["9"],
            more_references={"reference4": references["9"]},
        )
    with pytest.raises(ValueError, match="more_references.reference2 is str"):
        run(pack.OutlierMask, conditioning=given, more_references={"reference2": "a"})


def test_states_without_a_record_are_known_by_their_width_and_their_padding_by_the_mask(pack):
    hidden = torch.randn(1, 12, 7680, generator=torch.Generator().manual_seed(0))
    hidden[:, 8:] = 1000.0
    mask = torch.tensor([[1] * 8 + [0] * 4])
    given = [[hidden, {"attention_mask": mask}]]
    _, report = run(pack.OutlierReport, conditioning=given)
    assert "7680 dimensions are Flux.2 Klein 4B's" in report and "layers 9, 18, 27" in report
    [row] = [line.split() for line in report.splitlines() if line.startswith("layer 9 ")]
    assert float(row[2]) == pytest.approx(1.0, abs=0.1), "the padding was measured"
    [text] = run(pack.Describe, conditioning=given)
    assert "8 text, 4 pad" in text and "layer-major, 2560 dimensions each" in text
    [text] = run(pack.Describe, conditioning=given, taps="1")
    assert "side by side" not in text


def test_the_number_of_taps_can_be_said(pack):
    hidden = torch.randn(1, 6, 48, generator=torch.Generator().manual_seed(0))
    [text] = run(pack.Describe, conditioning=[[hidden, {}]], taps="3")
    assert "3 taps of unknown layers side by side" in text and "tap 2 " in text
    weighed, report = run(
        pack.TapWeights, conditioning=[[hidden, {}]], weights="2: 0", solo="", taps="3"
    )
    assert not states(weighed)[..., 16:32].any() and "without tap 2" in report
    with pytest.raises(ValueError, match="48 dimensions, which are not 13 taps.*set taps to auto"):
        run(pack.Describe, conditioning=[[hidden, {}]], taps="13")
    with pytest.raises(ValueError, match="48 dimensions and counts as one layer: connect Tap"):
        run(pack.TapWeights, conditioning=[[hidden, {}]])


@pytest.mark.parametrize("order", [LAYER_MAJOR, INTERLEAVED])
@pytest.mark.parametrize("keep_rms", [True, False])
def test_weights_solo_and_all_but_one_are_numpys(pack, order, keep_rms):
    values = np.random.default_rng(8).standard_normal((TOKENS, TAPS, WIDTH)) * 5
    given = conditioning(values, order)
    for weights, solo, gains in (
        ("18: 2.5, 27: 5", "", [1, 2.5, 5]),
        ("", "18", [0, 1, 0]),
        ("9: 3", "not 18", [3, 0, 1]),
    ):
        settings = {"weights": weights, "solo": solo, "keep_rms": keep_rms}
        out, report = run(pack.TapWeights, conditioning=given, **settings)
        expected = values.astype(np.float32).astype(float)
        before = (expected**2).sum((1, 2), keepdims=True)
        expected = expected * np.array(gains, float)[:, None]
        if keep_rms:
            expected *= np.sqrt(before / (expected**2).sum((1, 2), keepdims=True))
        assert np.allclose(unflat(states(out), order), expected, rtol=1e-6, atol=1e-9)
        assert len(record(out).edits) == 1 and "connect a MODEL" in report


def test_a_weight_that_all_taps_share_is_seen_to_do_nothing(pack, flux2, krea2):
    hidden = torch.randn(1, 6, 7680, generator=torch.Generator().manual_seed(0))
    every = {"weights": "9: 3, 18: 3, 27: 3"}
    out, report = run(pack.TapWeights, conditioning=[[hidden, {}]], **every)
    assert torch.equal(states(out), hidden) and "keep_rms takes back" in report
    tripled, report = run(
        pack.TapWeights, conditioning=[[hidden, {}]], **every, keep_rms=False, model=flux2
    )
    assert torch.equal(states(tripled), 3 * hidden)
    assert "first block's norm) does not change" in report
    _, report = run(pack.TapWeights, conditioning=[[hidden, {}]], weights="9: 3", model=flux2)
    assert "tokens change" in report and "median gain" in report
    wide = torch.randn(1, 4, 30720, generator=torch.Generator().manual_seed(0))
    _, report = run(pack.TapWeights, conditioning=[[wide, {}]], model=krea2)
    weights = krea2.model.diffusion_model.txtfusion.projector.weight[0].tolist()
    rows = [line.split() for line in report.splitlines() if line.startswith("layer ")]
    cells = [float(row[-1]) for row in rows if len(row) == 6]
    assert cells == pytest.approx(weights, rel=2e-3)
    assert "after its txtfusion" in report


@pytest.mark.slow
def test_what_krea_2s_fusion_leaves_is_its_own_output(pack, krea2):
    """The figure of the report against the model's own modules, called by hand."""
    hidden = torch.randn(1, 4, 30720, generator=torch.Generator().manual_seed(2))
    out, report = run(
        pack.TapWeights, conditioning=[[hidden, {}]], weights="2: 30, 35: 0", model=krea2
    )
    diffusion, seen = krea2.model.diffusion_model, []
    for one in (hidden, states(out)):
        x = one.to(krea2.model.get_dtype_inference()).reshape(1, 4, 12, 2560)
        fused = diffusion.txtmlp[0](diffusion.txtfusion(x)).double().numpy()[0]
        seen.append(fused / np.sqrt((fused**2).mean(-1, keepdims=True)))
    before, after = seen
    relative = np.linalg.norm(after - before, axis=-1) / np.linalg.norm(before, axis=-1)
    assert f"relative L2 {relative.mean():.3f}" in report.replace("\n", " ")


def test_a_sweep_over_taps_leaves_each_out_or_lets_it_through_alone(pack, tapped_clips):
    clip = tapped_clips("krea2")
    own = states(text_encode(clip, "a fox"))
    kept = own[0].double().numpy().reshape(len(own[0]), 12, -1)
    square = (kept**2).sum((1, 2), keepdims=True)
    for taps, label in (("solo", "only layer 5"), ("leave one out", "without layer 5")):
        variants, labels = run(pack.LayerSweep, clip=clip, text="a fox", taps=taps)
        assert len(variants) == len(labels) == 13 and labels[0] == "all layers"
        assert torch.equal(states(variants[0]), own) and labels[2] == label
        expected = kept * (np.arange(12) == 1 if taps == "solo" else np.arange(12) != 1)[:, None]
        expected *= np.sqrt(square / (expected**2).sum((1, 2), keepdims=True))
        after = states(variants[2])[0].double().numpy().reshape(kept.shape)
        assert np.allclose(after, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["klein 4b", pytest.param("ideogram4", marks=pytest.mark.slow)])
def test_a_mix_of_its_own_in_each_tap(pack, tapped_clips, kind):
    from zimage_layer_lab.nodes.taps import encode_taps, tapped_clip

    tapped = tapped_clip(tapped_clips(kind))
    count = len(tapped.taps)
    lists = ["3: 0.25, 4: 0.75", *(str(layer) + ": 1" for layer in range(5, 4 + count))]
    [mixed] = run(
        pack.LayerMix, clip=tapped.clip, text="a fox", weights="; ".join(lists), method="raw"
    )
    wanted = (3, 4, *range(5, 3 + count))
    hidden = states(encode_taps(tapped, "a fox", wanted).conditioning)
    parts = [part.double() for part in tapped.taps.split(hidden)]
    ours = tapped.taps.split(states(mixed))
    assert np.allclose(ours[0].numpy(), (0.25 * parts[0] + 0.75 * parts[1]).numpy(), atol=1e-5)
    for tap in range(1, count - 1):
        assert torch.equal(ours[tap].double(), parts[tap + 1])
    assert record(mixed).taps.layers[:2] == (None, 5) and len(record(mixed).edits) == 1
    with pytest.raises(ValueError, match=f"2 lists.*takes {count} layers: write {count}"):
        run(pack.LayerMix, clip=tapped.clip, text="a fox", weights="3: 1; 4: 1")


def test_saved_and_loaded_taps_are_the_same(pack, folders):
    given = conditioning(stack(), INTERLEAVED)
    pack.SaveEmbedding.execute(given, "taps")
    [name] = [path.name for path in (folders / "output").iterdir()]
    [loaded] = run(pack.LoadEmbedding, name=f"{name} [output]")
    assert torch.equal(states(loaded), states(given)) and record(loaded) == record(given)
    assert "layers 9, 18, 27 side by side" in run(pack.Describe, conditioning=loaded)[0]


def test_thirty_thousand_dimensions_are_refused_in_a_sentence_where_2560_are_taken(pack, model):
    wide = [[torch.randn(1, 4, 30720, generator=torch.Generator().manual_seed(0)), {}]]
    narrow = [[torch.randn(1, 4, 2560, generator=torch.Generator().manual_seed(0)), {}]]
    says = "30720 dimensions.*2560"
    with pytest.raises(ValueError, match=says):
        run(pack.ZImageSampler, model=model, positive=wide, width=64, height=64, steps=1)
    for node, given in (
        (pack.OutlierReport, {"conditioning": wide}),
        (pack.TapWeights, {"conditioning": wide, "weights": ""}),
        (pack.DitGain, {"conditioning": wide}),
    ):
        with pytest.raises(ValueError, match=says):
            run(node, model=model, **given)
    with pytest.raises(ValueError, match="2560.*30720"):
        run(pack.Blend, text=narrow, vision=wide)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("flux2", 7680), ("krea2", 30720)])
def test_the_image_model_takes_every_result(pack, request, name, width):
    """Flux.2's and Krea 2's own network, with what each node made of states of their width."""
    from comfy.sample import fix_empty_latent_channels, sample

    dit = request.getfixturevalue(name)
    generator = torch.Generator().manual_seed(0)
    given = [[torch.randn(1, 6, width, generator=generator), {"pooled_output": None}]]
    given[0][0][:, 2] += 80
    results = {
        "as it is": given,
        "zero": run(pack.OutlierMask, conditioning=given, threshold=2.0)[0],
        "drop sinks": run(pack.OutlierMask, conditioning=given, mode="drop sinks")[0],
        "normalized": run(pack.Normalize, conditioning=given)[0],
        "solo": run(
            pack.TapWeights,
            conditioning=given,
            weights="",
            solo="not 18, 9" if name == "flux2" else "23",
        )[0],
    }
    latent = fix_empty_latent_channels(dit, empty_latent(64, 64)["samples"])
    noise = torch.randn(latent.shape, generator=generator)
    made = [
        sample(dit, noise, 1, 1.0, "euler", "simple", one, one, latent, seed=0)
        for one in results.values()
    ]
    assert states(results["drop sinks"]).shape[1] == 5
    assert all(one.isfinite().all() for one in made)
    assert all(not torch.equal(made[0], one) for one in made[2:])
