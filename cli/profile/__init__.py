"""``layerlab profile``, ``compare`` and ``stats``."""
