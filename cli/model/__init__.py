"""Language models on this disk, with their tokenizers."""
