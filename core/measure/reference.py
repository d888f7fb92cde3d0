"""Reference statistics: what a dimension's mean and spread normally are, and where that is from.

Kept as safetensors with their provenance in the file's metadata. The .npz of llm-dit
(fblissjr/llm-dit-experiments; keys per_dim_mean, per_dim_std, global_mean, global_std) is read and
written too, never with pickle; what that layout lacks is kept there under further keys.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checks import UPDATE, LayerLabError
from ..files.atomic import replacing
from ..files.untrusted_arrays import NUMBERS, read_npz, read_vectors
from ..shipped import PUBLISHED_REFERENCE
from .split_stats import SplitStats

FORMAT = "layer_lab_reference_v1"
TENSORS = ("mean", "std", "global", "mean_without_sinks", "std_without_sinks")
NPZ_NAMES = {
    "per_dim_mean": "mean",
    "per_dim_std": "std",
    "mean_without_sinks": "mean_without_sinks",
    "std_without_sinks": "std_without_sinks",
}
UNREADABLE = (SafetensorError, TypeError, ValueError, OSError, RuntimeError)
"""What reading a damaged or foreign file raises (RecursionError is a RuntimeError)."""
ANOTHER = "choose another file, or build and save it again"
UNNAMED = "an unnamed model"


class ReferenceFileError(LayerLabError, ValueError):
    """A file that is no usable reference; the message names it and says why."""


@dataclass(frozen=True)
class Reference:
    """Statistics to measure against.

    Attributes:
        mean, std: (width,) float64 over all tokens, sinks included.
        global_mean, global_std: of all values together.
        mean_without_sinks, std_without_sinks: the same without sink tokens; None if not known.
        provenance: model, layer, prompts, tokens, dtype, date, command, note: whatever is known.
    """

    mean: Tensor
    std: Tensor
    global_mean: float
    global_std: float
    mean_without_sinks: Tensor | None = None
    std_without_sinks: Tensor | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        for name in ("mean", "std", "mean_without_sinks", "std_without_sinks"):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            if tensor.shape != self.std.shape or tensor.ndim != 1:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not (width,)")
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity")
        if not (math.isfinite(self.global_mean) and math.isfinite(self.global_std)):
            raise ValueError("global mean or std is not finite")
        if (self.mean_without_sinks is None) != (self.std_without_sinks is None):
            raise ValueError("mean and std without sinks come together or not at all")
        for std in (self.std, self.std_without_sinks):
            if std is not None and bool((std < 0).any()):
                raise ValueError("std holds a negative value")

    @property
    def width(self) -> int:
        return len(self.std)

    @property
    def name(self) -> str:
        """What it is, in words, for reports."""
        known = self.provenance
        name = known.get("model", UNNAMED)
        if "layer" in known:
            name += f" at layer {known['layer']}"
        if self.is_approximate:
            exact = self.exact_dimensions
            few = f": exact in {len(exact)} of {self.width} dimensions" if exact else ""
            name += f" (published figures, approximate{few})"
        return name

    @property
    def is_approximate(self) -> bool:
        """Whether most dimensions hold the median of all, because no more was published."""
        return self.provenance.get("approximate") == "true"

    @property
    def exact_dimensions(self) -> list[str]:
        """The dimensions that were published, where this :attr:`is_approximate`."""
        listed = self.provenance.get("exact_dimensions", "")
        return listed.split(", ") if listed else []

    @property
    def approximation(self) -> str:
        """What that means for a ratio, and how to get an exact reference; empty if it is one."""
        if not self.is_approximate:
            return ""
        exact = self.exact_dimensions
        which = f"dimensions {', '.join(exact)} only" if exact else "few dimensions only"
        return (
            f"these published figures are exact in {which}: every other one holds the median std "
            "of all, so its ratio may be several times too high or too low. llm-dit's own file is "
            "exact in all: layerlab stats convert qwen3_4b_stats.npz FILE.safetensors turns it "
            "into a reference to measure against"
        )

    def is_of_another_model(self, fingerprint: str) -> bool:
        """Whether states of the model with this fingerprint are of another model, as far as both
        sides' fingerprints are known."""
        own = self.provenance.get("fingerprint", "")
        return bool(own and fingerprint and own != fingerprint)

    def name_for(self, fingerprint: str) -> str:
        """:attr:`name` for the title of what measures states of the model with this fingerprint."""
        return self.name + (": another model" if self.is_of_another_model(fingerprint) else "")

    def require_width(self, width: int) -> None:
        """Raise ValueError, naming both widths and the way out, for states of another width."""
        if self.width != width:
            raise ValueError(
                f"the reference ({self.name}) has {self.width} dimensions and the states have "
                f"{width}: they cannot be measured against each other; choose a reference of "
                f"{width} dimensions, or none"
            )

    def remarks(
        self,
        layer: int | None,
        has_sinks: bool,
        fingerprint: str = "",
        source: str = "an encoder",
        by_dimension: bool = True,
    ) -> list[str]:
        """What may be wrong with measuring states against this, one line each.

        Args:
            layer: the states' layer, None if it is not known.
            has_sinks: whether the states have sink tokens, which are measured apart.
            fingerprint, source: the model that the states come from, and its name.
            by_dimension: whether more is measured than all dimensions together.
        """
        lines = []
        if self.is_of_another_model(fingerprint):
            known = self.provenance
            at = f" at {known['layer']}" if "layer" in known else ""
            lines.append(
                f"measured against {known.get('model', UNNAMED)}{at}: another model (fingerprint "
                f"{known['fingerprint']}; these states are of {source}, fingerprint {fingerprint})"
            )
        own = self.provenance.get("layer")
        if own is not None and layer is not None and own != str(layer):
            lines.append(f"the reference is of layer {own} and the states of layer {layer}")
        if has_sinks and self.std_without_sinks is None:
            lines.append(
                "the reference has no statistics without sink tokens: both views are measured "
                "against those that include them"
            )
        if by_dimension and self.is_approximate:
            lines.append(self.approximation)
        return lines

    def for_any_model(self) -> Reference:
        """These statistics without their model's fingerprint: then no report can tell whether
        what it measures is of another model."""
        free = {key: value for key, value in self.provenance.items() if key != "fingerprint"}
        return replace(self, provenance=free)

    def statistics(self, without_sinks: bool) -> tuple[Tensor, Tensor]:
        """(mean, std), each (width,): without sinks where asked for and known."""
        if without_sinks and self.mean_without_sinks is not None:
            return self.mean_without_sinks, self.std_without_sinks
        return self.mean, self.std


