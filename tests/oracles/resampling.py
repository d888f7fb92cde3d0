"""The weights that resample tokens, in NumPy float64, written from the maths."""

import math

import numpy as np


def linear_weights(source, length):
    """(length, source): two-point sampling, align_corners=False."""
    weights = np.zeros((length, source))
    for row in range(length):
        at = max((row + 0.5) * source / length - 0.5, 0.0)
        low = min(int(math.floor(at)), source - 1)
        high = min(low + 1, source - 1)
        weights[row, low] += 1.0 - (at - low)
        weights[row, high] += at - low
    return weights


def area_weights(source, length):
    """(length, source): adaptive average pooling, each window from floor to ceil."""
    weights = np.zeros((length, source))
    for row in range(length):
        start, end = row * source // length, -(-(row + 1) * source // length)
        weights[row, start:end] = 1.0 / (end - start)
    return weights
