"""Test-only node pack: makes an encoder fail once, and shows what state it is in.

The faults come from inside the encoder's own forward pass, as a real shortage of memory would. It
is loaded into throw-away servers of the tests and never shipped.
"""

import hashlib
import json

import comfy.model_management as management
import torch


def _transformer(clip):
    stage = clip.cond_stage_model
    return getattr(stage, stage.clip).transformer


def _fail(kind):
    if kind == "out of memory":
        raise management.OOM_EXCEPTION("Allocation on device 0 would exceed allowed memory.")
    if kind == "error":
        raise RuntimeError("a kernel failed, says the test")
    management.interrupt_current_processing()


class Fault:
    """Hands the CLIP on, with a hook that makes its ``at``-th pass fail and then is gone."""

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "arm"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        kinds = ["out of memory", "error", "stop"]
        number = ("INT", {"default": 1, "max": 2**31})
        return {
            "required": {"clip": ("CLIP",), "kind": (kinds,), "at": number, "nonce": number},
        }

    def arm(self, clip, kind, at, nonce):
        left = [at]

        def hook(*_):
            left[0] -= 1
            if not left[0]:
                handle.remove()
                _fail(kind)

        # The last part of every pass; blocks that ran for the same text before do not run again.
        handle = _transformer(clip).model.norm.register_forward_pre_hook(hook)
        return (clip,)


class State:
    """Shows the SHA-256 of a conditioning's states, and the encoder's hooks and blocks."""

    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"nonce": ("INT", {"default": 0, "max": 2**31})},
            "optional": {"conditioning": ("CONDITIONING",), "clip": ("CLIP",)},
        }

    def show(self, nonce, conditioning=(), clip=None):
        shown = {}
        if conditioning:
            digest = hashlib.sha256()
            for hidden, _ in conditioning:
                digest.update(hidden.contiguous().view(torch.uint8).numpy().tobytes())
            shown["sha256"] = digest.hexdigest()
        if clip is not None:
            transformer = _transformer(clip)
            shown["blocks"] = len(transformer.model.layers)
            shown["hooks"] = sum(
                len(module._forward_hooks) + len(module._forward_pre_hooks)
                for module in transformer.modules()
            )
        return {"ui": {"text": [json.dumps(shown)]}}


NODE_CLASS_MAPPINGS = {"LayerLabTestFault": Fault, "LayerLabTestState": State}
