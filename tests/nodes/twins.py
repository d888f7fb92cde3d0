"""transformers' own Qwen3 and Qwen3-VL with the weights that the host loaded, in float32.

Settings are those of Qwen/Qwen3-4B and Qwen/Qwen3-VL-4B-Instruct; depths, feed-forward widths and
how many heads come from `tiny_host/sizes.json`. The embedding matrix is cut down to the tokens of
one prompt, which saves 1.5 GB of memory.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

IMAGE_PAD = 151655
WIDTH = 2560
LANGUAGE = {
    "hidden_size": WIDTH,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "tie_word_embeddings": True,
    "vocab_size": 1,
}
VISION = {
    "hidden_size": 1024,
    "num_heads": 16,
    "out_hidden_size": WIDTH,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
    "hidden_act": "gelu_pytorch_tanh",
}
VL_ROPE = {
    "rope_type": "default",
    "rope_theta": 5_000_000.0,
    "mrope_section": [24, 20, 20],
    "mrope_interleaved": True,
}
PIXELS = {"shortest_edge": 65536, "longest_edge": 16777216}
"""Fewest and most pixels of an image, from Qwen/Qwen3-VL-4B-Instruct's preprocessor_config.json."""


def largest_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the rms of ``theirs``, in float64."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).abs().max() / theirs.pow(2).mean().sqrt())


def preprocess(images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Qwen3-VL's own image processor on (height, width, 3) uint8 images."""
    from transformers import Qwen2VLImageProcessor

    processor = Qwen2VLImageProcessor(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, size=PIXELS
    )
    return processor(images=[image.movedim(-1, 0) for image in images], return_tensors="pt")


class Twin:
    """A transformers model with the weights of one file, but no embedding matrix of its own."""

    @torch.inference_mode(False)
    def __init__(self, kind: type, config: object, path: Path, decoder: str):
        self.path = path
        self.decoder_name = decoder
        self.table = f"model.{decoder}embed_tokens.weight"
        with safe_open(path, framework="pt") as file:
            state = {
                name.removeprefix("model."): file.get_tensor(name).float()
                for name in file.keys()
                if name != self.table
            }
        state[f"{decoder}embed_tokens.weight"] = torch.zeros(1, WIDTH)
        self.model, found = kind.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
        assert not any(found.values()), found
        self.model.eval()

    def run(self, ids: Tensor, **inputs) -> list[Tensor]:
        """The blocks' inputs (after DeepStack), then the normed output: (1, tokens, width)."""
        known, compact = ids.unique(return_inverse=True)
        with safe_open(self.path, framework="pt") as file:
            rows = file.get_slice(self.table)
            matrix = torch.cat([rows[int(i) : int(i) + 1].float() for i in known])
        decoder = self.model.get_submodule(self.decoder_name.rstrip("."))
        decoder.embed_tokens = nn.Embedding.from_pretrained(matrix)
        if IMAGE_PAD in known:
            self.model.config.image_token_id = known.tolist().index(IMAGE_PAD)
        states: list[Tensor] = []
        handles = [
            block.register_forward_pre_hook(lambda _, args: states.append(args[0].clone()))
            for block in decoder.layers
        ]
        try:
            output = self.model(input_ids=compact[None], use_cache=False, **inputs)
        finally:
            for handle in handles:
                handle.remove()
        return [*states, output.last_hidden_state]


class Qwen3Twin(Twin):
    """Qwen3-4B."""

    def __init__(self, path: Path, sizes: dict):
        from transformers import Qwen3Config, Qwen3Model

        config = Qwen3Config(
            **LANGUAGE,
            **sizes["language"],
            max_position_embeddings=40960,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        )
        super().__init__(Qwen3Model, config, path, "")

    def states(self, ids: list[int]) -> list[Tensor]:
        """Hugging Face's hidden_states of one sequence."""
        return self.run(torch.tensor(ids))


class Qwen3VLTwin(Twin):
    """Qwen3-VL-4B."""

    def __init__(self, path: Path, sizes: dict):
        from transformers import Qwen3VLConfig, Qwen3VLModel

        text = {**LANGUAGE, **sizes["language"], "rope_parameters": VL_ROPE}
        config = Qwen3VLConfig(text_config=text, vision_config={**VISION, **sizes["vision"]})
        super().__init__(Qwen3VLModel, config, path, "language_model.")

    def text_states(self, ids: list[int]) -> list[Tensor]:
        """The hidden states of a prompt without images."""
        return self.run(torch.tensor(ids))

    def states(self, ids: list[int], images: Iterable[Tensor]) -> list[Tensor]:
        """``images`` (height, width, 3) uint8 each; ``ids`` has one <|image_pad|> a token."""
        pixels = preprocess(images)
        row = torch.tensor(ids)
        return self.run(
            row,
            pixel_values=pixels["pixel_values"],
            image_grid_thw=pixels["image_grid_thw"],
            mm_token_type_ids=(row == IMAGE_PAD).int()[None],
        )
