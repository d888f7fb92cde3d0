"""What a language model computed last, so that the same prompt need not be computed twice.

Two layers of one text, or another text beside the same image, are asked for one after another, by
nodes that know nothing of each other. What a pass computed on its way is kept for a while: a later
pass over the same prompt takes it from there, or goes on where the other one stopped.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .capture import Capture, capture_hidden_states
from .continuation import continued_from, observed_form
from .layers import hidden_state_index

LIMIT = 128 * 2**20
"""Bytes of main memory that one :class:`Recent` takes at most."""


class Recent:
    """The results that were used last, in main memory, together :data:`LIMIT` bytes at most.

    A result is a dict of tensors and of what else is small; its tensors must not be written into.
    """

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self._results: OrderedDict[bytes, dict] = OrderedDict()

    def get(self, key: bytes) -> dict:
        """The result that was kept as ``key``; an empty one if there is none any more."""
        if key in self._results:
            self._results.move_to_end(key)
        return self._results.get(key, {})

    def put(self, key: bytes, result: dict) -> None:
        """Keep ``result``, and drop others, the longest unused first, until there is room."""
        self._results.pop(key, None)
        room = self.limit - byte_size(result)
        if room < 0:
            return
        while self.bytes > room:
            self._results.popitem(last=False)
        self._results[key] = result

    @property
    def bytes(self) -> int:
        return sum(map(byte_size, self._results.values()))


def byte_size(value: Any) -> int:
    """Bytes of the tensors in ``value`` and in the dicts, lists and tuples that it holds."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return 0
    return sum(map(byte_size, value))


def digest(value: Any) -> bytes | None:
    """SHA-256 of ``value``: of dicts, lists, tuples, tensors, strings, numbers and None.

    Equal values have equal digests; a list and a tuple of the same are equal. None if ``value``
    holds anything else, whose content cannot be compared.
    """
    sha = hashlib.sha256()
    try:
        _add(sha, value)
    except TypeError:
        return None
    return sha.digest()


def _add(sha: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        sha.update(f"tensor {value.dtype} {tuple(value.shape)} {value.device}:".encode())
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        sha.update(flat.numpy())
    elif isinstance(value, dict):
        sha.update(f"dict {len(value)}:".encode())
        for name, item in value.items():
            _add(sha, name)
            _add(sha, item)
    elif isinstance(value, list | tuple):
        sha.update(f"list {len(value)}:".encode())
        for item in value:
            _add(sha, item)
    elif value is None or isinstance(value, str | int | float):
        text = f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass")
        sha.update(b"%d " % len(text) + text)
    else:
        raise TypeError(f"no digest of {type(value).__name__}")


class _Placed(NamedTuple):
    """A copy of a tensor in main memory, and where the tensor was."""

    tensor: Tensor
    device: torch.device


def put_away(value: Any) -> Any:
    """A copy in main memory of all tensors in ``value``, a tensor or dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return _Placed(value.to("cpu", copy=True), value.device)
    return _each(put_away, value)


def take_out(value: Any) -> Any:
    """A copy of what was :func:`put_away`, each tensor on the device that it was on."""
    if isinstance(value, _Placed):
        return value.tensor.to(value.device, copy=True)
    return _each(take_out, value)


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {name: change(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(change, value))
    return value


@contextmanager
def capture_once(
    decoder: nn.Module, layers: Sequence[int], recent: Recent, key: bytes
) -> Iterator[Capture]:
    """:func:`.capture.capture_hidden_states` for one pass, less the blocks that ran before.

    What the pass computes is kept in ``recent``, the highest states of it where they do not all
    have room. The states are bit-equal to those of a whole pass.

    Args:
        decoder: from :func:`.capture.find_decoder`.
        layers: Hugging Face layer numbers.
        key: of the decoder's weights and all that the pass is given.

    Raises:
        As :func:`.capture.capture_hidden_states`. Nothing is kept of a pass that failed.
    """
    blocks = len(decoder.layers)
    wanted = {hidden_state_index(layer, blocks) for layer in layers}
    before = recent.get(key)
    known: dict[int, Tensor] = before.get("states", {})
    missing = wanted - known.keys()
    start = max((i for i in known if 0 < i < min(missing, default=blocks)), default=0)
    states = {index: known[index] for index in wanted & known.keys()}

    def receive(index: int, hidden: Tensor) -> None:
        if index not in known:
            states[index] = hidden.to("cpu", copy=True)
            drop_lowest(wanted)

    def drop_lowest(but: Set[int]) -> None:
        for index in sorted(states.keys() - but):
            if byte_size(states) <= recent.limit:
                break
            del states[index]

    # With nothing missing the pass still has one block to loop over, which is passed over too.
    to_run = range(start + 1 if start else 0, max(missing) + 1) if missing else [0]
    with capture_hidden_states(decoder, list(to_run), receive) as capture:
        if start:
            with continued_from(decoder, start, known[start], before["form"]):
                yield capture
            form = before["form"]
        else:
            with observed_form(decoder) as forms:
                yield capture
            form = forms[0]
    capture.passes = [{index: states[index] for index in wanted}]
    states |= known
    drop_lowest(set())
    recent.put(key, {"states": states, "form": form})
