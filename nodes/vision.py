"""VL Image Token Encode."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..core.prompt import IMAGE_PAD, build_prompt
from ..core.tokens import Role, role_mask
from ..core.vision import HOST_SMALLEST_TOKENS, fit_images
from .capture import check_layer, layer_input, prompt_inputs
from .conditioning import write_entry
from .encoder import encode
from .types import CATEGORY

SELECTIONS: dict[str, tuple[Role, ...]] = {
    "all": tuple(Role),
    "image": (Role.IMAGE,),
    "image + markers": (Role.IMAGE, Role.VISION_MARKER),
    "text": (Role.TEXT,),
}


class VLEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        system_prompt, think_block = prompt_inputs()
        return io.Schema(
            node_id="LayerLabVLEncode",
            display_name="VL Image Token Encode",
            category=CATEGORY,
            description="Reads images with Qwen3-VL and hands over the hidden states of their "
            "tokens, to be blended with text states or given to Z-Image directly.",
            search_aliases=["qwen3-vl", "image prompt", "vision tokens", "image reference"],
            inputs=[
                io.Clip.Input(
                    "clip", tooltip="Qwen3-VL-4B with its vision tower: CLIPLoader, type lumina2."
                ),
                io.Image.Input(
                    "image", tooltip="One image or a batch; a batch is read as one prompt."
                ),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="Optional text after the images, in the same turn.",
                ),
                layer_input(-6),
                io.Combo.Input(
                    "tokens",
                    options=list(SELECTIONS),
                    default="all",
                    tooltip="Which tokens to hand over. What the image says sits in its image "
                    "tokens; text alone throws it away.",
                ),
                io.Int.Input(
                    "max_image_tokens",
                    default=1024,
                    min=HOST_SMALLEST_TOKENS,
                    max=16384,
                    tooltip="Budget of each image: one token per 32x32 pixels, so 1024 is "
                    "1024x1024. A larger image is scaled down, and the node says so.",
                ),
                think_block,
                system_prompt,
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning",
                    display_name="conditioning",
                    tooltip="Ordinary CONDITIONING; the role of each token travels inside it.",
                ),
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    tooltip="Exactly what was encoded; <|image_pad|> stands for an image's tokens.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, layer=None) -> bool | str:
        return check_layer(layer)

    @classmethod
    def execute(
        cls, clip, image, text, layer, tokens, max_image_tokens, think_block, system_prompt
    ) -> io.NodeOutput:
        if max_image_tokens < HOST_SMALLEST_TOKENS:
            raise ValueError(
                f"max_image_tokens is {max_image_tokens}: ComfyUI gives an image at least "
                f"{HOST_SMALLEST_TOKENS} tokens"
            )
        if IMAGE_PAD in text or IMAGE_PAD in system_prompt:
            raise ValueError(
                f"the text holds {IMAGE_PAD}, which stands for an image and would take its place: "
                "remove it"
            )
        fitted = fit_images(image, max_image_tokens)
        prompt = build_prompt(text, system_prompt, think_block, images=len(fitted))
        [encoding] = encode(clip, prompt, [layer], [fit.pixels for fit in fitted])
        record = encoding.record
        for fit in fitted:
            record = record.with_edit(fit.note)
        kept = role_mask(record.roles, SELECTIONS[tokens]).nonzero().flatten().tolist()
        if not kept:
            raise ValueError(
                f"tokens '{tokens}' selects nothing: the prompt has no such token. Type a text, or "
                "choose 'all' or 'image'"
            )
        record = record.take(kept)
        conditioning = [
            write_entry(entry, entry[0][:, kept], record, kept) for entry in encoding.conditioning
        ]
        lines = [f"{len(kept)} tokens at layer {record.layer}", *(fit.note for fit in fitted)]
        shown = "\n".join([*lines, encoding.prompt])
        return io.NodeOutput(conditioning, encoding.prompt, ui=ui.PreviewText(shown))
