"""Every blend method and match in NumPy float64, written from the maths; sides are (tokens, width).

t is a text token, v its vision token, m and s a mean and an unbiased std, a the share.
"""

import math

import numpy as np
import torch

from .resampling import area_weights, linear_weights

EPS32 = float(np.finfo(np.float32).eps)
CURVES = {
    "linear": lambda x: x,
    "ease in": lambda x: x * x,
    "ease out": lambda x: 1 - (1 - x) * (1 - x),
}
WHOLE = ("append", "adain per dimension")
"""Methods that pair no tokens."""


def aligned(vision, method, length):
    """The vision side at the text's length, or whole where the method pairs nothing."""
    source = len(vision)
    if method in WHOLE:
        return vision
    if method == "linear":
        return vision[:length]
    if method != "interpolate (llm-dit)" and source >= length:
        return area_weights(source, length) @ vision
    return linear_weights(source, length) @ vision


def std(values, axis=None, keepdims=False):
    count = values.size if axis is None else values.shape[axis]
    return values.std(axis=axis, ddof=1 if count > 1 else 0, keepdims=keepdims)


def token_rms(values):
    return np.sqrt((values**2).mean(1, keepdims=True))


def matched(vision, text, match, rms=None):
    """(matched, error that float32 may make); ``rms`` is the text's token by token if not given."""
    size = np.abs(vision).max(0)

    def whole():
        ratio = std(text) / max(std(vision), 1e-12)
        return (vision - vision.mean()) * ratio + text.mean(), np.abs(vision).max() * ratio

    def per_dimension():
        ratio = std(text, 0) / np.maximum(std(vision, 0), 1e-12)
        z = np.clip((vision - vision.mean(0)) / np.maximum(std(vision, 0), 1e-12), -3, 3)
        return z * std(text, 0) + text.mean(0), size * ratio

    if match == "none":
        return vision, size
    if match == "global":
        return whole()
    if match == "per dimension":
        return per_dimension()
    if match == "hybrid":
        (one, wide), (other, narrow) = whole(), per_dimension()
        return (one + other) / 2, wide + narrow
    rms = token_rms(text) if rms is None else rms
    result = vision * rms / np.maximum(token_rms(vision), 1e-12)
    return result, np.abs(result).max()


def attention(text):
    """(tokens,): softmax(q k / sqrt(width)) with the RMS-normed states as both, mean of queries."""
    normed = text / token_rms(text)
    scores = normed @ normed.T / np.sqrt(text.shape[1])
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).mean(0)


def slerped(t, v, share):
    """The textbook formula, for tokens that are neither parallel nor opposite."""
    length, other = np.linalg.norm(t), np.linalg.norm(v)
    angle = math.acos(t @ v / (length * other))
    one, two = (math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
    return (one * t / length + two * v / other) * ((1 - share) * length + share * other)


def blended(text, vision, alpha, method, match, start_alpha=0.0, curve="linear"):
    """The whole of every method but append."""
    rms = np.median(token_rms(text)) if method in WHOLE else None
    other = aligned(vision, method, len(text))
    want = text.copy()
    t = text if method in WHOLE else text[: len(other)]
    v, _ = matched(other, t, match, rms)
    share = np.full((len(t), 1), float(alpha))
    if method == "adain":
        z = (t - t.mean(1, keepdims=True)) / std(t, 1, keepdims=True)
        v = z * std(v, 1, keepdims=True) + v.mean(1, keepdims=True)
    elif method == "adain per dimension":
        v = (t - t.mean(0)) / std(t, 0) * std(v, 0) + v.mean(0)
    elif method == "style dims":
        share = alpha * (np.arange(t.shape[1]) >= t.shape[1] * 2 // 3)[None]
    elif method == "graduated" and len(t) > 1:
        rise = CURVES[curve](np.arange(len(t)) / (len(t) - 1))[:, None]
        share = start_alpha + (alpha - start_alpha) * rise
    elif method == "attention weighted":
        w = attention(t)
        share = alpha * (1 - 0.8 * (w - w.min()) / (w.max() - w.min()))[:, None]
    elif method == "slerp":
        want[: len(t)] = [slerped(one, two, alpha) for one, two in zip(t, v, strict=True)]
        return want
    want[: len(t)] = share * v + (1 - share) * t
    return want


def sides(seed, text_tokens, vision_tokens, width, largest, dtypes=(torch.float32,) * 2):
    """(1, tokens, width) of each side, no token far longer than the others."""
    rng = np.random.default_rng(seed)
    made = []
    for tokens, dtype in zip((text_tokens, vision_tokens), dtypes, strict=True):
        size = 10.0 ** (largest - rng.uniform(0, 3))
        rows = rng.normal(rng.normal(0, 1, width), 1, (tokens, width)) * size / 5
        limit = min(10.0**largest, torch.finfo(dtype).max)
        made.append(torch.from_numpy(np.clip(rows, -limit, limit)).to(dtype)[None])
    return made
