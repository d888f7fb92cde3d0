"""Names and shapes of the tensors in the tiny test weights, as the official files have them.

The widths of hidden states and of heads, and the vocabulary, are those of the real models; depths,
feed-forward widths and how many heads Qwen3 has come from ``tiny_host/sizes.json``, here called
``sizes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = dict[str, tuple[int, ...]]


def language_shapes(sizes: Mapping[str, Any], prefix: str) -> Shapes:
    """Qwen3-4B: heads of width 128, hidden 2560, tied embeddings."""
    language = sizes["language"]
    hidden, ffn = 2560, language["intermediate_size"]
    queries, keys = (128 * language[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    shapes: Shapes = {f"{prefix}embed_tokens.weight": (151936, hidden)}
    for i in range(language["num_hidden_layers"]):
        block = f"{prefix}layers.{i}."
        shapes |= {
            f"{block}self_attn.q_proj.weight": (queries, hidden),
            f"{block}self_attn.k_proj.weight": (keys, hidden),
            f"{block}self_attn.v_proj.weight": (keys, hidden),
            f"{block}self_attn.o_proj.weight": (hidden, queries),
            f"{block}self_attn.q_norm.weight": (128,),
            f"{block}self_attn.k_norm.weight": (128,),
            f"{block}mlp.gate_proj.weight": (ffn, hidden),
            f"{block}mlp.up_proj.weight": (ffn, hidden),
            f"{block}mlp.down_proj.weight": (hidden, ffn),
            f"{block}input_layernorm.weight": (hidden,),
            f"{block}post_attention_layernorm.weight": (hidden,),
        }
    shapes[f"{prefix}norm.weight"] = (hidden,)
    return shapes


def vision_shapes(sizes: Mapping[str, Any]) -> Shapes:
    """Qwen3-VL-4B's vision tower: width 1024, 2x2 merge, one DeepStack merger per index."""
    prefix, width, out = "model.visual.", 1024, 2560
    ffn, merged = sizes["vision"]["intermediate_size"], 4 * width
    shapes: Shapes = {
        f"{prefix}pos_embed.weight": (2304, width),
        **_linear(f"{prefix}patch_embed.proj", width, 3, 2, 16, 16),
    }
    for i in range(sizes["vision"]["depth"]):
        block = f"{prefix}blocks.{i}."
        shapes |= {
            **_norm(f"{block}norm1", width),
            **_norm(f"{block}norm2", width),
            **_linear(f"{block}attn.qkv", 3 * width, width),
            **_linear(f"{block}attn.proj", width, width),
            **_linear(f"{block}mlp.linear_fc1", ffn, width),
            **_linear(f"{block}mlp.linear_fc2", width, ffn),
        }
    mergers = [("merger", width)]
    for i in range(len(sizes["vision"]["deepstack_visual_indexes"])):
        mergers.append((f"deepstack_merger_list.{i}", merged))
    for name, norm_width in mergers:
        shapes |= {
            **_norm(f"{prefix}{name}.norm", norm_width),
            **_linear(f"{prefix}{name}.linear_fc1", merged, merged),
            **_linear(f"{prefix}{name}.linear_fc2", out, merged),
        }
    return shapes


def dit_shapes(sizes: Mapping[str, Any]) -> Shapes:
    """Z-Image: width 3840, 30 heads of width 128, captions of width 2560, 2x2 patches of 16."""
    dim, mod, ffn = 3840, 256, sizes["dit"]["feed_forward"]
    shapes: Shapes = {
        "x_pad_token": (1, dim),
        "cap_pad_token": (1, dim),
        "cap_embedder.0.weight": (2560,),
        **_linear("cap_embedder.1", dim, 2560),
        **_linear("x_embedder", dim, 64),
        **_linear("t_embedder.mlp.0", 1024, 256),
        **_linear("t_embedder.mlp.2", mod, 1024),
        **_linear("final_layer.linear", 64, dim),
        **_linear("final_layer.adaLN_modulation.1", dim, mod),
    }
    groups = {
        "noise_refiner": sizes["dit"]["n_refiner_layers"],
        "context_refiner": sizes["dit"]["n_refiner_layers"],
        "layers": sizes["dit"]["n_layers"],
    }
    for block in (f"{group}.{i}." for group, count in groups.items() for i in range(count)):
        shapes |= {
            f"{block}attention.qkv.weight": (3 * dim, dim),
            f"{block}attention.out.weight": (dim, dim),
            f"{block}attention.q_norm.weight": (128,),
            f"{block}attention.k_norm.weight": (128,),
            f"{block}feed_forward.w1.weight": (ffn, dim),
            f"{block}feed_forward.w2.weight": (dim, ffn),
            f"{block}feed_forward.w3.weight": (ffn, dim),
        }
        for norm in ("attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2"):
            shapes[f"{block}{norm}.weight"] = (dim,)
        if not block.startswith("context_refiner"):
            shapes |= _linear(f"{block}adaLN_modulation.0", 4 * dim, mod)
    return shapes


def vae_shapes(sizes: Mapping[str, Any]) -> Shapes:
    """The 16-channel, 8x ``ae``: a narrow decoder, and the encoder at the width ComfyUI fixes."""
    return {**_encoder_shapes(128), **_decoder_shapes(sizes["vae"]["decoder_channels"])}


def _encoder_shapes(ch: int) -> Shapes:
    widths = [ch, 2 * ch, 4 * ch, 4 * ch]
    shapes = _linear("encoder.conv_in", ch, 3, 3, 3)
    before = ch
    for level, width in enumerate(widths):
        for i in range(2):
            shapes |= _resnet(f"encoder.down.{level}.block.{i}", before, width)
            before = width
        if level < 3:
            shapes |= _linear(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    shapes |= _middle("encoder.mid", before) | _norm("encoder.norm_out", before)
    return shapes | _linear("encoder.conv_out", 32, before, 3, 3)


def _decoder_shapes(ch: int) -> Shapes:
    widths = [ch, 2 * ch, 4 * ch, 4 * ch]
    before = widths[-1]
    shapes = _linear("decoder.conv_in", before, 16, 3, 3) | _middle("decoder.mid", before)
    for level in (3, 2, 1, 0):
        for i in range(3):
            shapes |= _resnet(f"decoder.up.{level}.block.{i}", before, widths[level])
            before = widths[level]
        if level > 0:
            shapes |= _linear(f"decoder.up.{level}.upsample.conv", before, before, 3, 3)
    return shapes | _norm("decoder.norm_out", ch) | _linear("decoder.conv_out", 3, ch, 3, 3)


def _resnet(name: str, before: int, width: int) -> Shapes:
    shapes = {
        **_norm(f"{name}.norm1", before),
        **_linear(f"{name}.conv1", width, before, 3, 3),
        **_norm(f"{name}.norm2", width),
        **_linear(f"{name}.conv2", width, width, 3, 3),
    }
    if before != width:
        shapes |= _linear(f"{name}.nin_shortcut", width, before, 1, 1)
    return shapes


def _middle(name: str, width: int) -> Shapes:
    shapes = _resnet(f"{name}.block_1", width, width) | _resnet(f"{name}.block_2", width, width)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= _linear(f"{name}.attn_1.{part}", width, width, 1, 1)
    return shapes | _norm(f"{name}.attn_1.norm", width)


def _linear(name: str, out: int, *inputs: int) -> Shapes:
    return {f"{name}.weight": (out, *inputs), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
