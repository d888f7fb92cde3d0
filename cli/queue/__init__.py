"""`layerlab queue`."""
