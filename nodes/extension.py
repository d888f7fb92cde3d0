"""The list of nodes that ComfyUI asks for."""

from comfy_api.latest import ComfyExtension, io

from .blending import Blend
from .capture import Qwen3Encode
from .masking import OutlierMask
from .sampling import ZImageSampler
from .vision import VLEncode


class LayerLabExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [Qwen3Encode, VLEncode, OutlierMask, Blend, ZImageSampler]
