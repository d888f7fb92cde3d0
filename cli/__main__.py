"""``python -m zimage_layer_lab.cli`` runs the command ``layerlab``."""

import sys

from . import run

sys.exit(run())
