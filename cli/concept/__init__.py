"""``layerlab concept``: a library of concepts from pairs of prompts."""
