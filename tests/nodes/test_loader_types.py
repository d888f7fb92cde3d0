"""The same encoder behind every type of CLIPLoader and DualCLIPLoader: the same, or refused.

lumina2, which Z-Image's own workflows use, is the truth.
"""

import io

import pytest
import torch

from .stock import output, record, run, states
from .tiny_encoders import encoder_state, filled, tekken

PROMPT = 'a red fox (in snow:1.2), a sign that says "open"'
WEIGHTED = "a (red:1.4) fox in [snow]"
PAIRS = [("klein 4b", "z_image"), ("krea2", "qwen3vl")]


@pytest.mark.parametrize(("kind", "truth"), PAIRS)
def test_every_node_gives_what_it_gives_behind_lumina2(pack, tapped_clips, folders, kind, truth):
    clips = tapped_clips(kind), tapped_clips(truth)
    before = encoder_state(clips[0])

    def both(node, **inputs):
        return [output(getattr(pack, node), clip=clip, **inputs).args for clip in clips]

    for layer in (-6, -1):
        ours, theirs = both("Qwen3Encode", text=PROMPT, layer=layer)
        assert torch.equal(states(ours[0]), states(theirs[0])) and ours[1] == theirs[1]
        assert record(ours[0]).roles == record(theirs[0]).roles
    ours, theirs = both("LayerSweep", text=PROMPT, layers="0, 18, -2")
    assert all(torch.equal(states(a), states(b)) for a, b in zip(ours[0], theirs[0], strict=True))
    [ours], [theirs] = both("LayerMix", text=PROMPT, weights="-2: 0.5, 9: 0.5")
    assert torch.equal(states(ours), states(theirs))
    for method in ("masked", "replaced"):
        ours, theirs = both("WeightedEncode", text=WEIGHTED, layer=-6, method=method)
        assert torch.equal(states(ours[0]), states(theirs[0])) and ours[2] == theirs[2]
    [ours], [theirs] = both("BuildReference", prompts=PROMPT, layer=-2)
    assert torch.equal(ours.std, theirs.std) and torch.equal(ours.mean, theirs.mean)
    ours, theirs = both("LayerProfile", prompts=PROMPT)
    table = [report.split("out of line: ")[1].split("written: ")[0] for _, report in (ours, theirs)]
    assert table[0] == table[1]
    assert encoder_state(clips[0]) == before


def test_pictures_are_read_behind_krea2_as_behind_lumina2(host, pack, vl_clip):
    """The stock loader, its two types, and the file of real width."""
    clip = host.nodes.CLIPLoader().load_clip("qwen3vl_4b_bf16.safetensors", "krea2")[0]
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    for tokens in ("all", "image"):
        given = {"image": image, "text": "a fox", "tokens": tokens}
        ours, theirs = (run(pack.VLEncode, clip=one, **given)[0] for one in (clip, vl_clip))
        assert torch.equal(states(ours), states(theirs))
        assert record(ours).roles == record(theirs).roles


def test_a_qwen3_vl_file_of_type_flux2_is_refused(host, pack):
    """ComfyUI loads none of its language weights so, and warns of it in its log alone."""
    clip = host.nodes.CLIPLoader().load_clip("qwen3vl_4b_bf16.safetensors", "flux2")[0]
    says = r"qwen3vl_4b_bf16.safetensors, type flux2.*Choose type lumina2.*krea2"
    for node, given in ((pack.Qwen3Encode, {}), (pack.TapEncode, {})):
        with pytest.raises(ValueError, match=says):
            run(node, clip=clip, text=PROMPT, **given)


