"""The weights of Fit Tokens in NumPy float64, written from the maths."""

import math

import numpy as np


def area(tokens, length):
    """(length, tokens): adaptive average pooling, each window from floor to ceil."""
    weights = np.zeros((length, tokens))
    for row in range(length):
        start, end = row * tokens // length, -(-(row + 1) * tokens // length)
        weights[row, start:end] = 1.0 / (end - start)
    return weights


def linear(tokens, length):
    """(length, tokens): two-point sampling, align_corners=False."""
    weights = np.zeros((length, tokens))
    for row in range(length):
        point = (row + 0.5) * tokens / length - 0.5
        low = math.floor(point)
        weights[row, low] += 1 - (point - low)
        if point > low:
            weights[row, low + 1] += point - low
    return weights


def attention(x, length):
    """(length, tokens): softmax of scaled products of pooled and plain RMS-normed tokens."""
    normed = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5)
    scores = area(len(x), length) @ normed @ normed.T / math.sqrt(x.shape[1])
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)
