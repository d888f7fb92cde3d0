"""``layerlab dim``: what a dimension does in its language model."""
