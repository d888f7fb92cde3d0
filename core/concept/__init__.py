"""Concepts: directions from prompts without something to prompts with it, and steering by them."""