LAYERS = 4
SMALL = {"num_hidden_layers": LAYERS, "intermediate_size": 32}
NORM = "model.layers.0.post_attention_layernorm.weight"
QWEN3 = "model.layers.0.self_attn.q_norm.weight"
VISION = "model.visual.deepstack_merger_list.0.norm.weight"
MERGER = "model.visual.merger.linear_fc2.weight"
BIAS = "model.layers.0.self_attn.k_proj.bias"
GEMMA = "model.layers.0.post_feedforward_layernorm.weight"
GEMMA_3 = "model.layers.0.self_attn.q_norm.weight"
GEMMA_3_V = "model.layers.5.self_attn.v_proj.weight"
GEMMA_3_12B = "model.layers.47.self_attn.q_norm.weight"
FILES = {
    "qwen3_4b": {NORM: (2560,), QWEN3: (128,)},
    "qwen3_8b": {NORM: (4096,), QWEN3: (128,)},
    "qwen3_2b": {NORM: (2048,), QWEN3: (128,)},
    "qwen3_06b": {NORM: (1024,), QWEN3: (128,)},
    "qwen3vl_4b": {VISION: (4096,), MERGER: (2560, 4096)},
    "qwen3vl_8b": {VISION: (4608,), MERGER: (4096, 4608)},
    "qwen3vl_32b": {
        VISION.removeprefix("model."): (4608,),
        "model.layers.49.self_attn.q_proj.weight": (1,),
    },
    "qwen25_3b": {BIAS: (256,)},
    "qwen25_7b": {BIAS: (512,)},
    "gemma2_2b": {GEMMA: (2304,), "spiece_model": None},
    "gemma3_4b": {GEMMA: (2560,), GEMMA_3: (256,), "spiece_model": None},
    "gemma3_12b": {
        GEMMA: (3840,),
        GEMMA_3: (256,),
        GEMMA_3_12B: (256,),
        GEMMA_3_V: (2048, 3840),
        "spiece_model": None,
    },
    "gemma3_4b_vision": {
        GEMMA: (2560,),
        GEMMA_3: (256,),
        "vision_model.embeddings.patch_embedding.weight": (1152, 3, 14, 14),
        "spiece_model": None,
    },
    "gemma4_e2b": {
        GEMMA: (1536,),
        "model.layers.34.self_attn.q_norm.weight": (256,),
        "tokenizer_json": None,
    },
    "gemma4_12b": {GEMMA: (3840,), GEMMA_3_12B: (256,), "tokenizer_json": None},
    "ltxav": {"text_embedding_projection.aggregate_embed.weight": (32, 49 * 3840)},
    "jina_clip_2": {"model.encoder.layers.0.mixer.Wqkv.weight": (3072, 1024), "spiece_model": None},
    "mistral3_24b": {NORM: (5120,), "tekken_model": None},
    "ministral3_3b": {NORM: (3072,), "tekken_model": None},
    "gpt_oss": {
        "layers.0.self_attn.sinks": (64,),
        "layers.0.mlp.experts.gate_up_proj.weight": (1,),
        "tokenizer_json": None,
    },
    "clip_l": {"text_model.encoder.layers.1.mlp.fc1.weight": (3072, 768)},
    "byt5": {"encoder.block.0.layer.0.SelfAttention.k.weight": (384, 1)},
}
"""The tensors by which the host tells each file, without its weights."""
WORKS = "the same"
ONE = "not one decoder language model. Connect a CLIPLoader .type lumina2"
WORDLESS = "its tokenizer does not know <.im_start.>.*Connect a CLIPLoader .type lumina2"
NORMLESS = "end in a final `norm`.*Connect a CLIPLoader .type lumina2"
TABLE = [
    ("qwen3_4b", "LUMINA2 FLUX2 WAN KREA2 IDEOGRAM4 QWEN_IMAGE STABLE_DIFFUSION", WORKS),
    ("qwen3_8b", "LUMINA2 FLUX2 KREA2", WORKS),
    ("qwen3_8b", "IDEOGRAM4", NORMLESS),
    ("qwen3_2b", "LUMINA2 OVIS", WORKS),
    ("qwen3_06b", "LUMINA2", WORDLESS),
    ("qwen25_3b", "LUMINA2 OMNIGEN2", WORKS),
    ("qwen25_7b", "LUMINA2 QWEN_IMAGE HUNYUAN_IMAGE LONGCAT_IMAGE", WORKS),
    ("qwen3vl_4b", "LUMINA2 QWEN_IMAGE KREA2 MAGE", WORKS),
    ("qwen3vl_8b", "LUMINA2 BOOGU JOYIMAGE IDEOGRAM4", WORKS),
    ("qwen3vl_32b", "LUMINA2", NORMLESS),
    ("qwen25_7b clip_l", "KANDINSKY5", WORKS),
    ("qwen25_7b byt5", "HUNYUAN_IMAGE", WORKS),
    ("qwen3_06b qwen3_4b", "ACE", ONE),
    ("gemma2_2b", "LUMINA2 PIXELDIT", WORDLESS),
    ("gemma3_4b", "LUMINA2", WORDLESS),
    ("gemma3_12b", "LUMINA2", ONE),
    ("gemma3_4b_vision", "LUMINA2", WORDLESS),
    ("gemma4_e2b", "LUMINA2", WORDLESS),
    ("gemma4_12b", "LUMINA2", WORDLESS),
    ("gemma3_12b ltxav", "LTXV", ONE),
    ("gemma3_4b jina_clip_2", "NEWBIE", ONE),
    ("mistral3_24b", "FLUX2", NORMLESS),
    ("ministral3_3b", "FLUX2", WORDLESS),
    ("gpt_oss", "LENS", WORDLESS),
]
"""Files, types of the loader, and what becomes of one layer behind each of them."""


