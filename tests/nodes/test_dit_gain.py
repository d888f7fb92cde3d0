"""DiT Gain on the real host's Z-Image, against NumPy in float64 on the file's own weights."""

import numpy as np
import pytest
import torch

from .stock import output, run, states


def weights(model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The norm's weight, the matrix and its bias in float64, of a model without patches."""
    norm, matrix = model.model.diffusion_model.cap_embedder
    return tuple(x.detach().double().numpy() for x in (norm.weight, matrix.weight, matrix.bias))


def cells(report: str, dimension: int) -> list[str]:
    [row] = [line for line in report.splitlines() if line.startswith(f"{dimension}  ")]
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def expected(model, hidden: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains, and the shares of dimensions and tokens, by the definition."""
    g, w, _ = weights(model)
    x = hidden[0].double().numpy()
    normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * g
    sent = (normed**2).sum(0) * (w**2).sum(0)
    token = ((normed @ w.T) ** 2).sum(-1)
    return np.abs(g) * np.sqrt((w**2).sum(0)), sent / sent.sum(), token / token.sum()


@pytest.fixture
def planted(text):
    """The text's states with a loud dimension 396."""
    hidden = states(text).clone()
    hidden[..., 396] *= 300.0
    return [[hidden, {}]]


def test_gains_and_shares_are_those_of_the_weights(model, pack, planted):
    gain, dimensions, _ = expected(model, states(planted))
    report = run(pack.DitGain, model=model, conditioning=planted)[1]
    row = cells(report, 396)
    assert float(row[1]) == pytest.approx(gain[396], rel=1e-3)
    assert row[4] == f"{dimensions[396]:.2%}"
    loudest = int(gain.argmax())
    assert f"{1 + int((gain > gain[loudest]).sum())} of 2560" in cells(report, loudest)[3]


def test_it_shows_a_picture_and_works_without_a_conditioning(model, pack):
    image, report = output(pack.DitGain, model=model).args
    assert image.ndim == 4 and image.shape[-1] == 3 and "2560 dimensions" in report


COLUMN = "diffusion_model.cap_embedder.1.weight"


@pytest.fixture
def column(model):
    """A function: multiply what the model takes of dimension 396; undone at the end."""
    weight = model.model.diffusion_model.cap_embedder[1].weight
    kept = weight[:, 396].clone()

    def scale(factor: float) -> None:
        weight[:, 396] = kept * factor

    yield scale
    weight[:, 396] = kept


@pytest.mark.parametrize(("factor", "rank"), [(0.0, "2560 of 2560"), (100.0, "1 of 2560")])
def test_an_ignored_and_a_favoured_dimension_are_told(model, pack, planted, column, factor, rank):
    column(factor)
    row = cells(run(pack.DitGain, model=model, conditioning=planted)[1], 396)
    assert row[3] == rank
    if factor == 0:
        assert (row[1], row[2], row[4], row[5]) == ("0", "ignored: 0", "0.00%", "0.00%")
    else:
        assert float(row[4].removesuffix("%")) > 99


@pytest.mark.parametrize("loaded", [False, True])
def test_a_lora_counts_whether_it_is_loaded_or_not(model, pack, loaded):
    import comfy.model_management

    g, w, _ = weights(model)
    delta = torch.randn(w.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    norm_delta = torch.rand(g.shape, generator=torch.Generator().manual_seed(2))
    patched = model.clone()
    patched.add_patches({COLUMN: ("diff", (delta,))}, 0.5)
    norm = COLUMN.replace(".1.", ".0.")
    patched.add_patches({norm: ("diff", (norm_delta,))}, 1.0)
    if loaded:
        comfy.model_management.load_models_gpu([patched])
    changed = w + 0.5 * delta.double().numpy()
    gain = np.abs(g + norm_delta.double().numpy()) * np.sqrt((changed**2).sum(0))
    report = run(pack.DitGain, model=patched, dimensions="396, 4, 2559")[1]
    for dimension in (396, 4, 2559):
        assert float(cells(report, dimension)[1]) == pytest.approx(gain[dimension], rel=2e-3)
    comfy.model_management.load_models_gpu([model])
    assert np.array_equal(weights(model)[1], w)


def test_float8_weights_count_as_they_are_stored(host, pack):
    [loaded] = host.nodes.UNETLoader().load_unet("z_image_turbo_bf16.safetensors", "fp8_e4m3fn")
    norm, matrix = loaded.model.diffusion_model.cap_embedder
    assert matrix.weight.dtype == torch.float8_e4m3fn
    g, w = norm.weight.double().numpy(), matrix.weight.float().double().numpy()
    report = run(pack.DitGain, model=loaded)[1]
    gain = np.abs(g) * np.sqrt((w**2).sum(0))
    for dimension in (396, 4):
        assert float(cells(report, dimension)[1]) == pytest.approx(gain[dimension], rel=1e-3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"dimensions": "396, 9999"}, "dimensions has '9999'"),
        ({"dimensions": "four"}, "dimensions has 'four'"),
        ({"conditioning": [[torch.zeros(1, 4, 64), {}]]}, "has 64 dimensions, and this model"),
        ({"conditioning": []}, "has no entries"),
    ],
)
def test_bad_input_is_a_sentence(model, pack, inputs, message):
    with pytest.raises(ValueError, match=message):
        run(pack.DitGain, model=model, **inputs)


