"""Random weights of tiny depth under the official Z-Image file names.

They have the real widths, head layout and vocabulary, so that every node behaves as with the real
models, but few blocks: 1.6 GB instead of 20 GB, written in seconds. ComfyUI loads them only on a
server with the test-only pack ``tiny_host``, which reads the same ``sizes.json``.

Nearly all weights are float8 e4m3. They are drawn as random bytes with a fixed exponent field, that
is with a random sign and a magnitude uniform over eight steps from 2^e to 1.875 * 2^e: much faster
than a normal draw and a conversion, and as good for random weights.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..core.files.atomic import replacing, write_whole
from .tiny_shapes import Shapes, dit_shapes, language_shapes, vae_shapes, vision_shapes

logger = logging.getLogger(__name__)

SIZES_FILE = Path(__file__).with_name("sizes.json")

TEXT_ENCODER = "text_encoders/qwen_3_4b.safetensors"
VISION_TEXT_ENCODER = "text_encoders/qwen3vl_4b_bf16.safetensors"
DIFFUSION_MODEL = "diffusion_models/z_image_turbo_bf16.safetensors"
VAE = "vae/ae.safetensors"

_FP8 = torch.float8_e4m3fn
_EXPONENT_BIAS = 7
_MIN_EXPONENT, _MAX_EXPONENT = -6, 7
_UNIT_RMS = math.sqrt(sum((1 + m / 8) ** 2 for m in range(8)) / 8)


@dataclass(frozen=True)
class TinyWeights:
    """Where the files are.

    ``written``: False when files of the same sizes were already there and were kept.
    ``total_bytes``: size on disk of the four files together.
    """

    text_encoder: Path
    vision_text_encoder: Path
    diffusion_model: Path
    vae: Path
    written: bool
    total_bytes: int


def load_sizes() -> dict[str, Any]:
    """The contents of ``tiny_host/sizes.json``: depths, widths, seed and the marker's file name."""
    return json.loads(SIZES_FILE.read_text(encoding="utf-8"))


def write_tiny_weights(
    models_dir: Path, progress: Callable[[str], None] | None = None
) -> TinyWeights:
    """Write the four weight files under ``models_dir``, a ComfyUI models folder.

    ``progress`` is called with one line per file. Every file is there whole or not at all; a marker
    file comes last, and a complete set with the same marker is kept. A file of an official name
    without a marker is someone's real model.

    Raises:
        FileExistsError: if there is such a file.
        WriteError: if a file cannot be written.
    """
    models_dir = Path(models_dir)
    sizes = load_sizes()
    report = progress or logger.info
    marker = models_dir / sizes["marker"]
    paths = {
        name: models_dir / name
        for name in (TEXT_ENCODER, VISION_TEXT_ENCODER, DIFFUSION_MODEL, VAE)
    }
    written = not _is_complete(marker, sizes, paths)
    if written:
        foreign = [p for p in paths.values() if p.exists()] if not marker.exists() else []
        if foreign:
            raise FileExistsError(
                f"{foreign[0]} exists and was not made by this command; tiny test weights need a "
                "models folder of their own"
            )
        # An unfinished set is marked as ours from the start, so that a second try may replace it.
        _write_json(marker, {"sizes": sizes, "files": {}})
        builders: dict[str, Callable[[], Shapes]] = {
            TEXT_ENCODER: lambda: language_shapes(sizes, "model."),
            VISION_TEXT_ENCODER: lambda: {
                **language_shapes(sizes, "model.language_model."),
                **vision_shapes(sizes),
            },
            DIFFUSION_MODEL: lambda: dit_shapes(sizes),
            VAE: lambda: vae_shapes(sizes),
        }
        for number, (name, shapes) in enumerate(builders.items()):
            tensors = random_weights(shapes(), seed=sizes["seed"] + number)
            if name == DIFFUSION_MODEL:
                _make_dit_listen(tensors, sizes["seed"])
            elif name == VAE:
                _calm_vae(tensors)
            _save(tensors, paths[name])
            report(f"wrote {name}, {paths[name].stat().st_size / 1e9:.2f} GB")
        _write_json(marker, {"sizes": sizes, "files": _file_sizes(paths)})
    else:
        report(f"tiny test weights are already in {models_dir}")
    return TinyWeights(
        text_encoder=paths[TEXT_ENCODER],
        vision_text_encoder=paths[VISION_TEXT_ENCODER],
        diffusion_model=paths[DIFFUSION_MODEL],
        vae=paths[VAE],
        written=written,
        total_bytes=sum(p.stat().st_size for p in paths.values()),
    )


