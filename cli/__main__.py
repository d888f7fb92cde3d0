"""``python -m zimage_layer_lab.cli``: the command without its script."""

import sys

from . import main

sys.exit(main())
