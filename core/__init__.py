"""Measuring and editing text-encoder states: torch, numpy and safetensors, never ComfyUI.

What is public is imported when it is first asked for: commands that compute nothing start without
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "NonFiniteError": "checks",
    "DitChange": "dit.view",
    "dit_change": "dit.view",
    "BlendResult": "edit.blending",
    "blend": "edit.blending",
    "MaskResult": "edit.masking",
    "mask_outlier_dimensions": "edit.masking",
    "mask_states": "edit.masking",
    "Capture": "encoder.capture",
    "NotADecoderError": "encoder.capture",
    "capture_hidden_states": "encoder.capture",
    "find_decoder": "encoder.capture",
    "LayerRangeError": "encoder.layers",
    "hidden_state_index": "encoder.layers",
    "negative_layer": "encoder.layers",
    "DimensionStats": "measure.dimension_stats",
    "Reference": "measure.reference",
    "ReferenceFileError": "measure.reference",
    "load_reference": "measure.reference",
    "published_qwen3_4b": "measure.reference",
    "reference_from_stats": "measure.reference",
    "save_reference": "measure.reference",
    "find_sinks": "measure.sinks",
    "SplitStats": "measure.split_stats",
    "Outlier": "outliers.detection",
    "find_outliers": "outliers.detection",
    "get_outlier_dimensions": "outliers.detection",
    "ratio_in_words": "outliers.detection",
    "RECORD_KEY": "record.record",
    "Record": "record.record",
    "Role": "record.record",
    "assign_roles": "record.record",
    "current_record": "record.record",
}
_FORMER = {"ChannelStats": "DimensionStats"}
"""Names that a class had at first."""

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


def __getattr__(name: str) -> Any:
    now = _FORMER.get(name, name)
    if now not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[now]}", __name__), now)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
