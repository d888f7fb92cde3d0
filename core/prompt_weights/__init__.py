"""Weights in a prompt: read, placed on tokens, put to its states."""
