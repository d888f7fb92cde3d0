"""A tiny Qwen3-VL with a tokenizer, and what transformers alone makes of images with it."""

import numpy as np
import torch

MARKS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
WORDS = ("<pad>", "<unk>", *MARKS, "user", "assistant", *(f"w{i}" for i in range(55)))
IMAGE = WORDS.index("<|image_pad|>")
WIDTH, BLOCKS, CONTEXT = 32, 6, 512
DEEPSTACK = (0, 1, 3)


def config():
    """Qwen3-VL's layout, small; its patches and merges are the real ones."""
    from transformers import Qwen3VLConfig

    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [2, 1, 1]}
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(WORDS),
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": BLOCKS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {**rope, "mrope_interleaved": True},
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": WIDTH,
            "patch_size": 16,
            "temporal_patch_size": 2,
            "spatial_merge_size": 2,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": list(DEEPSTACK),
        },
        image_token_id=IMAGE,
        vision_start_token_id=WORDS.index("<|vision_start|>"),
        vision_end_token_id=WORDS.index("<|vision_end|>"),
    )


def tokenizer(words=WORDS):
    """One token a word; the marks of Qwen's template are special tokens."""
    import transformers
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = [word for word in words if word.startswith("<|")]
    # In a Qwen folder transformers puts in a pre-tokenizer of its own; added tokens survive it.
    inner.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    inner.add_tokens([AddedToken(word) for word in words if word not in marks])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>"
    )


def write(folder):
    """A folder such as people download, with random weights and one loud token."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(5)
    model = transformers.Qwen3VLForConditionalGeneration(config())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
        model.get_input_embeddings().weight[WORDS.index("<|im_start|>"), 7] = 90.0
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def prompt_ids(tokens, words=()):
    """Z-Image's template around ``tokens`` image tokens, ``words`` after them."""
    start, end, vision_start, vision_end, image, user, assistant = map(
        WORDS.index, (*MARKS, "user", "assistant")
    )
    return [
        *(start, user, vision_start, *[image] * tokens, vision_end),
        *map(WORDS.index, words),
        *(end, start, assistant),
    ]


def preprocess(image, budget):
    """Qwen3-VL's own image processor on a (height, width, 3) uint8 array."""
    from transformers import Qwen2VLImageProcessor

    size = {"shortest_edge": 65536, "longest_edge": budget * 1024}
    half = [0.5] * 3
    processor = Qwen2VLImageProcessor(patch_size=16, image_mean=half, image_std=half, size=size)
    return processor(images=[torch.from_numpy(image).movedim(-1, 0)], return_tensors="pt")


def naive_states(folder, images, budget, texts=None):
    """Every hidden state of every prompt in float64, all kept, from transformers alone.

    transformers records the hidden states behind a block with DeepStack *before* the features are
    added, so those are read as the input of the next block; all others are its own
    ``output_hidden_states``.

    Returns:
        Per hidden state, a (tokens, width) array per image; and the ids of each prompt.
    """
    from transformers import Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
    states, prompts = [], []
    for number, image in enumerate(images):
        pixels = preprocess(image, budget)
        tokens = int(pixels["image_grid_thw"].prod()) // 4
        ids = prompt_ids(tokens, texts[number].split() if texts else ())
        inputs = []
        handles = [
            block.register_forward_pre_hook(lambda _, given, seen=inputs: seen.append(given[0]))
            for block in model.model.language_model.layers
        ]
        row = torch.tensor([ids])
        with torch.no_grad():
            output = model(
                input_ids=row,
                mm_token_type_ids=(row == IMAGE).int(),
                output_hidden_states=True,
                **pixels,
            )
        for handle in handles:
            handle.remove()
        recorded = list(output.hidden_states)
        for index, state in enumerate(inputs):
            after_deepstack = 0 < index <= len(DEEPSTACK)
            assert torch.equal(state, recorded[index]) is not after_deepstack
            recorded[index] = state
        states.append([state[0].numpy() for state in recorded])
        prompts.append(np.array(ids))
    return [list(of_layer) for of_layer in zip(*states, strict=True)], prompts
