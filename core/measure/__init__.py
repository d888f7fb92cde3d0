"""Statistics of hidden states: moments, streams, sink tokens, references."""
