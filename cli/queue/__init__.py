"""``layerlab queue``."""
