"""The attention weights of Fit Tokens in NumPy float64, written from the maths."""

import math

import numpy as np

from .resampling import area_weights


def attention(x, length):
    """(length, tokens): softmax of scaled products of pooled and plain RMS-normed tokens."""
    normed = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
    scores = area_weights(len(x), length) @ normed @ normed.T / math.sqrt(x.shape[1])
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)