def test_a_model_without_such_a_layer_is_refused(pack):
    with pytest.raises(ValueError, match="is not Z-Image"):
        run(pack.DitGain, model=object())


def test_flux_2_is_told_by_tap(flux2, pack):
    matrix = flux2.model.diffusion_model.txt_in.weight
    w = matrix.double().numpy()
    hidden = torch.randn(1, 9, 7680, generator=torch.Generator().manual_seed(1))
    hidden[..., 2560 + 396] *= 80.0
    x = hidden[0].double().numpy()
    sent = (x**2).sum(0) * (w**2).sum(0)
    report = run(pack.DitGain, model=flux2, conditioning=[[hidden, {}]], dimensions="2956")[1]
    [row] = [line for line in report.splitlines() if line.startswith("2956 (tap 2: 396)")]
    assert f"{np.sqrt((w[:, 2956] ** 2).sum()):.4g}" in row
    assert f"{sent[2956] / sent.sum():.2%}" in row
    [tap] = [line for line in report.splitlines() if line.startswith("tap 2 ")]
    assert tap.endswith(f"{sent[2560:5120].sum() / sent.sum():.2%}")


def test_krea_2_is_told_by_its_taps(krea2, pack):
    weights = krea2.model.diffusion_model.txtfusion.projector.weight[0].double().numpy()
    hidden = torch.randn(1, 5, 12 * 2560, generator=torch.Generator().manual_seed(1))
    report = run(pack.DitGain, model=krea2, conditioning=[[hidden, {}]], dimensions="")[1]
    rows = [line.split() for line in report.splitlines() if line.startswith("tap ")]
    assert [float(row[2]) for row in rows] == pytest.approx(list(weights), rel=2e-3)
    attended = [float(row[3].removesuffix("%")) for row in rows]
    assert sum(attended) == pytest.approx(100.0, abs=0.1)


def test_krea_2_attends_to_a_planted_tap(krea2, pack):
    """A tap whose first dimension is large beside all others, and queries and keys that take it."""
    block = krea2.model.diffusion_model.txtfusion.layerwise_blocks[0].attn
    kept = {name: getattr(block, name).weight.clone() for name in ("wq", "wk")}
    hidden = torch.randn(1, 5, 12, 2560, generator=torch.Generator().manual_seed(1))
    hidden[:, :, :, 0] = 100.0
    hidden[:, :, 7, 0] = -100.0
    try:
        block.wq.weight.zero_()[:, 0] = 1.0
        block.wk.weight.zero_()[:, 0] = -1.0
        given = [[hidden.flatten(2), {}]]
        report = run(pack.DitGain, model=krea2, conditioning=given, dimensions="")[1]
    finally:
        for name, weight in kept.items():
            getattr(block, name).weight.copy_(weight)
    attended = [
        float(line.split()[3].removesuffix("%"))
        for line in report.splitlines()
        if line.startswith("tap ")
    ]
    assert max(attended) == attended[7] > 80


def test_scaled_float8_counts_with_its_scale(host, pack):
    import comfy.sd
    import comfy.utils

    path = host.folder_paths.get_full_path("diffusion_models", "z_image_turbo_bf16.safetensors")
    state = comfy.utils.load_torch_file(path)
    name = "cap_embedder.1.weight"
    whole = state[name].float()
    scale = whole.abs().max() / 448
    stored = (whole / scale).to(torch.float8_e4m3fn)
    state[name] = stored
    state["cap_embedder.1.scale_weight"] = scale
    state["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    w = (stored.float() * scale).double().numpy()
    g = state["cap_embedder.0.weight"].double().numpy()
    loaded = comfy.sd.load_diffusion_model_state_dict(state)
    report = run(pack.DitGain, model=loaded)[1]
    gain = np.abs(g) * np.sqrt((w**2).sum(0))
    for dimension in (396, 4):
        assert float(cells(report, dimension)[1]) == pytest.approx(gain[dimension], rel=5e-3)
