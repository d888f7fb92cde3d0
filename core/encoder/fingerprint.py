"""A short hash that identifies a model, so that a reference of another one is noticed."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def fingerprint(decoder: nn.Module) -> str:
    """16 hex digits from the norms of a decoder (:func:`.capture.find_decoder`) and its size.

    Every file format keeps norm weights in 16 bits or more, so a model has the same fingerprint in
    bfloat16, fp8 and GGUF, and with a LoRA on its matrices. A fine-tune that trained the norms has
    another.
    """
    blocks = len(decoder.layers)
    chosen = [decoder.norm, *(decoder.layers[i] for i in sorted({0, blocks // 2, blocks - 1}))]
    digest = hashlib.sha256(f"{blocks} blocks".encode())
    for module in chosen:
        for name, weight in sorted(module.named_parameters()):
            if weight.ndim == 1 and (module is decoder.norm or "norm" in name):
                values = weight.detach().to("cpu", torch.bfloat16).contiguous()
                digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
