"""DiT Response on the real host's Z-Image: its predictions are the model's own, asked by hand."""

import pytest
import torch

from .stock import empty_latent, output, run, states, with_states

SMALL = {"width": 64, "height": 64, "steps": 3}


def respond(pack, model, base, variants, labels=(), **settings):
    """The node's answer; every input as the host gives it, a list."""
    given = {"model": model, "base": base, "seed": 5, "at": "1, 3", **SMALL, **settings}
    lists = {name: [value] for name, value in given.items()}
    return output(pack.DitResponse, **lists, variants=list(variants), labels=list(labels))


def rows(report: str) -> dict[str, list[str]]:
    """The table's cells by label."""
    lines = report.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("variant  "))
    split = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[start + 1 :]
    ]
    return {cells[0]: cells[1:] for cells in split}


def scaled(text, factor):
    return with_states(text, states(text) * factor)


def other(text, seed=0):
    noise = torch.randn(states(text).shape, generator=torch.Generator().manual_seed(seed))
    return with_states(text, noise)


@pytest.mark.parametrize("sampler_name", ["res_multistep", "euler", "heun", "uni_pc"])
def test_the_base_is_sampled_as_the_sampler_does_it(model, pack, text, sampler_name):
    settings = {"sampler_name": sampler_name}
    answer = respond(pack, model, text, [text, other(text)], ["itself", "noise"], **settings)
    sampled = run(pack.ZImageSampler, model=model, positive=text, seed=5, **SMALL, **settings)[1]
    assert torch.equal(answer.args[2]["samples"], sampled["samples"])
    cells = rows(answer.args[1])
    assert set(cells["itself"][1:4]) == {"0 %"}
    assert all(float(cell.split()[0]) > 1 for cell in cells["noise"][1:4])


def test_the_share_is_that_of_the_models_own_answers(host, model, pack, text):
    """At the first step x is the noise itself, so that the model can be asked by hand."""
    import comfy.model_management
    import comfy.sample
    from comfy_extras.nodes_model_advanced import ModelSamplingAuraFlow

    variant = other(text)
    report = respond(pack, model, text, [variant], ["noise"], at="1").args[1]
    [shifted] = ModelSamplingAuraFlow().patch_aura(model, 3.0)
    comfy.model_management.load_models_gpu([shifted])
    shifted.pre_run()
    x = comfy.sample.prepare_noise(empty_latent(64, 64)["samples"], 5)
    [emptied] = host.nodes.ConditioningZeroOut().zero_out(text)

    def ask(conditioning):
        hidden = states(conditioning)
        given = {"c_crossattn": hidden, "num_tokens": hidden.shape[1], "transformer_options": {}}
        return shifted.model.apply_model(x, torch.ones(1), **given)

    base = ask(text)
    changes = [float((ask(one) - base).double().norm()) for one in (variant, emptied)]
    velocity = changes[0] / float((x - base).double().norm())
    cells = rows(report)["noise"]
    assert float(cells[1].split()[0]) == pytest.approx(100 * changes[0] / changes[1], rel=5e-3)
    assert float(cells[3].split()[0]) == pytest.approx(100 * velocity, rel=5e-3)
    shifted.cleanup()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variants": []}, "variants is an empty list"),
        ({"labels": ["one", "two"]}, "1 variants and 2 labels"),
        ({"at": "1, 9"}, "at has '9', which is no step of 1 to 3"),
        ({"at": ""}, "at is empty"),
        ({"variants": [[[torch.zeros(1, 4, 64), {}]]]}, "has 64 dimensions and the base 2560"),
        ({"variants": [[]]}, "has no entries"),
    ],
)
def test_bad_input_is_a_sentence(model, pack, text, settings, message):
    given = {"variants": [text], "labels": [], **settings}
    with pytest.raises(ValueError, match=message):
        respond(pack, model, text, **given)


def areas(host, text, second):
    """Two regional prompts, side by side."""
    [left] = host.nodes.ConditioningSetArea().append(text, 64, 64, 0, 0, 1.0)
    [right] = host.nodes.ConditioningSetArea().append(second, 64, 64, 64, 0, 1.0)
    return left + right


def test_regional_prompts_leave_the_base_as_it_is(host, model, pack, text):
    base = areas(host, text, other(text))
    size = {"width": 128, "height": 64}
    answer = respond(pack, model, base, [text, base], ["whole", "itself"], at="2", **size)
    sampler = {**SMALL, **size, "seed": 5}
    sampled = run(pack.ZImageSampler, model=model, positive=base, **sampler)[1]
    assert torch.equal(answer.args[2]["samples"], sampled["samples"])
    cells = rows(answer.args[1])
    assert cells["itself"][1] == "0 %" and cells["whole"][1] != "0 %"


@pytest.mark.parametrize("sampler_name", ["euler", "uni_pc"])
def test_a_latent_with_a_noise_mask_is_sampled_as_stock(model, pack, text, sampler_name):
    latent = empty_latent(64, 64)
    drawn = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1.0
    latent = {**latent, "samples": drawn, "noise_mask": mask}
    settings = {"sampler_name": sampler_name, "latent": latent}
    answer = respond(pack, model, text, [text], ["itself"], **settings)
    sampled = run(pack.ZImageSampler, model=model, positive=text, seed=5, **SMALL, **settings)[1]
    assert torch.equal(answer.args[2]["samples"], sampled["samples"])
    assert rows(answer.args[1])["itself"][1] == "0 %"


