"""What the image model does with a caption."""
