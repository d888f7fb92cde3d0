"""How many inputs a loader gets, and what they are made of.

By default a few hundred each. All of them, more than 100,000, with:

    LAYERLAB_FUZZ=nightly python -m pytest tests/slow/hostile --hypothesis-show-statistics
"""

import json
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

NIGHTLY = os.environ.get("LAYERLAB_FUZZ") == "nightly"
TIMES = 15 if NIGHTLY else 1
EDGES = (0, 1, 2, 7, 8, 2**7, 2**8 - 1, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
LARGE = (2**40, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def fuzz(count):
    """Hypothesis' settings for ``count`` inputs, fifteen times as many at night."""
    return settings(
        max_examples=count * TIMES,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=not NIGHTLY,
    )


integers = st.sampled_from(EDGES + LARGE) | st.integers(-3, 300) | st.integers()
names = st.sampled_from(["", "a", "../x", "/etc/passwd", "nul\0byte", "\ud83e", "狐", "x" * 300])
texts = names | st.text(max_size=20)
scalars = st.none() | st.booleans() | integers | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
"""Whatever JSON can hold; Python writes and reads NaN and infinities too."""


@st.composite
def damaged(draw, whole):
    """The bytes ``whole`` with one to four changes."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from([1, 2, 4, 8, 32, 1000]))
        how = draw(st.sampled_from(["flip", "number", "cut", "repeat", "insert", "end"]))
        if how == "flip" and content:
            content[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            number = draw(st.sampled_from(EDGES + LARGE))
            content[at : at + 8] = number.to_bytes(8, draw(st.sampled_from(["little", "big"])))
        elif how == "cut":
            del content[at : at + length]
        elif how == "repeat":
            content[at:at] = content[at : at + length]
        elif how == "insert":
            content[at:at] = draw(st.binary(max_size=16))
        else:
            del content[at:]
    return bytes(content)


@st.composite
def changed(draw, whole):
    """The JSON value ``whole`` (of dicts and lists) with one to three places replaced or lost."""
    document = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = None, None
        here = document
        while isinstance(here, dict | list) and here:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            holder, key = here, draw(st.sampled_from(keys))
            here = here[key]
            if draw(st.integers(0, 3)) == 0:
                break
        if holder is None:
            return draw(values)
        how = draw(st.sampled_from(["replace", "lose", "twice"]))
        if how == "replace":
            holder[key] = draw(values)
        elif how == "lose":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[draw(texts)] = holder[key]
    return document


def nested(depth, opening="[", middle="1", closing="]"):
    """JSON of lists within lists."""
    return opening * depth + middle + closing * depth


DEPTHS = (63, 64, 65, 200, 500, 900, 1000, 5000, 200_000)
"""Around the limits of the pack and of Python, and far beyond."""


dtypes = st.sampled_from(
    "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F4 I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64 C64 f32".split()
)


@st.composite
def safetensors_bytes(draw, names, metadata):
    """A file whose header comes from a strategy: offsets and shapes may lie, as may its length.

    ``names``: of tensors; ``metadata``: what a good file has in it.
    """
    header = {}
    data = draw(st.integers(0, 96))
    for name in draw(st.lists(st.sampled_from(names) | texts, max_size=4)):
        offsets = st.integers(0, data) | integers
        tensor = {
            "dtype": draw(dtypes),
            "shape": draw(st.lists(st.integers(0, 6) | integers, max_size=4)),
            "data_offsets": draw(st.lists(offsets, min_size=2, max_size=2)),
        }
        header[name] = draw(st.one_of(st.just(tensor), changed(tensor), values))
    kept = dict(metadata)
    if draw(st.booleans()):
        kept[draw(st.sampled_from([*metadata, "more"]))] = draw(texts)
    header["__metadata__"] = draw(st.one_of(st.just(kept), st.just(kept), values))
    text = json.dumps(header, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    length = draw(st.one_of(st.just(len(text)), st.just(len(text)), st.sampled_from(EDGES + LARGE)))
    return length.to_bytes(8, "little") + text + bytes(data)
