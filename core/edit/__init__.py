"""Edits of hidden states: masks, norms, blends, mixes, fits."""
