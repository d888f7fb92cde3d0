"""`layerlab demo`."""
