"""What each mode changes, on a sequence whose sink is known."""

import math

import torch
from zimage_layer_lab.core.edit.mask_effects import effects_of_modes
from zimage_layer_lab.core.edit.masking import MODES


def sequence(seed):
    hidden = torch.randn(20, 32, generator=torch.Generator().manual_seed(seed))
    hidden[0, 7] = 900.0
    return hidden


def test_every_mode_is_reported_with_sinks_and_others_apart():
    effects = {effect.mode: effect for effect in effects_of_modes([sequence(0), sequence(1)])}
    assert tuple(effects) == MODES
    assert effects["zero"].masked == (7,)
    assert effects["zero"].tokens == effects["zero"].changed_tokens == 40
    assert effects["sink to mean"].changed_tokens == 2
    assert effects["zero"].sink_l2 > effects["zero"].other_l2 > 0
    dropped = effects["drop sinks"]
    assert math.isnan(dropped.sink_l2) and dropped.other_l2 == 0
    assert dropped.changed_tokens == 2
    assert effects["sink to mean"].other_l2 == 0 < effects["sink to mean"].sink_l2


def test_the_figures_are_those_of_rms_norm_in_float64():
    hidden = sequence(2)
    effect = next(e for e in effects_of_modes([hidden]) if e.mode == "zero")
    x = hidden.double().numpy()
    y = x.copy()
    y[:, 7] = 0

    def normed(values):
        return values / ((values**2).mean(-1, keepdims=True) + 1e-5) ** 0.5

    change = ((normed(y) - normed(x)) ** 2).sum(-1) ** 0.5 / (normed(x) ** 2).sum(-1) ** 0.5
    assert abs(effect.sink_l2 - change[0]) < 1e-5
    assert abs(effect.other_l2 - change[1:].mean()) < 1e-5
