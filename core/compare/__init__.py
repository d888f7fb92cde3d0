"""Images side by side in one labelled picture, and how alike they are. The picture needs Pillow and
matplotlib, so nothing imports its modules before it is drawn."""
