"""What ComfyUI's own loader makes of text-encoder files: run in a process of its own.

Arguments: ComfyUI's folder, a base directory, where to write, JSON of what to do. That is a list of
{"file", "type", "options", "vision", "ids"}; written is a safetensors with, for file number n,
``n.k`` = Hugging Face's hidden state k (1, tokens, width) for 0 < k < blocks, and a JSON beside it
with the token ids that the stock tokenizer makes of each text.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
comfy.cli_args.args.base_directory = sys.argv[2]
import comfy.sd  # noqa: E402
import torch  # noqa: E402
from comfy.text_encoders import qwen3vl  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

states, tokens = {}, []
for number, wanted in enumerate(json.loads(sys.argv[4])):
    if wanted["vision"]:
        qwen3vl.QWEN3VL_VISION["qwen3vl_4b"] = wanted["vision"]
    clip = comfy.sd.load_clip(
        [wanted["file"]],
        clip_type=getattr(comfy.sd.CLIPType, wanted["type"]),
        model_options={f"{wanted['name']}_model_config": wanted["options"]},
    )
    tokens.append(
        [[one[0] for one in clip.tokenize(text)[wanted["name"]][0]] for text in wanted["texts"]]
    )
    blocks = list(range(wanted["options"]["num_hidden_layers"]))
    with torch.inference_mode():
        clip = clip.clone()
        clip.clip_layer(blocks)
        found = clip.encode_from_tokens({wanted["name"]: [[(id, 1.0) for id in wanted["ids"]]]})
    for k, hidden in zip(blocks, found.unbind(1), strict=True):
        states[f"{number}.{k}"] = hidden.float().contiguous().clone()
save_file(states, sys.argv[3])
with open(f"{sys.argv[3]}.json", "w", encoding="utf-8") as file:
    json.dump(tokens, file)