def random_weights(shapes: Shapes, seed: int) -> dict[str, torch.Tensor]:
    """Float8 tensors for ``shapes``: weights random, norms one, biases zero.

    A matrix or kernel gets an rms near 1 / sqrt(fan in), to the nearest power of two.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith(".bias"):
            tensors[name] = torch.zeros(shape).to(_FP8)
        elif len(shape) == 1:
            # ComfyUI takes a text encoder's dtype from its norms.
            dtype = torch.bfloat16 if name.startswith("model.") else _FP8
            tensors[name] = torch.ones(shape).to(dtype)
            if dtype is torch.bfloat16:
                # Each file has norms of its own, so that models can be told apart by them.
                tensors[name] += 0.2 * torch.rand(shape, generator=generator) - 0.1
        else:
            tensors[name] = _random_fp8(shape, 1 / math.sqrt(math.prod(shape[1:])), generator)
    return tensors


def _random_fp8(shape: tuple[int, ...], rms: float, generator: torch.Generator) -> torch.Tensor:
    exponent = round(math.log2(rms / _UNIT_RMS))
    exponent = min(max(exponent, _MIN_EXPONENT), _MAX_EXPONENT)
    count = math.prod(shape)
    words = torch.empty(-(-count // 8), dtype=torch.int64)
    # The default range of random_ leaves the sign bit of every eighth byte at zero.
    words.random_(-(2**63), None, generator=generator)
    octets = words.view(torch.uint8)[:count]
    octets.bitwise_and_(0b1000_0111).bitwise_or_((exponent + _EXPONENT_BIAS) << 3)
    return octets.view(_FP8).reshape(shape)


def _make_dit_listen(tensors: dict[str, torch.Tensor], seed: int) -> None:
    """Let the random Z-Image turn noise into a pattern that its captions decide.

    With plain random weights the caption does not reach the latent in a visible way. Here the final
    layer reads out what the patch embedding wrote, so that the velocity is about latent - target,
    and the attention of the last block writes its target in that same subspace.
    """
    generator = torch.Generator().manual_seed(seed)
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("layers."))
    block = f"layers.{last}."
    dim = tensors["cap_pad_token"].shape[1]
    embed = tensors["x_embedder.weight"].float()
    # A large constant part makes queries depend on position and caption more than on the noise.
    # It is orthogonal to the subspace, or it would print one pattern on every patch.
    bias = 3 * torch.randn(dim, generator=generator)
    bias -= embed @ torch.linalg.lstsq(embed, bias[:, None]).solution[:, 0]
    tensors["x_embedder.bias"] = bias.to(_FP8)
    tensors["cap_embedder.1.bias"] = _random_fp8((dim,), 1.0, generator)
    # The same 16 channels at all four places of a patch, or each patch would be a visible tile.
    mix = torch.randn(16, dim, generator=generator).repeat(4, 1)
    out = embed @ mix
    tensors[f"{block}attention.out.weight"] = (out / out.std()).to(_FP8)
    for norm in ("q_norm", "k_norm"):
        tensors[f"{block}attention.{norm}.weight"] = torch.full((128,), 2.0).to(_FP8)
    # Chunks of adaLN: scale and gate of the attention, scale and gate of the feed-forward.
    modulation = tensors[f"{block}adaLN_modulation.0.bias"].float()
    modulation[dim : 2 * dim] = 1.5
    tensors[f"{block}adaLN_modulation.0.bias"] = modulation.to(_FP8)
    weight = tensors[f"{block}adaLN_modulation.0.weight"].float()
    tensors[f"{block}adaLN_modulation.0.weight"] = (weight / 4).to(_FP8)
    tensors["final_layer.linear.weight"] = (-embed.T / 2).contiguous().to(_FP8)
    tensors["final_layer.adaLN_modulation.1.weight"] = torch.zeros(dim, 256).to(_FP8)
    tensors["final_layer.adaLN_modulation.1.bias"] = torch.full((dim,), -0.75).to(_FP8)


def _calm_vae(tensors: dict[str, torch.Tensor]) -> None:
    """Give the encoder a log-variance of -20 (a repeatable encoding) and the decoder blur kernels.

    The decoder's 3x3 kernels become flat ones, so that the pictures are smooth.
    """
    for name, value in (("encoder.conv_out.weight", 0.0), ("encoder.conv_out.bias", -20.0)):
        tensor = tensors[name].float()
        tensor[16:] = value
        tensors[name] = tensor.to(_FP8)
    for name, tensor in tensors.items():
        if name.startswith("decoder.") and tensor.shape[2:] == (3, 3):
            center = tensor[:, :, 1:2, 1:2].float() / 3
            tensors[name] = center.expand(-1, -1, 3, 3).contiguous().to(_FP8)


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", "weights": "tiny random"})


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(value, indent=2) + "\n")


def _file_sizes(paths: Mapping[str, Path]) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in paths.items()}


def _is_complete(marker: Path, sizes: Mapping[str, Any], paths: Mapping[str, Path]) -> bool:
    if not marker.is_file() or not all(path.is_file() for path in paths.values()):
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return found == {"sizes": dict(sizes), "files": _file_sizes(paths)}
