"""How fast the pack is, as ratios to what one would do without it; ``python -m benchmarks``.

Both sides of a ratio are measured in the same run, in turn. Nothing here is part of the pack.
"""
