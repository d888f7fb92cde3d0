"""The rule of sink tokens in NumPy float64."""

import numpy as np


def distances(rows):
    """(tokens,) of each row of (tokens, width) from the lower median of every dimension."""
    centre = np.sort(rows, axis=0)[(len(rows) - 1) // 2]
    return np.sqrt(((rows - centre) ** 2).sum(-1))


def limit(far, ratio=4.0):
    """What a sink's distance exceeds, from the distances of all tokens."""
    lower, median = np.quantile(far, [0.25, 0.5])
    return max(ratio * median, median + 9 * (median - lower))


def sinks(rows):
    """(tokens,) bool."""
    if len(rows) < 3:
        return np.zeros(len(rows), dtype=bool)
    far = distances(rows)
    return far > limit(far)
