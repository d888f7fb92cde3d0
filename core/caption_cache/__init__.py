"""Caption caches: the files in which trainers keep what the text encoder made of a caption."""
