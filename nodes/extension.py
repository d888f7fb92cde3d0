"""The list of nodes that ComfyUI asks for."""

from comfy_api.latest import ComfyExtension, io

from .ablations import Ablations
from .blending import Blend
from .caption_cache import SaveCaptionCache
from .capture import Qwen3Encode
from .compare_grid import CompareGrid
from .concept_applying import ApplyConcept
from .concept_direction import ConceptDirection
from .concept_file import LoadConcept, SaveConcept
from .describing import Describe
from .dimension_probe import DimensionProbeNode
from .dit_gain import DitGain
from .dit_response import DitResponse
from .embedding import LoadEmbedding, SaveEmbedding
from .layer_mix import LayerMix
from .layer_sweep import LayerSweep
from .masking import OutlierMask
from .normalizing import Normalize
from .outliers import OutlierReport
from .profile import LayerProfileNode
from .reference import BuildReference, LoadReference, SaveReference
from .sampling import ZImageSampler
from .scheduling import ScheduledBlend
from .style_delta import StyleDelta
from .tap_encode import TapEncode
from .tap_weights import TapWeights
from .token_fit import FitTokens
from .vision import VLEncode
from .weighted_encode import WeightedEncode


class LayerLabExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            Qwen3Encode,
            LayerSweep,
            LayerMix,
            VLEncode,
            OutlierMask,
            OutlierReport,
            LayerProfileNode,
            BuildReference,
            SaveReference,
            LoadReference,
            Normalize,
            Blend,
            FitTokens,
            StyleDelta,
            ScheduledBlend,
            Describe,
            SaveEmbedding,
            LoadEmbedding,
            ZImageSampler,
            CompareGrid,
            Ablations,
            DitGain,
            DitResponse,
            TapEncode,
            TapWeights,
            DimensionProbeNode,
            SaveCaptionCache,
            ConceptDirection,
            ApplyConcept,
            SaveConcept,
            LoadConcept,
            WeightedEncode,
        ]