def reference_from_stats(stats: SplitStats, provenance: Mapping[str, str]) -> Reference:
    """The reference that streamed statistics amount to."""
    whole = stats.all
    return Reference(
        mean=whole.mean,
        std=whole.std,
        global_mean=whole.global_mean,
        global_std=whole.global_std,
        mean_without_sinks=stats.without_sinks.mean,
        std_without_sinks=stats.without_sinks.std,
        provenance=provenance,
    )


@cache
def published_qwen3_4b() -> Reference:
    """Qwen3-4B at layer -2 as far as it was published (facts in ``stats/``), sinks included.

    Exact for the dimensions that were published; every other one has the published median std, and
    the mean that the published global mean leaves for it.
    """
    facts = json.loads(PUBLISHED_REFERENCE.read_text(encoding="utf-8"))
    width = facts["width"]
    std = torch.full((width,), float(facts["median_std"]), dtype=torch.float64)
    known = {int(dimension): value for dimension, value in facts["mean"].items()}
    rest = (facts["global_mean"] * width - sum(known.values())) / (width - len(known))
    mean = torch.full((width,), rest, dtype=torch.float64)
    for dimension, value in known.items():
        mean[dimension] = value
    for dimension, value in facts["std"].items():
        std[int(dimension)] = value
    exact = ", ".join(map(str, sorted(map(int, facts["std"]))))
    provenance = {**facts["provenance"], "exact_dimensions": exact}
    return Reference(mean, std, facts["global_mean"], facts["global_std"], provenance=provenance)


