"""Test-only node pack: lets a throw-away ComfyUI load tiny-depth Z-Image weights.

ComfyUI's stock loaders know one depth for Qwen3-4B, Qwen3-VL-4B and Z-Image, and refuse a file
with fewer blocks. The command line's demo and the end-to-end tests run real workflows on such
files, made by ``tiny_weights.py`` in seconds, instead of 20 GB of real weights. This pack rebinds
those sizes inside the server it is loaded into. It has no nodes.

NEVER put this folder into the ``custom_nodes`` of a real ComfyUI: with it, the real weights of
these models do not load. As a guard it does nothing unless the server's models folder holds the
marker that ``tiny_weights.py`` writes there.
"""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SIZES: dict[str, Any] = json.loads(
    Path(__file__).with_name("sizes.json").read_text(encoding="utf-8")
)


def shrink_encoders() -> None:
    """Give Qwen3-4B and Qwen3-VL-4B the depth and widths of ``sizes.json`` in this process."""
    from comfy.text_encoders import llama, qwen3vl

    language = SIZES["language"]
    # The dataclass defaults are baked into __init__, so the name is rebound, not the attributes.
    llama.Qwen3_4BConfig = functools.partial(llama.Qwen3_4BConfig, **language)
    qwen3vl.QWEN3VL_CONFIGS["qwen3vl_4b"] = functools.partial(
        qwen3vl.QWEN3VL_CONFIGS["qwen3vl_4b"], **language
    )
    qwen3vl.QWEN3VL_VISION["qwen3vl_4b"] = {
        **qwen3vl.QWEN3VL_VISION["qwen3vl_4b"],
        **SIZES["vision"],
    }


def shrink_dit() -> None:
    """Give Z-Image (width 3840) fewer refiners and a narrow feed-forward in this process.

    The number of main layers needs no patch: ComfyUI counts them in the file.
    """
    from comfy.ldm.lumina.model import NextDiT

    sizes = SIZES["dit"]
    original = NextDiT.__init__

    @functools.wraps(original)
    def tiny_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("dim") == 3840:
            kwargs["n_refiner_layers"] = sizes["n_refiner_layers"]
            kwargs["ffn_dim_multiplier"] = sizes["feed_forward"] / kwargs["dim"]
        original(self, *args, **kwargs)

    NextDiT.__init__ = tiny_init


def install() -> None:
    """Shrink the models of this process, a ComfyUI; nothing is changed without the marker."""
    import folder_paths

    marker = Path(folder_paths.models_dir) / SIZES["marker"]
    if not marker.is_file():
        logger.error("tiny_host is test-only and found no %s: nothing was changed.", marker)
        return
    shrink_encoders()
    shrink_dit()
    logger.warning(
        "tiny_host: this server runs TINY RANDOM TEST WEIGHTS (%d encoder blocks, %d DiT layer). "
        "Its images mean nothing, and real Z-Image weights do not load here.",
        SIZES["language"]["num_hidden_layers"],
        SIZES["dit"]["n_layers"],
    )


async def comfy_entrypoint():
    """Called by ComfyUI once at start-up; returns an extension without nodes."""
    from comfy_api.latest import ComfyExtension

    class NoNodes(ComfyExtension):
        async def get_node_list(self) -> list:
            return []

    install()
    return NoNodes()
