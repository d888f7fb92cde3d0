"""Socket types of the pack."""

from comfy_api.latest import io

CATEGORY = "Z-Image/Layer Lab"

Reference = io.Custom("LAYERLAB_REFERENCE")
"""A :class:`core.measure.reference.Reference`."""

Concept = io.Custom("LAYERLAB_CONCEPT")
"""A :class:`core.concept.concept.Concept`."""
