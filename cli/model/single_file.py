"""ComfyUI's single file of a text encoder: weights alone, without configuration and tokenizer.

Read for Qwen3 and Qwen3-VL. Sizes come from the shapes of the weights; what shapes do not say is
what ComfyUI sets for the family (comfy/text_encoders/llama.py), so that the states are its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ...core.encoder.prompt import build_prompt
from ..comfy.folder import find_comfyui
from .errors import ModelError
from .gguf_header import MOST_BLOCKS
from .local_only import LOCAL_ONLY
from .scaled_weights import SCALES, ScaledWeights
from .tokenizer_files import read_tokenizer

FIRST_BLOCK = "layers.0."
COMFY_TOKENIZER = Path("comfy", "text_encoders", "qwen25_tokenizer")
"""Where ComfyUI keeps the tokenizer of the family; its chat template is that of Qwen2.5."""

ROPE = {"rope_type": "default"}
TEXT = {"max_position_embeddings": 40960, "rope_parameters": {**ROPE, "rope_theta": 1e6}}
VISION = {
    "max_position_embeddings": 262144,
    "rope_parameters": {
        **ROPE,
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
"""What ComfyUI sets for Qwen3 (TEXT) and Qwen3-VL (VISION), and no weight's shape says."""

_BLOCK = re.compile(r"layers\.(\d{1,6})\.(.+)")
_IN_A_BLOCK = {
    *(f"self_attn.{name}.weight" for name in ("q_proj", "k_proj", "v_proj", "o_proj")),
    *(f"self_attn.{name}.weight" for name in ("q_norm", "k_norm")),
    *(f"mlp.{name}.weight" for name in ("gate_proj", "up_proj", "down_proj")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
}
_SHARD = re.compile(r"model(-\d+-of-\d+)?\.safetensors", re.IGNORECASE)

DECODER = "give its transformers folder (config.json, safetensors, tokenizer) or a GGUF of it"
NO_DECODER = "give a text encoder that is a decoder language model, such as qwen_3_4b.safetensors"
KINDS = [
    ("lora_", "a LoRA", NO_DECODER),
    ("text_model.encoder.layers.", "a CLIP text encoder", NO_DECODER),
    ("transformer.resblocks.", "a CLIP text encoder", NO_DECODER),
    (".SelfAttention.k.weight", "a T5 text encoder", NO_DECODER),
    ("layers.0.linear_attn.", "a Qwen3.5 text encoder", DECODER),
    ("layers.0.post_feedforward_layernorm.", "a Gemma text encoder", DECODER),
    ("layers.0.self_attn.sinks", "a gpt-oss text encoder", DECODER),
    ("layers.0.self_attn.k_proj.bias", "a Qwen2.5 text encoder", DECODER),
    ("layers.0.mlp.experts.", "a mixture of experts", DECODER),
    ("layers.0.self_attn.q_proj.", "a language model, but neither Qwen3 nor Qwen3-VL", DECODER),
    ("cap_embedder.", "a diffusion model (Lumina or Z-Image)", NO_DECODER),
    ("double_blocks.", "a diffusion model", NO_DECODER),
    ("transformer_blocks.", "a diffusion model", NO_DECODER),
    ("joint_blocks.", "a diffusion model", NO_DECODER),
    ("input_blocks.", "a diffusion model", NO_DECODER),
    ("blocks.0.cross_attn.", "a diffusion model", NO_DECODER),
    ("decoder.conv_in.", "a VAE", NO_DECODER),
    ("decoder.up.", "a VAE", NO_DECODER),
]
"""A part of a weight's name -> what has such weights, what to give. The first that fits counts."""


@dataclass(frozen=True)
class SingleFile:
    """``path``: the .safetensors file."""

    path: Path
    advice = "The file is damaged: download it again"

    def files(self) -> list[Path]:
        """What the model is read from."""
        return [self.path]

    def config(self) -> Any:
        """transformers' configuration, from the shapes of the weights.

        Raises:
            ModelError: saying what the file is, if it is of no family that is read here.
        """
        import transformers

        encoder = self._encoder
        kind = transformers.Qwen3VLTextConfig if encoder.vision else transformers.Qwen3Config
        return kind(
            **encoder.sizes,
            **(VISION if encoder.vision else TEXT),
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            dtype=encoder.dtype,
        )

    def tokenizer(self) -> Any:
        """The tokenizer of a ComfyUI on this machine. Raises ModelError if none is found."""
        try:
            comfyui = find_comfyui()
        except FileNotFoundError as error:
            raise ModelError(f"{self.path} holds weights alone, and {error}") from error
        folder = comfyui / COMFY_TOKENIZER if comfyui is not None else None
        if folder is None or not folder.is_dir():
            raise ModelError(
                f"{self.path} holds weights alone, and no ComfyUI was found to take the tokenizer "
                "from: name a folder with Qwen3's tokenizer.json with --tokenizer, or set "
                "COMFYUI_PATH to a ComfyUI"
            )
        return read_tokenizer(folder, self.config())

    def load(self, config: Any, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
        """(the decoder alone, without output head and vision tower; what the file lacks)."""
        import transformers

        encoder = self._encoder
        with safe_open(self.path, framework="pt") as file:
            weights = ScaledWeights(file, encoder.prefix)
            state = {name: weights.read(name).to(dtype) for name in encoder.names}
        model = transformers.MODEL_MAPPING[type(config)]
        return model.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **LOCAL_ONLY,
        )

    @cached_property
    def _encoder(self) -> _Encoder:
        shard = _SHARD.fullmatch(self.path.name)
        if shard and (self.path.parent / "config.json").is_file():
            raise ModelError(
                f"{self.path} is a part of a transformers model: give the folder that it is in"
            )
        with safe_open(self.path, framework="pt") as file:
            names = list(file.keys())
            prefix = _qwen3_prefix(names)
            if prefix is None:
                raise ModelError(f"{self.path} {_what_it_is(names)}")
            ScaledWeights(file, prefix).require_known(self.path)
            return _Encoder.read(self.path, file, names, prefix)


def zimage_template() -> str:
    """Z-Image's prompt, as a chat template of one turn of the user."""
    before, after = build_prompt("\0").split("\0")
    # As expressions: Jinja drops a newline at a template's end.
    return f"{{{{ {json.dumps(before)} + messages[0]['content'] + {json.dumps(after)} }}}}"


@dataclass(frozen=True)
class _Encoder:
    """What the names and shapes say.

    ``prefix``: what stands before ``layers.0.``; ``names``: the decoder's weights, without it;
    ``dtype``: of the norms, which no file has in float8.
    """

    prefix: str
    names: tuple[str, ...]
    vision: bool
    sizes: dict[str, int]
    dtype: torch.dtype

    @classmethod
    def read(cls, path: Path, file: Any, names: list[str], prefix: str) -> _Encoder:
        own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        own = [name for name in own if name.startswith(("layers.", "embed_tokens.", "norm."))]
        kept, blocks = [], set()
        for name in own:
            block = _BLOCK.fullmatch(name)
            if block:
                blocks.add(int(block[1]))
            if name in ("embed_tokens.weight", "norm.weight") or (
                block and block[2] in _IN_A_BLOCK
            ):
                kept.append(name)
            elif name.rpartition(".")[2] not in SCALES:
                raise ModelError(
                    f"{path} has weights that Qwen3 does not have, for example {prefix}{name}: it "
                    f"is of another model; {DECODER}"
                )
        if "norm.weight" not in kept:
            raise ModelError(
                f"{path} ends after {len(blocks)} blocks without a final norm: it is a shortened "
                f"Qwen3, as some image models carry it; {DECODER}"
            )
        if blocks != set(range(len(blocks))) or len(blocks) > MOST_BLOCKS:
            raise ModelError(f"{path} lacks blocks in between: download it again")

        def shape(name: str) -> list[int]:
            return list(file.get_slice(prefix + name).get_shape())

        attention = f"{FIRST_BLOCK}self_attn."
        words, width = shape("embed_tokens.weight")
        [head] = shape(f"{attention}q_norm.weight")
        sizes = {
            "vocab_size": words,
            "hidden_size": width,
            "head_dim": head,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": shape(f"{attention}q_proj.weight")[0] // head,
            "num_key_value_heads": shape(f"{attention}k_proj.weight")[0] // head,
            "intermediate_size": shape(f"{FIRST_BLOCK}mlp.gate_proj.weight")[0],
        }
        vision = prefix.endswith("language_model.") or any(
            "visual.deepstack_merger_list." in name for name in names
        )
        dtype = file.get_tensor(f"{prefix}norm.weight").dtype
        return cls(prefix, tuple(kept), vision, sizes, dtype)


def _qwen3_prefix(names: list[str]) -> str | None:
    """What stands before the decoder's names, if they are Qwen3's or Qwen3-VL's."""
    there = set(names)
    needed = ["embed_tokens.weight", *(f"{FIRST_BLOCK}{one}" for one in sorted(_IN_A_BLOCK))]
    for name in sorted(there):
        prefix, found, _ = name.partition(f"{FIRST_BLOCK}self_attn.q_norm.weight")
        # Gemma has all of these, and norms after its halves besides.
        gemma = f"{prefix}{FIRST_BLOCK}post_feedforward_layernorm.weight" in there
        if found and not gemma and all(f"{prefix}{one}" in there for one in needed):
            return prefix
    return None


def _what_it_is(names: list[str]) -> str:
    for part, kind, advice in KINDS:
        if any(part in name for name in names):
            return f"is {kind}: of single files Qwen3 and Qwen3-VL are read; {advice}"
    example = f", for example {min(names)}" if names else ""
    return f"is no text encoder (it holds {len(names)} tensors{example}); {NO_DECODER}"
