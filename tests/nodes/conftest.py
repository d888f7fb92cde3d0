"""A real ComfyUI in this process, on the CPU, with tiny-depth random weights."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
import torch
from zimage_layer_lab.cli.comfy.folder import missing_requirements

from .network import GUARD
from .other_dits import flux2, krea2  # noqa: F401  (fixtures)
from .stock import run
from .tiny_encoders import tapped_clips  # noqa: F401  (fixture)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """No test of this folder may reach the network, nor the fixtures that it is the first to use.

    What the host or a library swallows is told at the end of the test all the same.
    """
    with GUARD:
        return (yield)


@pytest.fixture(autouse=True)
def _no_network():
    yield
    assert not GUARD.taken(), "the network was used: see the names above"


@pytest.fixture(scope="session")
def host(comfyui, skip_or_fail, request):
    """ComfyUI's modules and its stock nodes; every test of this folder needs it."""
    if missing := missing_requirements(comfyui, sys.executable):
        skip_or_fail(f"ComfyUI's requirements are not installed here: {', '.join(missing)}")
    sys.path.insert(0, str(comfyui))
    try:
        import comfy.cli_args
    except ImportError as error:
        skip_or_fail(f"ComfyUI's requirements are not installed here ({error})")
    # Its 1.4 GB are written only where there is a host to read them.
    tiny_base = request.getfixturevalue("tiny_base")
    comfy.cli_args.args.cpu = True
    comfy.cli_args.args.base_directory = str(tiny_base)
    try:
        import folder_paths
        import nodes
    except ImportError as error:
        skip_or_fail(f"ComfyUI's requirements are not installed here ({error})")
    assert folder_paths.models_dir == str(tiny_base / "models")
    from zimage_layer_lab import tiny_host

    tiny_host.install()

    return SimpleNamespace(nodes=nodes, folder_paths=folder_paths, base=tiny_base)


@pytest.fixture(autouse=True)
def _inference_mode():
    """The host executes every node so."""
    with torch.inference_mode():
        yield


@pytest.fixture(autouse=True)
def _nothing_encoded_before():
    """Tests change weights behind the host's back, which no key of a recent result can tell."""
    if encoded_once := sys.modules.get("zimage_layer_lab.nodes.encoded_once"):
        encoded_once.RECENT.clear()


@pytest.fixture
def folders(host, tmp_path, monkeypatch):
    """Fresh input and output folders."""
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(host.folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture(scope="session")
def clip(host):
    """The stock CLIPLoader's Qwen3-4B (8 blocks, random)."""
    return host.nodes.CLIPLoader().load_clip("qwen_3_4b.safetensors", "lumina2")[0]


@pytest.fixture(scope="session")
def vl_clip(host):
    """The stock CLIPLoader's Qwen3-VL-4B (8 blocks, random)."""
    return host.nodes.CLIPLoader().load_clip("qwen3vl_4b_bf16.safetensors", "lumina2")[0]


@pytest.fixture(scope="module")
def model(host):
    """The stock UNETLoader's Z-Image (1 layer, random); for one file at a time, to save memory."""
    return host.nodes.UNETLoader().load_unet("z_image_turbo_bf16.safetensors", "default")[0]


@pytest.fixture(scope="module")
def vae(host):
    """The stock VAELoader's autoencoder (narrow, random)."""
    return host.nodes.VAELoader().load_vae("ae.safetensors")[0]


@pytest.fixture(scope="session")
def pack(host):
    """The pack's node classes by their id without its prefix."""
    import zimage_layer_lab

    extension = asyncio.run(zimage_layer_lab.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return SimpleNamespace(
        **{node.GET_SCHEMA().node_id.removeprefix("LayerLab"): node for node in nodes}
    )


@pytest.fixture(scope="module")
def text(clip, pack):
    """A short prompt's conditioning."""
    with torch.inference_mode():
        return run(pack.Qwen3Encode, clip=clip, text="a red fox in deep snow")[0]


@pytest.fixture(scope="module")
def vision(vl_clip, pack):
    """The image tokens of 256 x 256 pixels of noise."""
    with torch.inference_mode():
        pixels = torch.rand(1, 256, 256, 3, generator=torch.Generator().manual_seed(0))
        return run(pack.VLEncode, clip=vl_clip, image=pixels, tokens="image")[0]


@pytest.fixture(scope="module")
def padded(clip, pack):
    """A typed end-of-text token closes the attention mask: the host masks what follows it."""
    with torch.inference_mode():
        text = "a red fox<|endoftext|>and much that is gone"
        return run(pack.Qwen3Encode, clip=clip, text=text)[0]


@pytest.fixture
def decoder_passes(clip):
    """Grows by one with every pass of the text decoder."""
    passes: list[int] = []
    model = clip.cond_stage_model.qwen3_4b.transformer.model
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    yield passes
    handle.remove()
