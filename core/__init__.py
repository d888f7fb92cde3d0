"""Measuring and editing text-encoder states: torch, numpy and safetensors, never ComfyUI."""

from .checks import NonFiniteError
from .dit.view import DitChange, dit_change
from .edit.blending import BlendResult, blend
from .edit.masking import MaskResult, mask_outlier_dimensions, mask_states
from .encoder.capture import Capture, NotADecoderError, capture_hidden_states, find_decoder
from .encoder.layers import LayerRangeError, hidden_state_index, negative_layer
from .measure.dimension_stats import DimensionStats
from .measure.reference import (
    Reference,
    ReferenceFileError,
    load_reference,
    published_qwen3_4b,
    reference_from_stats,
    save_reference,
)
from .measure.sinks import find_sinks
from .measure.split_stats import SplitStats
from .outliers.detection import Outlier, find_outliers, get_outlier_dimensions, ratio_in_words
from .record.record import RECORD_KEY, Record, Role, assign_roles, current_record

ChannelStats = DimensionStats
"""The name that :class:`DimensionStats` had at first."""

__all__ = [
    "RECORD_KEY",
    "BlendResult",
    "Capture",
    "ChannelStats",
    "DimensionStats",
    "DitChange",
    "LayerRangeError",
    "MaskResult",
    "NonFiniteError",
    "NotADecoderError",
    "Outlier",
    "Record",
    "Reference",
    "ReferenceFileError",
    "Role",
    "SplitStats",
    "assign_roles",
    "blend",
    "capture_hidden_states",
    "current_record",
    "dit_change",
    "find_decoder",
    "find_outliers",
    "find_sinks",
    "get_outlier_dimensions",
    "hidden_state_index",
    "load_reference",
    "mask_outlier_dimensions",
    "mask_states",
    "negative_layer",
    "published_qwen3_4b",
    "ratio_in_words",
    "reference_from_stats",
    "save_reference",
]
