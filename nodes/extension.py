"""The list of nodes that ComfyUI asks for."""

from comfy_api.latest import ComfyExtension, io

from .blending import Blend
from .capture import Qwen3Encode
from .masking import OutlierMask
from .outliers import OutlierReport
from .profile import LayerProfileNode
from .reference import BuildReference, LoadReference, SaveReference
from .sampling import ZImageSampler
from .vision import VLEncode


class LayerLabExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            Qwen3Encode,
            VLEncode,
            OutlierMask,
            OutlierReport,
            LayerProfileNode,
            BuildReference,
            SaveReference,
            LoadReference,
            Blend,
            ZImageSampler,
        ]
