"""States with a planted concept: dimensions of unlike spread, a loud one, and a sink token."""

import numpy as np

WIDTH, TOKENS = 64, 12
LOUD = 7
SINK = 0
PAIRS = 6


def planted(seed=0, size=0.35, pairs=PAIRS, chance=False):
    """(with, without) arrays (tokens, width) for each pair, and the planted unit vector.

    The two sides of a pair share their words but for the sink; with ``chance`` the loud dimension
    differs too, by chance.
    """
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=WIDTH)
    vector[LOUD] = 0
    vector /= np.linalg.norm(vector)
    spread, mean = rng.uniform(0.7, 1.5, WIDTH), rng.normal(0, 0.1, WIDTH)
    spread[LOUD] = 12.0
    sides = []
    for _ in range(pairs):
        words = mean + spread * rng.normal(size=(TOKENS, WIDTH))
        other = words + size * WIDTH**0.5 * vector + 0.05 * rng.normal(size=(TOKENS, WIDTH))
        if chance:
            words[:, LOUD] = 12.0 * rng.normal(size=TOKENS)
        words[SINK, 3], other[SINK, 3] = 9000.0 + 500.0 * rng.normal(size=2)
        sides.append((other, words))
    return sides, vector


def normed(rows):
    return rows / np.sqrt((rows**2).mean(-1, keepdims=True))


def truth(sides):
    """(direction, baseline, spread) in NumPy float64, the sink row left out by its number."""
    content = [[normed(np.delete(side, SINK, 0)) for side in pair] for pair in sides]
    mean = np.mean([a.mean(0) - b.mean(0) for a, b in content], 0)
    baseline = np.mean([b.mean(0) for _, b in content], 0)
    each = [side for pair in content for side in pair]
    squares = sum(((side - side.mean(0)) ** 2).sum(0) for side in each)
    spread = np.sqrt(squares / sum(len(side) - 1 for side in each))
    limit = 3 * np.sort(spread)[(WIDTH - 1) // 2]
    return mean * np.minimum(1, limit / spread), baseline, spread


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
