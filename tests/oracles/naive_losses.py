"""Next-token losses by transformers' own pass, prompt by prompt, without padding, in float64."""

import numpy as np
import torch


def losses(model, prompts, predicted, index=None, dimension=None, values=None):
    """The mean loss of each prompt over the positions ``predicted`` (a slice for each).

    With ``index``: while its hidden state ``index`` has ``values`` (tokens,) in ``dimension``.
    """
    found = []
    for number, (ids, part) in enumerate(zip(prompts, predicted, strict=True)):
        handle = None
        if index is not None:
            handle = _hook(model, index, dimension, torch.as_tensor(values[number]))
        try:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        finally:
            if handle is not None:
                handle.remove()
        rows = logits.double().numpy()[part.start - 1 : part.stop - 1]
        shifted = rows - rows.max(-1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
        targets = list(ids)[part]
        found.append(-log_probabilities[np.arange(len(targets)), targets].mean())
    return np.array(found)


def _hook(model, index, dimension, values):
    decoder = model.model
    if index == len(decoder.layers):

        def change_output(module, args, output):
            changed = output.clone()
            changed[0, :, dimension] = values.to(output)
            return changed

        return decoder.norm.register_forward_hook(change_output)

    def change_input(module, args, kwargs):
        changed = args[0].clone()
        changed[0, :, dimension] = values.to(changed)
        return (changed, *args[1:]), kwargs

    return decoder.layers[index].register_forward_pre_hook(change_input, with_kwargs=True)