def test_interrupted_in_the_middle_it_leaves_the_model_as_it_was(model, pack, text, monkeypatch):
    import comfy.model_management

    before = run(pack.ZImageSampler, model=model, positive=text, seed=5, **SMALL)[1]["samples"]
    hooks, options = model.hook_mode, dict(model.model_options)
    asked = []
    ask = comfy.samplers.calc_cond_batch

    def stop_at_the_second(*args):
        asked.append(1)
        if len(asked) == 2:
            comfy.model_management.interrupt_current_processing()
        return ask(*args)

    monkeypatch.setattr(comfy.samplers, "calc_cond_batch", stop_at_the_second)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        respond(pack, model, text, [text, other(text)], ["itself", "noise"])
    monkeypatch.undo()
    assert model.hook_mode == hooks and dict(model.model_options) == options
    after = run(pack.ZImageSampler, model=model, positive=text, seed=5, **SMALL)[1]["samples"]
    assert torch.equal(before, after)


def test_another_multiple_of_32_tokens_is_said(model, pack, text):
    longer = torch.cat([states(text)] * 3, dim=1)
    report = respond(pack, model, text, [[[longer, {}]]], ["three times"], at="1").args[1]
    assert "filled to a multiple of 32 tokens" in report and "three times" in report
    report = respond(pack, model, text, [other(text)], ["noise"], at="1").args[1]
    assert "filled to a multiple" not in report


def test_a_planted_cause_leads_and_the_controls_do_not(clip, model, pack):
    """Dimension 396 made loud: of all parts it is what matters."""
    [text, _] = run(pack.Qwen3Encode, clip=clip, text="a red fox in deep snow", layer=-6)
    planted = states(text).clone()
    planted[..., 396] *= 100.0
    base = with_states(text, planted)
    variants, labels = output(pack.Ablations, conditioning=base, what="outliers", most=2).args
    report = respond(pack, model, base, variants, labels, at="1").args[1]
    shares = {name: float(cells[1].split()[0]) for name, cells in rows(report).items()}
    judged = {name: share for name, share in shares.items() if name.startswith("dimension")}
    controls = [share for name, share in shares.items() if name.startswith("control")]
    assert max(judged, key=judged.get) == "dimension 396"
    assert judged["dimension 396"] > 10 * max(controls)


@pytest.mark.parametrize(("name", "width"), [("flux2", 7680), ("krea2", 12 * 2560)])
def test_other_models_are_asked_too(request, pack, name, width):
    model = request.getfixturevalue(name)
    base, noise = torch.randn(2, 1, 6, width, generator=torch.Generator().manual_seed(0))
    given = [[[base, {}]], [[noise, {}]]]
    report = respond(pack, model, given[0], given, ["itself", "noise"], at="1").args[1]
    cells = rows(report)
    assert cells["itself"][1] == "0 %" and cells["noise"][1] not in ("0 %", "-")


NAME = "diffusion_model.cap_embedder.1"


def lora(rank: int = 4) -> dict[str, torch.Tensor]:
    """Of the first caption layer, by the names of the host."""
    generator = torch.Generator().manual_seed(4)
    return {
        f"{NAME}.lora_up.weight": torch.randn(3840, rank, generator=generator) * 0.2,
        f"{NAME}.lora_down.weight": torch.randn(rank, 2560, generator=generator) * 0.2,
    }


@pytest.mark.parametrize("loaded", [False, True])
def test_a_lora_on_the_first_layer_counts(host, model, pack, text, loaded):
    """As if its product stood in the weights."""
    import comfy.model_management

    variant = other(text)
    plain = rows(respond(pack, model, text, [variant], ["noise"], at="1").args[1])["noise"]
    parts = lora()
    delta = parts[f"{NAME}.lora_up.weight"] @ parts[f"{NAME}.lora_down.weight"]
    weight = model.model.diffusion_model.cap_embedder[1].weight
    kept = weight.clone()
    try:
        weight.copy_(kept + delta)
        said = rows(respond(pack, model, text, [variant], ["noise"], at="1").args[1])["noise"]
    finally:
        weight.copy_(kept)
    patched = model.clone()
    patched.add_patches({f"{NAME}.weight": ("diff", (delta,))}, 1.0)
    if loaded:
        comfy.model_management.load_models_gpu([patched])
    report = respond(pack, patched, text, [variant], ["noise"], at="1").args[1]
    share, truth, without = (
        float(cells[1].split()[0]) for cells in (rows(report)["noise"], said, plain)
    )
    assert share == pytest.approx(truth, rel=1e-2) and abs(share - without) > 0.02 * without
    comfy.model_management.load_models_gpu([model])
    assert torch.equal(weight, kept)


def test_a_hook_on_one_variant_leaves_the_base_alone(model, pack, text):
    import comfy.hooks

    group = comfy.hooks.create_hook_lora(lora=lora(), strength_model=1.0, strength_clip=0.0)
    hooked = comfy.hooks.set_hooks_for_conditioning(text, hooks=group)
    answer = respond(pack, model, text, [text, hooked], ["itself", "hooked"], at="1, 2")
    cells = rows(answer.args[1])
    assert cells["itself"][1] == cells["itself"][2] == "0 %" and cells["hooked"][1] != "0 %"
    sampled = run(pack.ZImageSampler, model=model, positive=text, seed=5, **SMALL)[1]
    assert torch.equal(answer.args[2]["samples"], sampled["samples"])