def spiece() -> bytes:
    """A tokenizer in SentencePiece's format, learnt from the prompt alone."""
    import sentencepiece  # One of ComfyUI's requirements.

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([PROMPT] * 20),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return model.getvalue()


def tokenizer_json() -> bytes:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.BPE(byte_fallback=True)).to_str().encode()


def as_tensor(data) -> torch.Tensor:
    data = data.encode() if isinstance(data, str) else data
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def built(files, kind):
    """The host's CLIP of these files, as its loaders choose it, four blocks deep."""
    import comfy.sd

    shapes = [FILES[name] for name in files.split()]
    words = {"spiece_model": spiece, "tekken_model": tekken, "tokenizer_json": tokenizer_json}
    hollow = [
        {n: torch.zeros(1).expand(s) if s else as_tensor(words[n]()) for n, s in one.items()}
        for one in shapes
    ]
    names = FILES.keys() - {"clip_l", "byt5"} | {"gemma4"}
    clip = comfy.sd.load_text_encoder_state_dicts(
        hollow,
        clip_type=getattr(comfy.sd.CLIPType, kind),
        model_options={
            "dtype": torch.bfloat16,
            **{f"{name}_model_config": SMALL for name in names},
        },
    )
    for module in clip.cond_stage_model.modules():
        if isinstance(module, torch.nn.Embedding):
            # Rows of one short vector, each from another place: no memory of a vocabulary's size.
            rows, width = module.weight.shape
            line = torch.randn(rows + width, generator=torch.Generator().manual_seed(rows))
            module.weight = torch.nn.Parameter(
                line.to(module.weight.dtype).as_strided((rows, width), (1, 1)), requires_grad=False
            )
    return clip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "kinds", "comes"), TABLE, ids=[f"{files} {kinds}" for files, kinds, _ in TABLE]
)
def test_a_layer_behind_each_type_that_loads_a_language_model(host, pack, files, kinds, comes):
    first = None
    for kind in kinds.split():
        clip = built(files, kind)
        if comes != WORKS:
            with pytest.raises(ValueError, match=comes):
                run(pack.Qwen3Encode, clip=clip, text=PROMPT, layer=-2)
            with pytest.raises(ValueError, match=comes):
                run(pack.WeightedEncode, clip=clip, text=WEIGHTED, layer=-2)
            continue
        before = encoder_state(filled(clip))
        hidden = [
            states(run(node, clip=clip, text=text, layer=-2)[0])
            for node, text in ((pack.Qwen3Encode, PROMPT), (pack.WeightedEncode, WEIGHTED))
        ]
        assert all(one.isfinite().all() and float(one.std()) > 0 for one in hidden)
        first = hidden if first is None else first
        assert all(map(torch.equal, hidden, first)), kind
        assert encoder_state(clip) == before
