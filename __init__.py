"""Z-Image Layer Lab: see and steer the text-encoder states that Z-Image is conditioned on.

Importing this package needs neither ComfyUI nor transformers: the nodes are imported only when
ComfyUI calls :func:`comfy_entrypoint`, the measuring code lives in ``zimage_layer_lab.core``.
"""

import logging

__version__ = "0.1.0"

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Called by ComfyUI once at start-up; returns the extension that lists the nodes."""
    try:
        from .nodes.extension import LayerLabExtension
    except Exception:
        # The host logs an error raised in here without its traceback.
        logging.getLogger(__name__).exception("Z-Image Layer Lab could not load its nodes")
        raise
    return LayerLabExtension()