def save_reference(reference: Reference, path: Path) -> None:
    """Write ``path`` (.safetensors, or .npz in llm-dit's layout) whole or not at all.

    No number is lost either way: arrays are float64, and the .npz gets the sink-free statistics and
    the provenance under keys that llm-dit does not look at.
    """
    path = Path(path)
    if path.suffix.lower() not in (".safetensors", ".npz"):
        raise ReferenceFileError(f"{path.name}: a reference is saved as .safetensors or .npz")
    with replacing(path) as temporary:
        if path.suffix.lower() == ".npz":
            np.savez(
                temporary,
                per_dim_mean=reference.mean.numpy(),
                per_dim_std=reference.std.numpy(),
                global_mean=np.float64(reference.global_mean),
                global_std=np.float64(reference.global_std),
                provenance=np.array(_provenance_json(reference)),
                **{name: tensor.numpy() for name, tensor in _without_sinks(reference).items()},
            )
        else:
            whole = [reference.global_mean, reference.global_std]
            tensors = {
                "mean": reference.mean,
                "std": reference.std,
                "global": torch.tensor(whole, dtype=torch.float64),
                **_without_sinks(reference),
            }
            metadata = {"format": FORMAT, "provenance": _provenance_json(reference)}
            owned = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
            save_file(owned, temporary, metadata)


def load_reference(path: Path) -> Reference:
    """Read a reference from .safetensors (this pack's) or .npz (llm-dit's).

    Raises:
        ReferenceFileError: if the file is missing, damaged, of another kind, or holds pickles.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_reference(published_qwen3_4b(), Path(folder) / "published.npz")
    ...     reference = load_reference(Path(folder) / "published.npz")
    >>> reference.width, float(reference.std[396])
    (2560, 948.7)
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise ReferenceFileError(f"{path}: there is no such file")
        return _load_npz(path) if path.suffix.lower() == ".npz" else _load_safetensors(path)
    except ReferenceFileError:
        raise
    except (KeyError, *UNREADABLE) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        reason = f"{path.name} cannot be read as a reference: {why}; {ANOTHER}"
        raise ReferenceFileError(reason) from error


def _load_safetensors(path: Path) -> Reference:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        kind = str(metadata.get("format"))
        if kind != FORMAT:
            raise ReferenceFileError(
                f"{path.name} is not a reference of this pack (its format is {reprlib.repr(kind)}, "
                f"not {FORMAT!r}); {UPDATE if kind.startswith(FORMAT[:-1]) else ANOTHER}"
            )
        tensors = read_vectors(file, TENSORS)
    global_mean, global_std = tensors["global"].tolist()
    return Reference(
        tensors["mean"],
        tensors["std"],
        global_mean,
        global_std,
        tensors.get("mean_without_sinks"),
        tensors.get("std_without_sinks"),
        _provenance(metadata["provenance"]),
    )


def _load_npz(path: Path) -> Reference:
    arrays = read_npz(path, (*NPZ_NAMES, "global_mean", "global_std", "provenance"))
    for name in ("per_dim_mean", "per_dim_std", "global_mean", "global_std"):
        if name not in arrays:
            raise KeyError(name)
    if "provenance" in arrays:
        provenance = _provenance(str(arrays.pop("provenance")))
    else:
        note = "read from an llm-dit .npz; sinks included"
        provenance = {"model": path.stem, "note": note}
    for name, array in arrays.items():
        if array.dtype.kind not in NUMBERS:
            raise ValueError(f"{name} is of {array.dtype}, no numbers")
    with np.errstate(over="ignore"):  # Of a longdouble; infinity is refused below.
        numbers = {name: array.astype(np.float64) for name, array in arrays.items()}
    return Reference(
        global_mean=numbers.pop("global_mean").item(),
        global_std=numbers.pop("global_std").item(),
        provenance=provenance,
        **{NPZ_NAMES[name]: torch.from_numpy(array) for name, array in numbers.items()},
    )


def _provenance(text: str) -> dict[str, str]:
    facts = json.loads(text)
    if not isinstance(facts, dict) or not all(isinstance(fact, str) for fact in facts.values()):
        raise ValueError(f"its provenance is {reprlib.repr(facts)}, not texts by name")
    # UnicodeEncodeError, a ValueError, for half a surrogate pair: it could not be shown or saved.
    "".join([*facts, *facts.values()]).encode("utf-8")
    return facts


def _without_sinks(reference: Reference) -> dict[str, Tensor]:
    if reference.mean_without_sinks is None:
        return {}
    return {
        "mean_without_sinks": reference.mean_without_sinks,
        "std_without_sinks": reference.std_without_sinks,
    }


def _provenance_json(reference: Reference) -> str:
    return json.dumps(dict(reference.provenance), ensure_ascii=False)
