"""Weights as ComfyUI stores them: plain, or in float8 with a scale a matrix.

Two layouts are about: the older has ``scale_weight`` beside each ``weight`` and one ``scaled_fp8``
for the file; the newer ``weight_scale``, and for each matrix its format as JSON, in a tensor
``comfy_quant`` or in the file's metadata under ``_quantization_metadata``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .errors import ModelError

SCALES = {
    "scale_weight",
    "weight_scale",
    "scale_input",
    "input_scale",
    "comfy_quant",
    "scaled_fp8",
}
"""Last words of names that belong to a scaled weight. Scales of inputs serve a fast product on a
GPU, which ComfyUI does not use for text encoders."""
READ = {"float8_e4m3fn", "float8_e5m2"}
"""Formats that are read."""


class ScaledWeights:
    """Weights of an open safetensors ``file`` whose names begin with ``prefix``."""

    def __init__(self, file: Any, prefix: str):
        self._file = file
        self._prefix = prefix
        self._names = set(file.keys())

    def read(self, name: str) -> Tensor:
        """The weight ``name`` (without the prefix), a scaled one in float32."""
        weight = self._file.get_tensor(self._prefix + name)
        layer = (self._prefix + name).removesuffix("weight")
        for scale in (f"{layer}weight_scale", f"{layer}scale_weight"):
            if scale in self._names:
                return weight.float() * self._file.get_tensor(scale).float()
        return weight

    def require_known(self, path: Path) -> None:
        """Raise ModelError if a weight is in a format that is not read here."""
        for layer, format in sorted(self._formats().items()):
            if format not in READ:
                raise ModelError(
                    f"{path} has weights in the format {format} (for example {layer}), which only "
                    "ComfyUI reads: give the bf16 or the fp8_scaled file of the same model"
                )

    def _formats(self) -> dict[str, str]:
        """Layer -> its format, where the file says one."""
        metadata = (self._file.metadata() or {}).get("_quantization_metadata")
        layers = json.loads(metadata)["layers"] if metadata else {}
        formats = {layer: str(one["format"]) for layer, one in layers.items()}
        for name in self._names:
            layer, dot, last = name.rpartition(".")
            if last == "comfy_quant":
                content = self._file.get_tensor(name).numpy().tobytes()
                formats[layer] = str(json.loads(content)["format"])
        return {layer: one for layer, one in formats.items() if layer.startswith(self._prefix)}
