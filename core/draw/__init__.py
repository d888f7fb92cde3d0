"""Pictures. The modules need matplotlib or Pillow, so nothing imports them before one is drawn."""
