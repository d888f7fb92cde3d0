"""``layerlab demo``."""
