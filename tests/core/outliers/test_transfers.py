"""What is brought from the device does not grow with tokens, dimensions or outliers.

Each value that Python reads from a GPU makes it wait. Here the reads are counted: by CUDA's own
debug mode where there is a GPU, else as the calls that would have been reads.
"""

import warnings
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from zimage_layer_lab.core import Reference, blend, get_outlier_dimensions, mask_states
from zimage_layer_lab.core.dit import view
from zimage_layer_lab.core.dit.view import dit_change
from zimage_layer_lab.core.edit.normalizing import normalize
from zimage_layer_lab.core.outliers.survey import survey_outliers

WIDTH = 320
READS = {"_local_scalar_dense", "nonzero", "_to_copy", "is_nonzero", "equal"}


class Reads(TorchDispatchMode):
    """Counts operations after which Python waits for a value or for a copy on the host."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in READS
        return function(*args, **(kwargs or {}))


@contextmanager
def counted_on_gpu(found):
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found.append(sum("synchroniz" in str(one.message) for one in seen))


def count(call):
    if torch.cuda.is_available():
        found = []
        with counted_on_gpu(found):
            call()
        return found[0]
    with Reads() as reads:
        call()
    return reads.count


def states(tokens, outliers):
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(1, tokens, WIDTH, generator=generator)
    hidden[..., :outliers] *= 100
    return hidden.cuda() if torch.cuda.is_available() else hidden


STD = torch.ones(WIDTH, dtype=torch.float64)
REFERENCE = Reference(STD * 0, STD, 0.0, 1.0, STD * 0, STD)

CALLS = {
    "detection": lambda hidden: get_outlier_dimensions(hidden, reference=REFERENCE),
    **{
        f"mask, {mode}": lambda hidden, mode=mode: mask_states(
            hidden, mode=mode, reference=REFERENCE, direction="both"
        )
        for mode in ("zero", "clamp", "scale", "mean")
    },
    "report's survey": lambda hidden: survey_outliers(hidden, REFERENCE),
    "normalise per dimension": lambda hidden: normalize(hidden, "per dimension", REFERENCE),
    "normalise by rms": lambda hidden: normalize(hidden, "rms per token"),
    "interpolate": lambda hidden: blend(hidden, hidden[:, : len(hidden[0]) // 2]),
    "adain": lambda hidden: blend(hidden, hidden.flip(1), method="adain", match="none"),
    "what the DiT sees": lambda hidden: dit_change(hidden, hidden * 2).summary(),
}


@pytest.mark.parametrize("name", CALLS)
def test_reads_do_not_grow_with_tokens_or_outliers(name, monkeypatch):
    monkeypatch.setattr(view, "STRIP", 4096)  # A GPU takes all tokens at once.
    few, many = states(128, 2), states(1024, 50)
    CALLS[name](few), CALLS[name](many)
    assert count(lambda: CALLS[name](many)) <= count(lambda: CALLS[name](few)) < 60
