"""Image models that take several taps of an encoder, with one block, random.

The taps are as wide as the real ones, the model behind them is narrower.
"""

import pytest
import torch


def loaded(built) -> object:
    """The stock loader's MODEL of a model on the meta device, with random weights."""
    import comfy.sd

    generator = torch.Generator().manual_seed(0)
    weights = {
        name: (torch.randn(value.shape, generator=generator) * 0.02).bfloat16()
        for name, value in built.state_dict().items()
    }
    return comfy.sd.load_diffusion_model_state_dict(weights)


def on_meta() -> dict:
    import comfy.ops

    kind = {"device": "meta", "operations": comfy.ops.disable_weight_init}
    return {"dtype": torch.bfloat16, **kind}


@pytest.fixture(scope="module")
def flux2(host):
    """Flux.2 Klein 4B, 1,536 wide instead of 3,072."""
    from comfy.ldm.flux.model import Flux

    return loaded(
        Flux(
            in_channels=128,
            out_channels=128,
            vec_in_dim=None,
            context_in_dim=7680,
            hidden_size=1536,
            mlp_ratio=3.0,
            num_heads=12,
            depth=1,
            depth_single_blocks=1,
            axes_dim=[32, 32, 32, 32],
            theta=2000,
            patch_size=1,
            qkv_bias=False,
            guidance_embed=False,
            global_modulation=True,
            mlp_silu_act=True,
            ops_bias=False,
            txt_ids_dims=[3],
            **on_meta(),
        )
    )


@pytest.fixture(scope="module")
def krea2(host):
    """Krea 2, 1,536 wide instead of 6,144."""
    from comfy.ldm.krea2.model import SingleStreamDiT

    return loaded(SingleStreamDiT(features=1536, heads=12, kvheads=3, layers=1, **on_meta()))
